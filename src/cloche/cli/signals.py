"""Being asked to end by a signal, as by Ctrl-C: what was begun is then taken down in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 1.0
"""How often a wait in the kernel is broken off: a signal that came just before it began is not seen in it."""


def _look_up(_number: int, _frame: FrameType | None) -> None:
    """Nothing: handlers that wait to be run are, once this one is."""


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def as_interrupt() -> Iterator[None]:
    """While this is entered SIGTERM and SIGHUP raise KeyboardInterrupt; one that is ignored stays so, as
    below nohup."""
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGALRM)}
    heard = [number for number in ENDING if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _look_up)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*heard, signal.SIGALRM):
            signal.signal(number, before[number])

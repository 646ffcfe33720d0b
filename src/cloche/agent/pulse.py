"""How long the event loop was blocked: the longest single block, measured where it happens."""

from __future__ import annotations

import asyncio
import time
from asyncio import events
from typing import Any

import structlog

LIMIT_MS = 20.0
log = structlog.get_logger()


class Pulse:
    """Times every callback of the running loop from ``install`` on; ``longest_ms`` is the worst so far.

    asyncio runs everything, task steps included, through ``Handle._run``; wrapping that one method sees each
    block with its culprit, which a ticking timer would only see as lateness.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.culprit = ""
        self.over = 0
        self._original: Any = None

    def install(self) -> None:
        """Begin to measure the running loop; once per process. Other threads' loops are not looked at."""
        original = self._original = events.Handle._run
        loop = asyncio.get_running_loop()

        def run(handle: asyncio.Handle) -> None:
            if getattr(handle, "_loop", None) is not loop:
                original(handle)
                return
            begin = time.perf_counter()
            original(handle)
            elapsed = (time.perf_counter() - begin) * 1000
            if elapsed > self.longest_ms:
                self.longest_ms = elapsed
                self.culprit = culprit(handle)
            if elapsed > LIMIT_MS:
                self.over += 1
                log.warning("the loop was blocked", ms=round(elapsed, 1), by=culprit(handle))

        events.Handle._run = run  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """Stop measuring."""
        if self._original is not None:
            events.Handle._run = self._original  # type: ignore[method-assign]


def culprit(handle: asyncio.Handle) -> str:
    """The task that a handle steps, as far as it says; else its callback."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    if isinstance(task, asyncio.Task):
        return repr(task.get_coro())
    return repr(handle)[:200]

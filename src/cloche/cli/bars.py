"""Bars that show how far an instance's agent is, while a verb waits for its one answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloche.agent.client import Client
from cloche.cli import render
from cloche.config import Config
from cloche.errors import ClocheError

LOOK_SECONDS = 0.1
"""How often the agent is asked how far it is."""

Show = Callable[[str, int, int], None]
"""What is being done (empty: what was said before), steps done, steps in all (0: nobody knows)."""


@contextmanager
def following(what: str, config: Config) -> Iterator[None]:
    """While this is entered, a terminal shows ``what``, and how far the agent is once it answers."""
    if not render.is_watched():
        yield
        return
    stop = threading.Event()
    with render.steps(what) as show:
        thread = threading.Thread(target=_follow, args=(config, show, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(config: Config, show: Show, stop: threading.Event) -> None:
    with Client(config) as own:
        while not stop.wait(LOOK_SECONDS):
            look(own, show)


def look(client: Client, show: Show) -> None:
    """Show how far the agent is; nothing while it does not answer, as before it is there and after."""
    try:
        status = client.status()
    except ClocheError:
        return
    show(status.busy, status.done, status.total)

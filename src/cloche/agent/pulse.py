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
        """Begin to measure; once per process."""
        original = self._original = events.Handle._run

        def run(handle: asyncio.Handle) -> None:
            begin = time.perf_counter()
            original(handle)
            elapsed = (time.perf_counter() - begin) * 1000
            if elapsed > self.longest_ms:
                self.longest_ms = elapsed
                self.culprit = repr(handle)
            if elapsed > LIMIT_MS:
                self.over += 1
                log.warning("the loop was blocked", ms=round(elapsed, 1), by=repr(handle)[:300])

        events.Handle._run = run  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """Stop measuring."""
        if self._original is not None:
            events.Handle._run = self._original  # type: ignore[method-assign]

"""The last flow events and those who follow them. A slow follower loses events and is told how many."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable

from cloche.agent.messages import FlowEvent

BEHIND = 4096
"""Events a follower may be behind before it loses some."""

AT_ONCE = 200
"""Events handed over together, so that no one step is long."""


class Follower:
    """One who follows: what waits for it, and what it lost."""

    def __init__(self) -> None:
        self.waiting: deque[FlowEvent] = deque()
        self.lost = 0
        self.woken = asyncio.Event()

    def take(self) -> list[FlowEvent]:
        """The next few events; when some were lost, first one that says how many."""
        taken = []
        if self.lost:
            taken.append(FlowEvent(time.time(), "lost", suppressed=self.lost))
            self.lost = 0
        while self.waiting and len(taken) < AT_ONCE:
            taken.append(self.waiting.popleft())
        return taken


class History:
    """A bounded history of events, oldest first."""

    def __init__(self, length: int) -> None:
        self._events: deque[FlowEvent] = deque(maxlen=length)
        self._followers: set[Follower] = set()
        self._count = 0

    def add(self, events: Iterable[FlowEvent]) -> None:
        """Take events in; called by the events task alone."""
        for event in events:
            self._events.append(event)
            self._count += 1
            for follower in self._followers:
                if len(follower.waiting) < BEHIND:
                    follower.waiting.append(event)
                else:
                    follower.lost += 1
        for follower in self._followers:
            follower.woken.set()

    def recent(self) -> tuple[FlowEvent, ...]:
        """Everything kept."""
        return tuple(self._events)

    def mark(self) -> int:
        """Where the history is now, for ``since``. (Wall clocks jump; this does not.)"""
        return self._count

    def since(self, mark: int) -> tuple[FlowEvent, ...]:
        """Everything kept that came after a mark."""
        later = self._count - mark
        return tuple(self._events)[-later:] if later else ()

    async def read(self, *, follow: bool) -> AsyncIterator[list[FlowEvent]]:
        """The history in small lists; with ``follow`` then new events as they come, without end."""
        follower = Follower()
        follower.waiting.extend(self._events)
        if follow:
            self._followers.add(follower)
        try:
            while True:
                while taken := follower.take():
                    yield taken
                    await asyncio.sleep(0)
                if not follow:
                    return
                await follower.woken.wait()
                follower.woken.clear()
        finally:
            self._followers.discard(follower)

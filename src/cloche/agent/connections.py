"""Connections to the agent's socket, so bounded in number and patience that none keeps the others out.

uvicorn waits for ever for a request that never ends and takes connections without end. Here a connection
has ``HEAD_SECONDS`` for each request's head. Where ``MAX_CONNECTIONS`` are open, the one that has asked
nothing for longest gives way to a new one, then one that does not read its answer; else the new
one is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 128
HEAD_SECONDS = 5.0
MANY = 16
"""Answers after which a connection that asks on gives way to a new one, if nobody else does."""


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck = False
        self.answers = 0
        self.since = self.loop.time()

    @property
    def rank(self) -> int:
        """0: asks nothing; 1: does not read its answer; 2: is being served."""
        if self.cycle is None or self.cycle.response_complete:
            return 0
        return 1 if self._stuck else 2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As ``asyncio.Protocol``: somebody may have to give way first."""
        super().connection_made(transport)  # type: ignore[arg-type]
        others = [one for one in self.connections if one is not self and isinstance(one, BoundedProtocol)]
        if len(others) >= MAX_CONNECTIONS:
            (give_way(others) or self).drop()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """As ``asyncio.Protocol``."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As ``asyncio.Protocol``."""
        super().data_received(data)
        if self.rank:
            self._stop_waiting()
        elif self._deadline is None:
            self._wait_for_head()  # the keep-alive timer ended with the first byte

    def on_response_complete(self) -> None:
        """As ``H11Protocol``: the next request has its own time."""
        self.answers += 1
        self.since = self.loop.time()
        super().on_response_complete()
        if self.rank:  # the next one was there already
            return
        self._stop_waiting()
        self._wait_for_head()

    def pause_writing(self) -> None:
        """As ``asyncio.Protocol``: the other side does not read."""
        self._stuck = True
        self.since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """As ``asyncio.Protocol``."""
        self._stuck = False
        super().resume_writing()

    def drop(self) -> None:
        """Hang up, at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if not self.rank:
            self.drop()


def give_way(connections: Iterable[BoundedProtocol]) -> BoundedProtocol | None:
    """Who makes room; None when all are being served, and none of them very often already."""
    ready = [one for one in connections if one.rank < 2 or one.answers >= MANY]
    return min(ready, key=lambda one: (one.rank, -one.answers * (one.rank == 2), one.since), default=None)

"""What the kernel tells: events from the ring buffer as they come, and the slow sweep of expired flows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from cloche.agent.history import History
from cloche.agent.messages import ShownFlow
from cloche.agent.naming import Directory
from cloche.agent.narrate import event_text, flow_text, is_coming_or_going, unix_offset_ns
from cloche.agent.parts import Parts
from cloche.datapath.layout import Flow, FlowKey, FlowKind
from cloche.datapath.sweep import Attached
from cloche.model.flow import AGES_NS, Age

READ_AT_ONCE = 128
"""Events read and named in one step of the loop; some 50 us each."""

SWEEP_SECONDS = 10.0
log = structlog.get_logger()


class Watcher:
    """Owns the reading end of the ring buffer and the history made of it."""

    def __init__(self, parts: Parts, directory: Directory) -> None:
        self._parts, self._directory = parts, directory
        self.history = History(parts.config.flow_history)
        self.seen = 0
        self.suppressed = 0
        self.expired = 0
        self._readable = asyncio.Event()
        self.attached: Callable[[], Attached] = Attached
        """Who has flows that are worth keeping."""

    async def follow(self) -> None:
        """Read events for ever; the descriptor's readiness only marks, this task reads."""
        reader = self._parts.datapath.events()
        loop = asyncio.get_running_loop()
        loop.add_reader(reader.fileno(), self._readable.set)
        try:
            while True:
                await self._readable.wait()
                self._readable.clear()
                while self._take():
                    await asyncio.sleep(0)
        finally:
            loop.remove_reader(reader.fileno())

    def _take(self) -> int:
        events = self._parts.datapath.events().read(READ_AT_ONCE)
        offset = unix_offset_ns()
        texts = [event_text(self._directory, event, offset) for event in events]
        self.seen += len(events)
        self.suppressed += sum(event.suppressed for event in events)
        instance = self._parts.config.instance
        self.history.add(text for text in texts if not is_coming_or_going(instance, text))
        return len(events)

    async def sweep(self) -> None:
        """Remove flows that are over for ever, a few at a time, so that the table is not full of the dead."""
        sweeper = self._parts.datapath.sweeper()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                ended = False
                while not ended:
                    removed, ended = await self._parts.kernel.run(sweeper.step, now_ns(), self.attached())
                    self.expired += removed
            except OSError as error:
                log.warning("the sweep of flows failed", error=str(error))

    async def live_flows(self) -> list[object]:
        """The flows in the kernel's table that have not expired."""
        now = now_ns()
        flows = await self._parts.kernel.run(self._live, now)
        shown: list[ShownFlow] = []
        for first in range(0, len(flows), READ_AT_ONCE):
            some = flows[first : first + READ_AT_ONCE]
            shown += [flow_text(self._directory, key, flow, now) for key, flow in some]
            await asyncio.sleep(0)
        return list(shown)

    def _live(self, now: int) -> list[tuple[FlowKey, Flow]]:
        return [
            (key, flow)
            for key, flow in self._parts.datapath.flows()
            if key.kind == FlowKind.PLAIN and now - flow.seen_ns <= AGES_NS[Age(flow.age)]
        ]


def now_ns() -> int:
    """The kernel's time, as the program reads it."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

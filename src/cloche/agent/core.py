"""What the socket's routes ask of: changes queue up here for the one task that makes them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import structlog

from cloche import __version__
from cloche.agent import show
from cloche.agent.change import Changer
from cloche.agent.errands import Propose
from cloche.agent.messages import (
    Applied,
    ApplyRequest,
    DeleteRequest,
    ProbeRequest,
    ProbeResult,
    Show,
    ShownMap,
    Status,
)
from cloche.agent.parts import Parts
from cloche.agent.probing import Prober
from cloche.agent.pulse import Pulse
from cloche.agent.removal import remove
from cloche.agent.watch import Watcher
from cloche.errors import ClocheError
from cloche.model.state import Object

MEND_SECONDS = 1.0
log = structlog.get_logger()


class Wanted(NamedTuple):
    """A change that waits for its turn, and who waits for it."""

    propose: Propose
    cause: str
    done: asyncio.Future[Applied]


class Core:
    """One instance's running agent, as its socket sees it."""

    def __init__(self, parts: Parts, changer: Changer, watcher: Watcher, pulse: Pulse) -> None:
        self._parts, self._changer, self.watcher, self._pulse = parts, changer, watcher, pulse
        self._prober = Prober(parts, changer.directory, watcher.history)
        self._queue: asyncio.Queue[Wanted] = asyncio.Queue()
        self._started = time.monotonic()
        self.history = watcher.history
        self.problems: dict[str, str] = {}
        self.ending = asyncio.Event()

    async def act(self) -> None:
        """Make the changes that are asked for, one after another, for ever."""
        while True:
            wanted = await self._queue.get()
            try:
                applied = await self._changer.change(wanted.propose, wanted.cause)
            except (ClocheError, OSError) as error:
                log.warning("refused", cause=wanted.cause, error=str(error))
                refused = error if isinstance(error, ClocheError) else ClocheError(str(error))
                if not wanted.done.cancelled():
                    wanted.done.set_exception(refused)
            else:
                log.info("active", cause=wanted.cause, generation=applied.generation, writes=applied.writes)
                if not wanted.done.cancelled():
                    wanted.done.set_result(applied)
            finally:
                self._queue.task_done()

    async def mend(self) -> None:
        """See to it for ever that worker and responder run; what is missing is made by a change."""
        while True:
            await asyncio.sleep(MEND_SECONDS * self._changer.replay.patience)
            if {"store", "down"} & self.problems.keys():
                continue
            if not self._parts.workshop.alive or not await self._parts.responding.alive():
                try:
                    await self.want(Propose(), "mend")
                    self.problems.pop("mend", None)
                except ClocheError as error:
                    self.problems["mend"] = str(error)

    async def want(self, propose: Propose, cause: str) -> Applied:
        """Queue a change; returns once it is active. Raises ClocheError when it is refused."""
        for problem in ("store", "down"):
            if problem in self.problems:
                raise ClocheError(f"nothing is changed: {self.problems[problem]}")
        done: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Wanted(propose, cause, done))
        return await done

    async def change(self, kind: type[ApplyRequest | DeleteRequest], body: bytes) -> Applied:
        """Make a change from an encoded request of this kind; returns once it is active."""
        return await self.want(Propose(kind, body), "apply" if kind is ApplyRequest else "delete")

    async def status(self) -> Status:
        """How the instance is."""
        changer, parts = self._changer, self._parts
        state = changer.directory.state
        replayed = [changer.replay.problem] if changer.replay.problem else []
        problems = [*self.problems.values(), *replayed, *(p.message for p in parts.responding.problems)]
        return Status(
            instance=parts.config.instance,
            version=__version__,
            pid=os.getpid(),
            generation=changer.generation,
            digest=changer.digest,
            namespaces=len(state.namespaces),
            endpoints=len(state.endpoints),
            policies=len(state.policies),
            services=len(state.services),
            pod_ranges=tuple(map(str, parts.config.pod_ranges)),
            service_ranges=tuple(map(str, parts.config.service_ranges)),
            uptime_s=round(time.monotonic() - self._started, 3),
            adopted=parts.datapath.adopted,
            loop_longest_block_ms=round(self._pulse.longest_ms, 3),
            compile_ms=changer.compile_ms,
            writes_last=changer.writes_last,
            writes_total=changer.writes_total,
            events_seen=self.watcher.seen,
            events_suppressed=self.watcher.suppressed,
            flows_expired=self.watcher.expired,
            worker_starts=parts.workshop.starts,
            responder_pid=parts.responding.pid,
            replay=changer.replay.shown(),
            problems=tuple(problems),
        )

    def objects(self) -> list[Object]:
        """The model as it is active."""
        return list(self._changer.directory.state.objects())

    async def show(self, what: Show) -> list[object]:
        """What ``show`` lists, as the message of that kind."""
        listing: dict[Show, Callable[[], Awaitable[list[object]]]] = {
            Show.ENDPOINTS: self._endpoints,
            Show.POLICIES: self._policies,
            Show.CLASSES: self._classes,
            Show.GENERATIONS: self._generations,
            Show.SERVICES: self._services,
            Show.FLOWS: self.watcher.live_flows,
            Show.MAPS: self._maps,
        }
        return await listing[what]()

    async def _endpoints(self) -> list[object]:
        changer = self._changer
        return list(show.endpoints(changer.directory.state, changer.entries, changer.generation, self._parts))

    async def _policies(self) -> list[object]:
        return list(await asyncio.to_thread(show.policies, self._changer.directory.state))

    async def _services(self) -> list[object]:
        return list(show.services(self._changer.directory.state))

    async def _classes(self) -> list[object]:
        tables = await self._parts.kernel.run(self._parts.datapath.read_back)
        return list(show.classes(self._changer.directory, tables))

    async def _generations(self) -> list[object]:
        active = self._changer.generation
        return [
            msgspec.structs.replace(shown, active=shown.generation == active)
            for shown in self._changer.generations
        ]

    async def _maps(self) -> list[object]:
        usage = await self._parts.kernel.run(self._parts.datapath.usage)
        return [ShownMap(name, used, capacity) for name, (used, capacity) in usage.items()]

    async def probe(self, request: ProbeRequest) -> list[ProbeResult]:
        """Send real packets."""
        return await self._prober.probe(request)

    async def down(self) -> None:
        """Remove the instance; the agent ends after the reply."""
        self.problems["down"] = "it is being taken down"
        await self._queue.join()
        await self._parts.workshop.stop()
        await self._parts.responding.close()
        await self._parts.kernel.run(remove, self._parts.config)
        self.ending.set()

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
from cloche.agent.attesting import attest
from cloche.agent.change import Changer
from cloche.agent.errands import Propose
from cloche.agent.guard import Guard
from cloche.agent.lookout import Lookout
from cloche.agent.messages import (
    Applied,
    ApplyRequest,
    DeleteRequest,
    ProbeRequest,
    ProbeResult,
    RollbackRequest,
    Show,
    ShownMap,
    Status,
)
from cloche.agent.parts import Parts
from cloche.agent.probing import Prober
from cloche.agent.pulse import Pulse
from cloche.agent.removal import remove
from cloche.agent.statement import Attested
from cloche.agent.system import this_host
from cloche.agent.watch import Watcher
from cloche.errors import ClocheError, TooBigError
from cloche.model.state import Object

MEND_SECONDS = 1.0
log = structlog.get_logger()


class Wanted(NamedTuple):
    """A change that waits for its turn, and who waits for it."""

    ask: Propose | RollbackRequest
    cause: str
    done: asyncio.Future[Applied]


class Core:
    """One instance's running agent, as its socket sees it."""

    def __init__(self, parts: Parts, changer: Changer, watcher: Watcher, pulse: Pulse) -> None:
        self._parts, self._changer, self.watcher, self._pulse = parts, changer, watcher, pulse
        self.lookout = Lookout(parts, changer)
        self.guard = Guard(parts, changer, watcher.history)
        self._prober = Prober(parts, changer.active.directory, watcher.history)
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
                applied = await self._make(wanted)
            except (ClocheError, OSError) as error:
                log.warning("refused", cause=wanted.cause, error=str(error))
                if isinstance(error, OSError):
                    self.problems["system"] = f"the last change could not be made: {error}"
                refused = error if isinstance(error, ClocheError) else ClocheError(str(error))
                if not wanted.done.cancelled():
                    wanted.done.set_exception(refused)
            else:
                log.info("active", cause=wanted.cause, generation=applied.generation, writes=applied.writes)
                if not wanted.done.cancelled():
                    wanted.done.set_result(applied)
            finally:
                self._queue.task_done()

    async def _make(self, wanted: Wanted) -> Applied:
        if isinstance(wanted.ask, RollbackRequest):
            applied = await self._changer.rollback(wanted.ask)
        else:
            applied = await self._changer.change(wanted.ask, wanted.cause)
        for problem in ("start", "mend", "repair", "system"):
            self.problems.pop(problem, None)
        return applied

    async def mend(self) -> None:
        """See to it for ever that worker and responder run; what is missing is made by a change."""
        while True:
            await asyncio.sleep(MEND_SECONDS * self._changer.replay.patience)
            if {"store", "down"} & self.problems.keys():
                continue
            if self._changer.keeper.unsaved:
                await self._changer.save()
            if not self._parts.workshop.alive or not await self._parts.responding.alive():
                await self.try_again("mend")

    async def know_host(self) -> None:
        """Tell policy for ever which addresses are the host's: a change whenever they are others."""
        while True:
            await self.lookout.looked.wait()
            self.lookout.looked.clear()
            known, found = self._changer.host, self.lookout.found.addresses
            if known is None or known.addresses == found:
                continue
            try:
                await self.want(Propose(host=this_host(found)), "host addresses")
                self.problems.pop("host", None)
            except ClocheError as error:
                self.problems["host"] = f"the host's addresses have changed and cannot be told: {error}"

    async def remake(self) -> None:
        """Close for ever what the guard found lost, and make it anew."""
        while True:
            lost = await self.guard.lost.get()
            there = [one.attachment.endpoint for one in lost if self._changer.attachments.has(one)]
            if there:
                await self.try_again("repair", tuple(there))

    async def try_again(self, cause: str, lost: tuple[str, ...] = ()) -> None:
        """Make what is wanted active, with these endpoints' links anew; a refusal becomes a problem."""
        try:
            await self.want(Propose(lost=lost), cause)
        except TooBigError:
            self.problems.pop(cause, None)
        except ClocheError as error:
            self.problems[cause] = str(error)
            log.error("what was wanted cannot be made active", cause=cause, error=str(error))

    async def want(self, ask: Propose | RollbackRequest, cause: str) -> Applied:
        """Queue a change; returns once it is active. Raises ClocheError when it is refused."""
        for problem in ("store", "down"):
            if problem in self.problems:
                raise ClocheError(f"nothing is changed: {self.problems[problem]}")
        done: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Wanted(ask, cause, done))
        return await done

    async def change(self, kind: type[ApplyRequest | DeleteRequest], body: bytes) -> Applied:
        """Make a change from an encoded request of this kind; returns once it is active."""
        return await self.want(Propose(kind, body), "apply" if kind is ApplyRequest else "delete")

    async def rollback(self, request: RollbackRequest) -> Applied:
        """Put earlier policies in force, or release what is rolled back; returns once that is active."""
        return await self.want(request, "rollback")

    async def go_back(self, cause: str) -> int:
        """Undo what replay found wrong: maps that were altered from outside are mended (0), else the policies
        before the last change come into force, until released: by that generation."""
        if await self.guard.altered():
            return 0
        return (await self._changer.go_back(cause)).generation

    async def attest(self) -> Attested:
        """Whether the kernel holds exactly what the model asks for."""
        return await attest(self._parts, self._changer)

    async def status(self) -> Status:
        """How the instance is."""
        active, parts = self._changer.active, self._parts
        state, tally = active.directory.state, self._changer.attachments.tally
        problems = [*self.problems.values(), *self.guard.problems.values(), *active.problems()]
        problems += [problem.message for problem in parts.responding.problems]
        problems += self.lookout.found.problems
        if self._changer.keeper.unsaved:
            problems.append(self._changer.keeper.unsaved)
        if self._changer.replay.problem:
            problems.append(self._changer.replay.problem)
        return Status(
            instance=parts.config.instance,
            version=__version__,
            pid=os.getpid(),
            generation=active.generation,
            digest=active.digest,
            namespaces=len(state.namespaces),
            endpoints=len(state.endpoints),
            policies=len(state.policies),
            services=len(state.services),
            pod_ranges=tuple(map(str, parts.config.pod_ranges)),
            service_ranges=tuple(map(str, parts.config.service_ranges)),
            uptime_s=round(time.monotonic() - self._started, 3),
            adopted=parts.datapath.adopted,
            loop_longest_block_ms=round(self._pulse.longest_ms, 3),
            compile_ms=active.compile_ms,
            writes_last=active.writes_last,
            writes_total=active.writes_total,
            events_seen=self.watcher.seen,
            events_suppressed=self.watcher.suppressed,
            flows_expired=self.watcher.expired,
            worker_starts=parts.workshop.starts,
            responder_pid=parts.responding.pid,
            replay=self._changer.replay.shown(),
            problems=tuple(problems),
            uplinks=self.lookout.found.uplinks,
            held=active.held,
            waiting=active.waiting,
            repairs=self.guard.repairs,
            busy=tally.what,
            done=tally.done,
            total=tally.total,
        )

    def objects(self) -> list[Object]:
        """The model as it is active."""
        return list(self._changer.active.directory.state.objects())

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
            Show.DEVICES: self.lookout.shown,
        }
        return await listing[what]()

    async def _endpoints(self) -> list[object]:
        active = self._changer.active
        listed = show.endpoints(active.directory.state, active.entries, active.generation, self._parts)
        waiting = show.closed(active.closed, f"does not fit: {active.too_big}") if active.too_big else []
        missing = {shown.endpoint for shown in waiting}
        return [*(shown for shown in listed if shown.endpoint not in missing), *waiting]

    async def _policies(self) -> list[object]:
        return list(await asyncio.to_thread(show.policies, self._changer.active.directory.state))

    async def _services(self) -> list[object]:
        return list(show.services(self._changer.active.directory.state))

    async def _classes(self) -> list[object]:
        tables = await self._parts.kernel.run(self._parts.datapath.read_back)
        return list(show.classes(self._changer.active.directory, tables))

    async def _generations(self) -> list[object]:
        active, first = self._changer.active, self._changer.keeper.versions.generations
        return [
            msgspec.structs.replace(
                shown,
                active=shown.generation == active.generation,
                kept=bool(first) and first[0] <= shown.generation,
            )
            for shown in active.generations
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
        self.guard.stop()
        await self._queue.join()
        await self._parts.workshop.stop()
        await self._parts.responding.close()
        tally = self._changer.attachments.tally
        tally.begin("removing devices and namespaces", 0)
        await self._parts.kernel.run(remove, self._parts.config, tally.at)
        self.ending.set()

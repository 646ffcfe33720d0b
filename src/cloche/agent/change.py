"""From a request to an active generation: propose, attach, compile, write, listen, keep. One at a time.

This is the one task that owns the worker, the ledger and the directory, and the only one that writes maps.
Whatever fails before the first write leaves everything as it was; whatever fails after it is mended by
reading back what the kernel holds and feeding a new worker with that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple

import structlog

from cloche.agent.attachments import Attachments
from cloche.agent.errands import Begin, Begun, Compile, Compiled, Events, Plan, Propose, Refused, Writes
from cloche.agent.messages import Applied, ShownGeneration
from cloche.agent.naming import Directory
from cloche.agent.parts import Parts
from cloche.agent.refusals import AgentError, as_error
from cloche.agent.replay import Replayer
from cloche.agent.system import this_host
from cloche.agent.workshop import WorkerDiedError
from cloche.datapath.host import host_addresses
from cloche.errors import Finding
from cloche.model.state import Event
from cloche.tables.schema import EndpointEntry, Put, Remove, RuleOrigin, Write

RESERVED = 64
"""Generations reserved on disk at a time, so that most changes need not wait for the disk."""

GENERATIONS_SHOWN = 100
log = structlog.get_logger()


class Change(NamedTuple):
    """What the worker made of a proposal."""

    events: tuple[Event, ...]
    writes: tuple[Write, ...]
    compiled: Compiled


class Laps:
    """How long each stage took, in ms."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self.ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The stage that ends now."""
        now = time.perf_counter()
        self.ms[stage] = round(self.ms.get(stage, 0.0) + (now - self._last) * 1000, 3)
        self._last = now

    def total(self) -> dict[str, float]:
        """All stages, and ``total``."""
        return {**self.ms, "total": round((time.perf_counter() - self._begin) * 1000, 3)}


class Changer:
    """What is active, and how it becomes something else."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.attachments = Attachments(parts)
        self.directory = Directory()
        self.entries: dict[int, EndpointEntry] = {}
        self.generation = 0
        self.digest = ""
        self.compile_ms = 0.0
        self.writes_last = 0
        self.writes_total = 0
        self.generations: deque[ShownGeneration] = deque(maxlen=GENERATIONS_SHOWN)
        self._rules: dict[int, tuple[RuleOrigin, ...]] = {}
        self._reserved = 0
        self._kept = b""
        self._before: bytes | None = None
        """What was wanted before the last change; None: nothing that is known."""
        self.turn = asyncio.Lock()
        """Held by whoever changes or compares; changes take it themselves."""
        self.replay = Replayer(parts)
        self._fresh = True
        """The worker knows nothing yet, so its next events are the whole model."""

    async def load(self) -> None:
        """Take over what is on disk and in the kernel, and bring it to what is wanted."""
        disk, kernel = self._parts.disk, self._parts.kernel
        self.replay.load()
        self._kept = await kernel.run(disk.load_kept)
        self._rules = await kernel.run(disk.load_rules)
        self._reserved = (await self.attachments.load()).generation
        await self._feed()

    async def _feed(self) -> None:
        """Start a worker and give it everything."""
        parts = self._parts
        previous = await parts.kernel.run(parts.datapath.read_back)
        previous.rules = dict(self._rules)
        self.entries = dict(previous.endpoints)
        self.generation = previous.generation
        for number, rules in self._rules.items():
            self.directory.learn_rules(previous.generation, number, rules)
        self._fresh = True
        host = this_host(tuple(await parts.kernel.run(host_addresses)))
        attached = self.attachments.all()
        await parts.workshop.start()
        begin = Begin(parts.config, host, self._kept, attached, previous, self._reserved)
        await parts.workshop.send(begin)
        answer = await parts.workshop.receive()
        if isinstance(answer, Refused):
            raise as_error(answer.refusal)
        assert isinstance(answer, Begun)

    async def change(self, propose: Propose, cause: str) -> Applied:
        """Make one change. Raises ClocheError when it cannot be; then nothing was changed."""
        async with self.turn:
            return await self._with_worker(propose, cause)

    async def go_back(self, cause: str) -> Applied:
        """Make active what was wanted before the last change, by what the kernel really holds. Raises as
        ``change``."""
        async with self.turn:
            await self._parts.workshop.stop()
            self._kept = self._kept if self._before is None else self._before
            return await self._with_worker(Propose(), cause)

    async def _with_worker(self, propose: Propose, cause: str) -> Applied:
        if not self._parts.workshop.alive:
            await self._feed()
        try:
            return await self._change(propose, cause)
        except WorkerDiedError:
            log.warning("the worker died; feeding another", cause=cause)
            await self._feed()
            return await self._change(propose, cause)

    async def _change(self, propose: Propose, cause: str) -> Applied:
        laps = Laps()
        plan = await self._plan(propose)
        findings = plan.findings
        laps.lap("build")
        writes = await self._realise(plan, cause, laps)
        while plan.again:
            plan = await self._plan(Propose())
            writes += await self._realise(plan, cause, laps)
        self.writes_last = writes
        return self._applied(findings, laps)

    async def _ask(self, errand: Propose | Compile, last: type) -> list[object]:
        await self._parts.workshop.send(errand)
        answers = []
        async for answer in self._parts.workshop.until(last, Refused):
            answers.append(answer)
        if isinstance(answers[-1], Refused):
            raise as_error(answers[-1].refusal)
        return answers

    async def _plan(self, propose: Propose) -> Plan:
        (plan,) = await self._ask(propose, Plan)
        assert isinstance(plan, Plan)
        return plan

    async def _compile(self, errand: Compile) -> Change:
        answers = await self._ask(errand, Compiled)
        compiled = answers.pop()
        assert isinstance(compiled, Compiled)
        events = tuple(event for part in answers if isinstance(part, Events) for event in part.events)
        writes = tuple(write for part in answers if isinstance(part, Writes) for write in part.writes)
        return Change(events, writes, compiled)

    async def _realise(self, plan: Plan, cause: str, laps: Laps) -> int:
        attached = await self.attachments.add(plan.attach)
        laps.lap("attach")
        try:
            change = await self._compile(Compile(attached, plan.detach))
            laps.lap("compile")
            await self._reserve(change.compiled.generation)
        except BaseException:
            await self.attachments.remove([found.attachment.endpoint for found in attached])
            raise
        await self._write(change)
        laps.lap("write")
        self._learn(change, cause)
        await self._settle(plan, change)
        laps.lap("listen")
        return len(change.writes)

    async def _reserve(self, generation: int) -> None:
        """No number counts in the kernel before the disk knows that it is used."""
        if generation > self._reserved:
            self._reserved = generation + RESERVED
        await self.attachments.save(self._reserved)

    async def _write(self, change: Change) -> None:
        parts = self._parts
        named = {
            write.key: write.value
            for write in change.writes
            if isinstance(write, Put) and write.map == "rules"
        }
        if named:
            self._rules.update(named)  # type: ignore[arg-type]
            await parts.kernel.run(parts.disk.save_rules, self._rules)
        try:
            await self.replay.write(change.writes)
        except (OSError, IndexError) as error:
            await parts.workshop.stop()
            raise AgentError(
                f"the kernel refused a write: {error}; the maps are read back and mended"
            ) from error

    def _learn(self, change: Change, cause: str) -> None:
        """What was written is active: know it by name."""
        compiled = change.compiled
        if self._fresh:
            self.directory.forget()
            self._fresh = False
        for event in change.events:
            self.directory.apply(event)
        for write in change.writes:
            match write:
                case Put("rules", int(number), tuple(rules)):
                    self.directory.learn_rules(compiled.generation, number, rules)
                case Put("endpoints", int(number), EndpointEntry() as entry):
                    self.entries[number] = entry
                case Remove("endpoints", int(number)):
                    self.entries.pop(number, None)
        if compiled.kept != self._kept:
            self._before, self._kept = self._kept or None, compiled.kept
        self.generation, self.digest = compiled.generation, compiled.digest
        self.compile_ms = round(compiled.compile_ms, 3)
        self.writes_total += len(change.writes)
        if change.writes:
            shown = ShownGeneration(
                compiled.generation,
                True,
                time.time(),
                compiled.digest,
                len(change.writes),
                self.compile_ms,
                cause,
            )
            self.generations.appendleft(shown)

    async def _settle(self, plan: Plan, change: Change) -> None:
        """After the flip: endpoints are answered for, the disk knows, what is gone goes."""
        parts = self._parts
        await parts.responding.withdraw(plan.detach)
        await self.attachments.remove(plan.detach)
        await parts.responding.update(self.directory.state)
        await parts.kernel.run(parts.disk.save_kept, change.compiled.kept)
        await self.attachments.save(self._reserved)

    def _applied(self, findings: tuple[Finding, ...], laps: Laps) -> Applied:
        state = self.directory.state
        return Applied(
            generation=self.generation,
            digest=self.digest,
            namespaces=len(state.namespaces),
            endpoints=len(state.endpoints),
            policies=len(state.policies),
            services=len(state.services),
            writes=self.writes_last,
            findings=findings,
            timings_ms=laps.total(),
        )

"""From a request to an active generation: propose, attach, compile, write, listen, keep. One at a time.

Whoever holds the turn owns the worker, the ledger and the directory, and alone writes maps. Whatever fails
before the first write leaves everything as it was; whatever fails after it is mended by reading back what
the kernel holds and feeding a new worker with that. A generation that does not fit is refused whole; then
only endpoints that are no longer wanted go, and each later change tries again.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from cloche.agent.active import Active, Change
from cloche.agent.attachments import Attachments
from cloche.agent.errands import (
    AT_ONCE,
    Audit,
    Audited,
    Begin,
    Begun,
    Compile,
    Compiled,
    Encode,
    Encoded,
    Events,
    Named,
    Plan,
    Propose,
    Refused,
    Rehearse,
    Writes,
)
from cloche.agent.keeping import Keeper
from cloche.agent.laps import Laps
from cloche.agent.messages import Applied, RollbackRequest
from cloche.agent.parts import Parts
from cloche.agent.refusals import AgentError, as_error
from cloche.agent.replay import Replayer
from cloche.agent.system import this_host
from cloche.agent.workshop import WorkerDiedError
from cloche.datapath import faults
from cloche.datapath.faults import Point
from cloche.datapath.host import host_addresses
from cloche.errors import ClocheError, TooBigError
from cloche.model.topology import Host
from cloche.tables.schema import Write

T = TypeVar("T")
STAYS = "what was in force stays; what went is closed, what came stays closed; later changes try again"
log = structlog.get_logger()


def _written(answers: list[object]) -> tuple[tuple[Writes, ...], tuple[Write, ...]]:
    """The parts of a change's writes among the worker's answers, and what is to be known of them."""
    writes = tuple(part for part in answers if isinstance(part, Writes))
    return writes, tuple(write for part in answers if isinstance(part, Named) for write in part.writes)


class Changer:
    """How what is active becomes something else."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.attachments = Attachments(parts)
        self.active = Active()
        self.keeper = Keeper(parts, self.attachments)
        self.turn = asyncio.Lock()
        """Held by whoever changes or compares; changes take it themselves."""
        self.replay = Replayer(parts)
        self._then: Rehearse | None = None
        """What the worker was asked to think of as soon as it has compiled the change."""
        self.host: Host | None = None
        """This machine as the active generation knows it."""

    async def load(self) -> None:
        """Take over what is on disk and in the kernel, and bring it to what is wanted."""
        async with self.turn:
            self.replay.load()
            await self.keeper.load()
            faults.passing(Point.STORE_READ)
            await self._feed()
            faults.passing(Point.WORKER_FED)

    async def _feed(self) -> None:
        """Start a worker and give it everything."""
        parts = self._parts
        entries = await parts.kernel.run(parts.datapath.entries)
        self.active.adopt(entries, parts.datapath.generation, self.keeper.rules)
        self.host = host = this_host(tuple(await parts.kernel.run(host_addresses)))
        attached, keeper = self.attachments.all(), self.keeper
        await parts.workshop.start()
        gc.freeze()
        begin = Begin(parts.config, host, keeper.wanted, attached, keeper.rules, keeper.highest)
        await parts.workshop.send(begin)
        answer = await parts.workshop.receive()
        if isinstance(answer, Refused):
            raise as_error(answer.refusal)
        assert isinstance(answer, Begun)
        if answer.behind:
            await self._realise(await self._plan(Propose(recover=True)), "recover", Laps())

    async def change(self, propose: Propose, cause: str) -> Applied:
        """Make one change. Raises ClocheError when it cannot be; then nothing was changed, but see
        TooBigError: what is wanted stays so, and what is no longer wanted goes."""
        async with self.turn:
            return await self._with_worker(propose, cause)

    async def rollback(self, request: RollbackRequest) -> Applied:
        """Put the policies of an earlier generation in force until released, or release them.

        Raises ClocheError when they are not kept, when there is nothing to release, and as ``change``.
        """
        async with self.turn:
            held = self.active.held
            if not request.release:
                version = await self.keeper.versions.choose(request.generation, self.active.generation, held)
                asked = request.generation or version.generation
                propose = Propose(hold=(asked, version.policies))
                return await self._with_worker(propose, f"rollback to {asked}")
            if not held:
                raise ClocheError("nothing is rolled back, so there is nothing to release")
            return await self._with_worker(Propose(release=True), f"release of {held}")

    async def go_back(self, cause: str) -> Applied:
        """Put the policies before the last change of policy in force until released; where none are kept,
        those in force anew, by what the kernel really holds. Raises as ``change``."""
        async with self.turn:
            await self._parts.workshop.stop()
            try:
                version = await self.keeper.versions.choose(0, self.active.generation, self.active.held)
            except ClocheError:
                return await self._with_worker(Propose(), cause)
            return await self._with_worker(Propose(hold=(version.generation, version.policies)), cause)

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
        laps, active = Laps(), self.active
        plan = await self._plan(propose)
        findings, queued = plan.findings, plan.queued
        await self.attachments.check((*plan.attach, *plan.later))
        laps.lap("build")
        writes = await self._realise(plan, cause, laps, whole=propose.hold is not None)
        while plan.later or (active.too_big and plan.detach):
            plan = await self._plan(Propose())
            writes += await self._realise(plan, cause, laps)
        active.writes_last = writes
        if active.too_big:
            raise active.too_big
        self.host = propose.host or self.host
        return active.applied(findings, queued, laps)

    async def audit(self, seconds: float) -> Audited:
        """Compare the maps with what was written to them, for so long, and mend what was found.

        Raises ClocheError when it cannot be done now.
        """
        async with self.turn:
            answers = await self._undone_by(self._ask(Audit(seconds), Audited))
            audited = answers.pop()
            assert isinstance(audited, Audited)
            if audited.found:
                writes, named = _written(answers)
                await self._undone_by(self.keeper.reserve(audited.generation))
                await self._write(writes, Laps())
                self.active.mended((sum(part.entries for part in writes), named), audited)
            return audited

    async def _ask(self, errand: Propose | Compile | Encode | Audit, last: type) -> list[object]:
        await self._parts.workshop.send(errand)
        return await self._answers(last)

    async def _answers(self, last: type) -> list[object]:
        answers = []
        async for answer in self._parts.workshop.until(last, Refused):
            answers.append(answer)
            if isinstance(answer, Events) and len(answer.events) == AT_ONCE:
                gc.freeze()  # Python's cycle collector would walk it again and again, and the loop would wait
        if isinstance(answers[-1], Refused):
            raise as_error(answers[-1].refusal)
        return answers

    async def _plan(self, propose: Propose) -> Plan:
        self._then = self.replay.first()
        (plan,) = await self._ask(propose._replace(then=self._then), Plan)
        assert isinstance(plan, Plan)
        return plan

    async def _compile(self, errand: Compile | None) -> Change:
        """``errand`` None: it was begun when the plan was known."""
        if errand is not None:
            await self._parts.workshop.send(errand)
        answers = await self._answers(Compiled)
        compiled = answers.pop()
        assert isinstance(compiled, Compiled)
        events = tuple(part for part in answers if isinstance(part, Events))
        return Change(events, *_written(answers), compiled, asked=self._then is not None)

    async def _realise(self, plan: Plan, cause: str, laps: Laps, *, whole: bool = False) -> int:
        """Carry a plan out; how many writes it took. ``whole``: not in part when it does not fit."""
        try:
            change = await self._attach(plan, laps)
            self.active.too_big = None
        except TooBigError as error:
            if whole:
                raise
            log.error("does not fit", cause=cause, error=str(error))
            self.active.too_big = error
            change = await self._less(plan, error)
            cause = f"{cause}, which does not fit"
        faults.passing(Point.READY)
        await self._write(change.writes, laps, asked=change.asked)
        laps.lap("write")
        faults.passing(Point.WRITTEN)
        await self.active.learn(change, cause)
        await self._settle(plan, change)
        laps.lap("listen")
        return change.entries

    async def _attach(self, plan: Plan, laps: Laps) -> Change:
        """Attach and compile; what was attached goes again when the whole cannot be."""
        attached = await self.attachments.add(plan.attach)
        laps.lap("attach")
        try:
            errand = None if plan.at_once else Compile(attached, plan.detach, then=self._then)
            change = await self._compile(errand)
            laps.lap("compile")
            faults.passing(Point.COMPILED)
            await self._undone_by(self.keeper.ready(change, attached=bool(attached)))
        except BaseException:
            await self.attachments.remove([found.attachment.endpoint for found in attached])
            raise
        return change

    async def _less(self, plan: Plan, error: TooBigError) -> Change:
        """What is to be done of a plan that does not fit. Raises TooBigError when nothing can be."""
        try:
            change = await self._compile(Compile((), plan.detach, less=True, then=self._then))
        except WorkerDiedError:
            raise
        except ClocheError:
            raise error from None
        error.note = STAYS
        await self._undone_by(self.keeper.ready(change))
        return change

    async def _undone_by(self, step: Awaitable[T]) -> T:
        """A step after which the worker may be ahead of the kernel: when it fails, the worker is let go."""
        try:
            return await step
        except BaseException:
            await self._parts.workshop.stop()
            raise

    async def _write(self, writes: tuple[Writes, ...], laps: Laps, *, asked: bool = False) -> None:
        self.active.turns += 1
        try:
            await self.replay.write(writes, laps, asked=asked)
        except (OSError, IndexError) as error:
            await self._parts.workshop.stop()
            message = f"the kernel refused a write: {error}; the maps are read back and mended"
            raise AgentError(message) from error

    async def _settle(self, plan: Plan, change: Change) -> None:
        """After the flip: endpoints are answered for, the disk knows, what is gone goes."""
        parts = self._parts
        await parts.responding.withdraw(plan.detach)
        faults.passing(Point.WITHDRAWN)
        await self.attachments.remove(plan.detach)
        await parts.responding.update(self.active.directory.state)
        faults.passing(Point.ANSWERED)
        (encoded,) = await self._ask(Encode(), Encoded)
        assert isinstance(encoded, Encoded)
        self.active.name(encoded.digest)
        await self.keeper.keep(change.compiled.generation, encoded)
        faults.passing(Point.KEPT)

    async def save(self) -> None:
        """Try again to save what could not be saved."""
        async with self.turn:
            await self.keeper.save(self.active.generation)

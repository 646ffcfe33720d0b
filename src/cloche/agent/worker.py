"""The worker process: turns requests into worlds, worlds into events, and events into ordered writes.

It holds everything that takes long, so that the agent's loop holds none of it. It writes neither to the disk
nor to the kernel, whose maps it reads; when it dies another is fed with what the agent has.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Iterable, Iterator

import msgspec

from cloche.agent.auditing import Audits
from cloche.agent.disk import Attached
from cloche.agent.errands import (
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
    Propose,
    Refused,
    Rehearsal,
    Rehearse,
    Writes,
    in_parts,
    packed,
)
from cloche.agent.pipe import EndedError, Pipe
from cloche.agent.proposing import Proposal, Proposer
from cloche.agent.refusals import as_refusal
from cloche.agent.rehearsing import Rehearser
from cloche.agent.wanted import changed, effective, missing, policies_of
from cloche.compiler import Change, Compiler
from cloche.datapath import faults
from cloche.datapath.faults import Point
from cloche.datapath.pins import opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.errors import ClocheError
from cloche.model.state import Delete, Event, Put
from cloche.tables.schema import Flip, Tables

MANY = 1000
"""Events of a large change."""


class Worker:
    """The compiler between what is wanted and what is written."""

    def __init__(self, begin: Begin) -> None:
        self._proposer = Proposer(begin)
        self._proposal: Proposal | None = None
        self._encoded = ""
        """The meaning of the policies that were encoded last."""
        self._rehearser = Rehearser(begin.config.replay_ms > 0, begin.host.name, begin.generation)
        self._compiler = Compiler(begin.host.name, begin.config.capacity, held(begin), begin.generation)
        self._audits = Audits(begin.config.instance, self._compiler)
        self._first: tuple[Event, ...] = (Put(begin.host), *puts(begin.attached))
        self.grown = False
        """The last change was a large one."""

    @property
    def behind(self) -> bool:
        """True when what was in force is not what is wanted: it comes first (``Propose.recover``)."""
        return self._proposer.kept.active is not None and bool(self._first)

    def propose(self, errand: Propose) -> Iterator[object]:
        """What the errand needs, and the change where it needs nothing. Raises InputError, TooBigError."""
        plan, self._proposal = self._proposer.propose(errand)
        yield plan
        if plan.at_once:
            yield from self.compile(Compile(then=errand.then))

    def compile(self, errand: Compile) -> Iterator[Events | Writes | Named | Compiled | Rehearsal]:
        """The proposal as events and writes, in parts, then what they come to. Raises TooBigError."""
        assert self._proposal is not None
        proposal = self._less(self._proposal) if errand.less else self._proposal
        events = (
            *self._first,
            *proposal.host,
            *(Delete("Attachment", key) for key in errand.detached),
            *proposal.events,
            *puts(errand.attached),
        )
        begin = time.perf_counter()
        proposer = self._proposer
        anew = bool(proposer.meaning) and proposal.meaning != proposer.meaning
        change = self._compiler.update(events, anew=anew, digested=False)
        elapsed = (time.perf_counter() - begin) * 1000
        self.grown = len(events) >= MANY
        self._rehearser.note(events, change.writes)
        self._first = ()
        for key in errand.detached:
            del proposer.attached[key]
        proposer.attached.update((found.attachment.endpoint, found.addresses) for found in errand.attached)
        yield from map(Events, in_parts(events))
        yield from packed(change.writes)
        proposer.take(proposal)
        self._proposal = None
        yield self._compiled(change, elapsed)
        if errand.then is not None and any(isinstance(write, Flip) for write in change.writes):
            yield self.rehearse(errand.then)

    def audit(self, errand: Audit) -> Iterator[Writes | Named | Audited]:
        """The next slice of comparing the maps with what was written to them. Raises ClocheError, OSError."""
        found, ended = ([], True) if self._first else self._audits.look(errand.seconds)
        digest = ""
        if found:
            writes, digest = self._audits.mend(found)
            self._rehearser.note((), writes)
            yield from packed(writes)
        generation = self._compiler.tables.generation
        yield Audited(tuple(one.what for one in found), ended, generation, digest)

    def _less(self, proposal: Proposal) -> Proposal:
        """Raises ClocheError before anything is in force here: then the kernel's tables are left alone."""
        if self._first:
            raise ClocheError("what was in force is not known here; nothing is changed")
        return self._proposer.less(proposal)

    def _compiled(self, change: Change, elapsed_ms: float) -> Compiled:
        kept, active = self._proposer.kept, self._proposer.active
        return Compiled(
            change.generation,
            elapsed_ms,
            kept.hold.generation if kept.hold else 0,
            changed(kept.hold.policies, policies_of(kept.world)) if kept.hold else (),
            missing(effective(kept.world, kept.hold), active) if kept.active else (),
        )

    def encode(self) -> Encoded:
        """What is wanted, the digest and, where they are others than the last time, the policies in force."""
        self._compiler.catch_up()
        proposer, policies = self._proposer, b""
        kept = msgspec.msgpack.encode(proposer.kept)
        if proposer.meaning != self._encoded:
            policies = msgspec.msgpack.encode(policies_of(proposer.active))
            self._encoded = proposer.meaning
        return Encoded(kept, policies, proposer.meaning, self._compiler.digest)

    def rehearse(self, errand: Rehearse) -> Rehearsal:
        """What to ask of what was compiled last."""
        return self._rehearser.rehearse(errand, self._compiler.tables)


def held(begin: Begin) -> Tables:
    """What the pinned maps hold. Raises ClocheError when there are none, OSError."""
    maps = opened_maps(pin_directory(begin.config.instance))
    if maps is None:
        raise ClocheError(f"nothing is pinned for instance {begin.config.instance}")
    try:
        tables = read_back(maps)
    finally:
        maps.close()
    tables.rules = dict(begin.rules)
    return tables


def tidy(errand: object, last: object, *, grown: bool) -> None:
    """Let Python's cycle collector walk: only here, where no packet waits for what comes next.

    After a change it walks what is new, at the end of a round of comparing all that came since the last such
    round. What a large change leaves it never walks: that is much, has no cycles, and the next change would
    wait. References are counted all the same, so what is dropped is freed. ``last``: the last answer to the
    errand; ``grown``: the last change was a large one.
    """
    if isinstance(errand, Encode):
        if grown:
            gc.freeze()
        else:
            gc.collect(1)
    elif isinstance(last, Audited) and last.ended:
        gc.collect()
        gc.freeze()


def puts(attached: Iterable[Attached]) -> Iterator[Put]:
    """The events that say how endpoints are attached."""
    return (Put(found.attachment) for found in attached)


def answer(worker: Worker, errand: object) -> Iterator[object]:
    """What to send back for one errand; a refusal leaves everything as it was."""
    try:
        match errand:
            case Propose():
                yield from worker.propose(errand)
            case Compile():
                yield from worker.compile(errand)
            case Encode():
                yield worker.encode()
            case Audit():
                yield from worker.audit(errand)
            case Rehearse():
                yield worker.rehearse(errand)
    except ClocheError as error:
        yield Refused(as_refusal(error))
    except OSError as error:
        yield Refused(as_refusal(ClocheError(str(error))))


def work(pipe: Pipe) -> None:
    """Answer errands until the agent is gone."""
    gc.disable()
    try:
        begin = pipe.receive()
        assert isinstance(begin, Begin)
        try:
            worker = Worker(begin)
        except (ClocheError, OSError) as error:
            refused = error if isinstance(error, ClocheError) else ClocheError(str(error))
            pipe.send(Refused(as_refusal(refused)))
            return
        del begin
        gc.freeze()
        pipe.send(Begun(worker.behind))
        while True:
            errand = pipe.receive()
            for reply in answer(worker, errand):
                pipe.send(reply)
                faults.passing(Point.ANSWER)
            tidy(errand, reply, grown=worker.grown)
    except EndedError:
        return


if __name__ == "__main__":
    faults.arm()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        work(Pipe(connection))

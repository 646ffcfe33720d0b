"""The worker process: turns requests into worlds, worlds into events, and events into ordered writes.

It holds everything that takes long, so that the agent's loop holds none of it. It writes neither to the disk
nor to the kernel, whose maps it reads; when it dies another is fed with what the agent has.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from cloche.agent.auditing import Audits
from cloche.agent.clashes import host_clashes
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
    Plan,
    Propose,
    Refused,
    Rehearsal,
    Rehearse,
    Writes,
    in_parts,
    packed,
)
from cloche.agent.messages import ApplyRequest, DeleteRequest, Mode
from cloche.agent.overlay import overlay
from cloche.agent.pipe import EndedError, Pipe
from cloche.agent.refusals import as_refusal
from cloche.agent.rehearsing import Rehearser
from cloche.agent.wanted import (
    Hold,
    Kept,
    Meanings,
    changed,
    effective,
    endpoints_of,
    is_attached,
    missing,
    policies_of,
    read_kept,
    read_policies,
    reduced,
)
from cloche.compiler import Change, Compiler
from cloche.datapath import faults
from cloche.datapath.faults import Point
from cloche.datapath.pins import opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.errors import ClocheError, Finding, InputError, Severity
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import Manifest, Readings, World, build, delete, difference, merge
from cloche.tables.schema import Tables

MANY = 1000
"""Events worth a walk of the collector."""


class Proposal(NamedTuple):
    """What would be wanted, the world that would be in force, and the model events that lead there.

    ``meaning``: the hash of the policies in force then.
    """

    kept: Kept
    active: World
    events: tuple[Event, ...]
    meaning: str
    host: tuple[Event, ...] = ()


class Worker:
    """What is wanted and what is active, and the compiler between them."""

    def __init__(self, begin: Begin) -> None:
        self._config = begin.config
        self._host = begin.host
        self._attached = {found.attachment.endpoint: found.addresses for found in begin.attached}
        self._kept = read_kept(begin.kept)
        self._active = World()
        """What the compiler was told; at first nothing, whatever the kernel holds."""
        self._meaning = self._encoded = ""
        """Of the policies in force, and of those that were encoded last."""
        self._meanings = Meanings()
        self._readings = Readings()
        self._proposal: Proposal | None = None
        self._rehearser = Rehearser(begin.config.replay_ms > 0, begin.host.name, begin.generation)
        self._compiler = Compiler(begin.host.name, begin.config.capacity, held(begin), begin.generation)
        self._audits = Audits(begin.config.instance, self._compiler)
        self._first: tuple[Event, ...] = (Put(begin.host), *puts(begin.attached))

    @property
    def behind(self) -> bool:
        """True when what was in force is not what is wanted: it comes first (``Propose.recover``)."""
        return self._kept.active is not None and bool(self._first)

    def propose(self, errand: Propose) -> Plan:
        """What the errand needs. Raises InputError when it cannot be."""
        kept, findings = self._kept, tuple[Finding, ...]()
        if errand.recover and kept.active is not None:
            wanted = kept.active
        else:
            kept, findings = self._wanted(errand)
            wanted = effective(kept.world, kept.hold)
        queued = changed(policies_of(self._kept.world), policies_of(kept.world)) if kept.hold else ()
        endpoints = {
            found.key for found in wanted.objects if isinstance(found, Endpoint) and is_attached(found)
        }
        now, later, events = self._split(wanted, set(errand.lost))
        attach = [endpoint for endpoint in endpoints_of(events) if endpoint.key not in self._attached]
        detach = tuple(key for key in sorted(self._attached) if key in later or key not in endpoints)
        host = (Put(errand.host),) if errand.host else ()
        self._proposal = Proposal(kept, now, events, self._meanings.of(policies_of(wanted)), host)
        found = (*findings, *unheard(kept.world.findings, self._kept.world.findings))
        queued_names = tuple(one.policy for one in queued)
        return Plan(tuple(attach), detach, found, tuple(later.values()), queued_names)

    def _wanted(self, errand: Propose) -> tuple[Kept, tuple[Finding, ...]]:
        """What is wanted with the errand's request, and what is to be said about it."""
        manifests, findings = self._requested(decode(errand))
        config, hold = self._config, self._kept.hold
        before = self._kept.world
        built = build(manifests, config.pod_ranges, config.service_ranges, before, self._readings)
        world = overlay(config, built, self._kept.world)
        self._host = errand.host or self._host
        clashes = host_clashes(world.objects, self._host.addresses) if errand.kind is not None else ()
        problems = (*clashes, *world.findings)
        if any(finding.severity is Severity.ERROR for finding in problems):
            raise InputError(problems)
        if errand.release:
            hold = None
        elif errand.hold is not None:
            generation, content = errand.hold
            hold = Hold(generation, read_policies(content))
        return Kept(manifests, world, hold), findings

    def _split(self, world: World, lost: set[str]) -> tuple[World, dict[str, Endpoint], tuple[Event, ...]]:
        """The world that can be now, without attached endpoints that come back as others; those; and the
        events that lead to that world.

        ``lost``: endpoints whose links are gone, to be attached anew.
        """
        events = difference(self._active, world)
        deletes = {e.key for e in events if isinstance(e, Delete) and e.kind == Endpoint.__name__}
        later = {
            found.key: found
            for found in world.objects
            if isinstance(found, Endpoint)
            and found.key in self._attached
            and is_attached(found)
            and (found.key in deletes or found.key in lost or found.addresses != self._attached[found.key])
        }
        if not later:
            return world, later, events
        objects = tuple(f for f in world.objects if not (isinstance(f, Endpoint) and f.key in later))
        now = msgspec.structs.replace(world, objects=objects)
        return now, later, difference(self._active, now)

    def _requested(
        self, request: ApplyRequest | DeleteRequest | None
    ) -> tuple[tuple[Manifest, ...], tuple[Finding, ...]]:
        old = self._kept.manifests
        match request:
            case None:
                return old, ()
            case ApplyRequest(manifests, Mode.REPLACE):
                return manifests, ()
            case ApplyRequest(manifests):
                return merge(old, manifests), ()
        return delete(old, request.manifests)

    def compile(self, errand: Compile) -> Iterator[Events | Writes | Named | Compiled]:
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
        anew = bool(self._meaning) and proposal.meaning != self._meaning
        with without_collector(len(events)):
            change = self._compiler.update(events, anew=anew, digested=False)
        elapsed = (time.perf_counter() - begin) * 1000
        self._rehearser.note(events, change.writes)
        self._first = ()
        for key in errand.detached:
            del self._attached[key]
        self._attached.update((found.attachment.endpoint, found.addresses) for found in errand.attached)
        yield from map(Events, in_parts(events))
        yield from packed(change.writes)
        self._kept, self._active, self._proposal = proposal.kept, proposal.active, None
        self._meaning = proposal.meaning
        yield self._compiled(change, elapsed)

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
        """What is left of a proposal that does not fit: endpoints that go; all else stays as it is in force.

        Raises ClocheError before anything is in force here: then the kernel's tables are left alone.
        """
        if self._first:
            raise ClocheError("what was in force is not known here; nothing is changed")
        deletes = [e for e in proposal.events if isinstance(e, Delete) and e.kind == Endpoint.__name__]
        active = reduced(self._active, (event.key for event in deletes))
        kept = msgspec.structs.replace(proposal.kept, active=active)
        return Proposal(kept, active, tuple(deletes), self._meaning)

    def _compiled(self, change: Change, elapsed_ms: float) -> Compiled:
        kept = self._kept
        return Compiled(
            change.generation,
            elapsed_ms,
            kept.hold.generation if kept.hold else 0,
            changed(kept.hold.policies, policies_of(kept.world)) if kept.hold else (),
            missing(effective(kept.world, kept.hold), self._active) if kept.active else (),
        )

    def encode(self) -> Encoded:
        """What is wanted, the digest and, where they are others than the last time, the policies in force."""
        kept, policies = msgspec.msgpack.encode(self._kept), b""
        if self._meaning != self._encoded:
            policies = msgspec.msgpack.encode(policies_of(self._active))
            self._encoded = self._meaning
        return Encoded(kept, policies, self._meaning, self._compiler.digest)

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


def unheard(now: Iterable[Finding], before: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that were not said of the world before; one that only moved to another line was."""
    said = Counter(msgspec.structs.replace(finding, line=0) for finding in before)
    for finding in now:
        bare = msgspec.structs.replace(finding, line=0)
        if said[bare]:
            said[bare] -= 1
        else:
            yield finding


@contextmanager
def without_collector(events: int) -> Iterator[None]:
    """Compile so many events without Python's cycle collector; what many events leave it never walks again.

    A full compile allocates much and makes no cycles, but the collector walks all of it again and again: a
    third of the time. References are counted all the same, so what is dropped is freed.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if events >= MANY:
            gc.collect()
            gc.freeze()


def puts(attached: Iterable[Attached]) -> Iterator[Put]:
    """The events that say how endpoints are attached."""
    return (Put(found.attachment) for found in attached)


def decode(errand: Propose) -> ApplyRequest | DeleteRequest | None:
    """The request in an errand. Raises ClocheError when it is none."""
    if errand.kind is None:
        return None
    try:
        return msgspec.msgpack.decode(errand.body, type=errand.kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ClocheError(f"not a request of this version: {error}") from None


def answer(worker: Worker, errand: object) -> Iterator[object]:
    """What to send back for one errand; a refusal leaves everything as it was."""
    try:
        match errand:
            case Propose():
                yield worker.propose(errand)
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
    try:
        with without_collector(MANY):
            begin = pipe.receive()
            assert isinstance(begin, Begin)
            try:
                worker = Worker(begin)
            except (ClocheError, OSError) as error:
                refused = error if isinstance(error, ClocheError) else ClocheError(str(error))
                pipe.send(Refused(as_refusal(refused)))
                return
            del begin
        pipe.send(Begun(worker.behind))
        while True:
            for reply in answer(worker, pipe.receive()):
                pipe.send(reply)
                faults.passing(Point.ANSWER)
    except EndedError:
        return


if __name__ == "__main__":
    faults.arm()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        work(Pipe(connection))

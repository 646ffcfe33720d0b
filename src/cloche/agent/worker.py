"""The worker process: turns requests into worlds, worlds into events, and events into ordered writes.

It holds everything that takes long, so that the agent's loop holds none of it. It touches neither disk nor
kernel; when it dies another is fed with what the agent has.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from cloche.agent.disk import Attached
from cloche.agent.errands import (
    AT_ONCE,
    Begin,
    Begun,
    Compile,
    Compiled,
    Events,
    Plan,
    Propose,
    Refused,
    Rehearsal,
    Rehearse,
    Writes,
)
from cloche.agent.messages import ApplyRequest, DeleteRequest, Mode
from cloche.agent.overlay import overlay
from cloche.agent.pipe import EndedError, Pipe
from cloche.agent.refusals import as_refusal
from cloche.agent.rehearsing import Rehearser
from cloche.compiler import Compiler
from cloche.errors import ClocheError, Finding, InputError, Severity
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import Manifest, World, build, difference, merge, without

T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """What is wanted: the manifests, and the world made of them with the addresses it gave out."""

    manifests: tuple[Manifest, ...] = ()
    world: World = World()


class Proposal(NamedTuple):
    """What would be wanted, and the model events that lead there."""

    kept: Kept
    active: World
    events: tuple[Event, ...]


def in_parts(values: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """The values in pieces small enough for one step of the agent's loop."""
    for first in range(0, len(values), AT_ONCE):
        yield tuple(values[first : first + AT_ONCE])


class Worker:
    """What is wanted and what is active, and the compiler between them."""

    def __init__(self, begin: Begin) -> None:
        self._config = begin.config
        self._attached = {found.attachment.endpoint: found.addresses for found in begin.attached}
        self._kept = read_kept(begin.kept)
        self._active = World()
        """What the compiler was told; at first nothing, whatever the kernel holds."""
        self._proposal: Proposal | None = None
        self._rehearser = Rehearser(begin.config.replay_ms > 0, begin.host.name, begin.generation)
        self._compiler = Compiler(begin.host.name, begin.config.capacity, begin.previous, begin.generation)
        self._first: tuple[Event, ...] = (Put(begin.host), *puts(begin.attached))

    def propose(self, request: ApplyRequest | DeleteRequest | None) -> Plan:
        """What the request needs. Raises InputError when it cannot be."""
        manifests, findings = self._requested(request)
        config = self._config
        built = build(manifests, config.pod_ranges, config.service_ranges, self._kept.world)
        world = overlay(config, built, self._kept.world)
        if any(finding.severity is Severity.ERROR for finding in world.findings):
            raise InputError(world.findings)
        wanted = {found.key for found in world.objects if isinstance(found, Endpoint) and is_attached(found)}
        now, later = self._split(world)
        events = difference(self._active, now)
        attach = [endpoint for endpoint in endpoints_of(events) if endpoint.key not in self._attached]
        detach = tuple(key for key in sorted(self._attached) if key in later or key not in wanted)
        self._proposal = Proposal(Kept(manifests, world), now, events)
        return Plan(tuple(attach), detach, (*findings, *world.findings), bool(later))

    def _split(self, world: World) -> tuple[World, set[str]]:
        """The world that can be now, without attached endpoints that come back as others, and their keys."""
        events = difference(self._active, world)
        deletes = {e.key for e in events if isinstance(e, Delete) and e.kind == Endpoint.__name__}
        later = {
            found.key
            for found in world.objects
            if isinstance(found, Endpoint)
            and found.key in self._attached
            and is_attached(found)
            and (found.key in deletes or found.addresses != self._attached[found.key])
        }
        if not later:
            return world, later
        objects = tuple(f for f in world.objects if not (isinstance(f, Endpoint) and f.key in later))
        return msgspec.structs.replace(world, objects=objects), later

    def _requested(
        self, request: ApplyRequest | DeleteRequest | None
    ) -> tuple[tuple[Manifest, ...], list[Finding]]:
        old = self._kept.manifests
        match request:
            case None:
                return old, []
            case ApplyRequest(manifests, Mode.REPLACE):
                return manifests, []
            case ApplyRequest(manifests):
                return merge(old, manifests), []
        keys = {manifest.key for manifest in old}
        absent = [manifest for manifest in request.manifests if manifest.key not in keys]
        return without(old, request.manifests), [_absent(manifest) for manifest in absent]

    def compile(self, errand: Compile) -> Iterator[Events | Writes | Compiled]:
        """The proposal as events and writes, in parts, then what they come to. Raises TooBigError."""
        assert self._proposal is not None
        events = (
            *self._first,
            *(Delete("Attachment", key) for key in errand.detached),
            *self._proposal.events,
            *puts(errand.attached),
        )
        begin = time.perf_counter()
        change = self._compiler.update(events)
        elapsed = (time.perf_counter() - begin) * 1000
        self._rehearser.note(events, change.writes)
        self._first = ()
        for key in errand.detached:
            del self._attached[key]
        self._attached.update((found.attachment.endpoint, found.addresses) for found in errand.attached)
        yield from map(Events, in_parts(events))
        yield from map(Writes, in_parts(change.writes))
        self._kept, self._active = self._proposal.kept, self._proposal.active
        self._proposal = None
        yield Compiled(change.generation, change.digest, elapsed, msgspec.msgpack.encode(self._kept))

    def rehearse(self, errand: Rehearse) -> Rehearsal:
        """What to ask of what was compiled last."""
        return self._rehearser.rehearse(errand, self._compiler.tables)


def read_kept(content: bytes) -> Kept:
    """What an earlier worker encoded. Raises ClocheError when it was of another version."""
    try:
        return msgspec.msgpack.decode(content, type=Kept) if content else Kept()
    except msgspec.DecodeError as error:
        raise ClocheError(f"what was kept on disk is of another version: {error}") from None


def puts(attached: Iterable[Attached]) -> Iterator[Put]:
    """The events that say how endpoints are attached."""
    return (Put(found.attachment) for found in attached)


def endpoints_of(events: Sequence[Event]) -> Iterator[Endpoint]:
    """The endpoints with links of their own that the events put."""
    for event in events:
        if isinstance(event, Put) and isinstance(event.object, Endpoint) and is_attached(event.object):
            yield event.object


def is_attached(endpoint: Endpoint) -> bool:
    """True for endpoints with a link of their own; those of the host's network have none."""
    return bool(endpoint.addresses) and not endpoint.host_network


def _absent(manifest: Manifest) -> Finding:
    name = f"{manifest.namespace}/{manifest.name}".lstrip("/")
    message = f"{manifest.kind} {name} is not there"
    return Finding(manifest.file, manifest.line, "", message, "", Severity.WARNING)


def decode(errand: Propose) -> ApplyRequest | DeleteRequest | None:
    """The request in an errand. Raises ClocheError when it is none."""
    if errand.kind is None:
        return None
    try:
        return msgspec.msgpack.decode(errand.body, type=errand.kind)
    except msgspec.DecodeError as error:
        raise ClocheError(f"not a request of this version: {error}") from None


def answer(worker: Worker, errand: object) -> Iterator[object]:
    """What to send back for one errand; a refusal leaves everything as it was."""
    try:
        match errand:
            case Propose():
                yield worker.propose(decode(errand))
            case Compile():
                yield from worker.compile(errand)
            case Rehearse():
                yield worker.rehearse(errand)
    except ClocheError as error:
        yield Refused(as_refusal(error))


def work(pipe: Pipe) -> None:
    """Answer errands until the agent is gone."""
    try:
        begin = pipe.receive()
        assert isinstance(begin, Begin)
        try:
            worker = Worker(begin)
        except ClocheError as error:
            pipe.send(Refused(as_refusal(error)))
            return
        pipe.send(Begun())
        del begin
        while True:
            for reply in answer(worker, pipe.receive()):
                pipe.send(reply)
    except EndedError:
        return


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        work(Pipe(connection))

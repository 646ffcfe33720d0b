"""The worker's first step: what a request comes to, as a world and as the events that lead there. Pure.

A change is mostly one policy among many: whatever is the very same as before is neither read nor compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from cloche.agent.clashes import host_clashes
from cloche.agent.errands import Begin, Plan, Propose
from cloche.agent.messages import ApplyRequest, DeleteRequest, Mode
from cloche.agent.overlay import Overlay
from cloche.agent.wanted import (
    Hold,
    Kept,
    Meanings,
    changed,
    effective,
    endpoints_of,
    is_attached,
    policies_of,
    read_kept,
    read_policies,
    reduced,
)
from cloche.errors import ClocheError, Finding, InputError, Severity
from cloche.model.policy import Policy
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import Manifest, Readings, World, build, delete, difference, merge


class Proposal(NamedTuple):
    """What would be wanted, the world that would be in force, and the model events that lead there.

    ``meaning``: the hash of the policies in force then.
    """

    kept: Kept
    active: World
    events: tuple[Event, ...]
    meaning: str
    host: tuple[Event, ...] = ()


class Proposer:
    """What is wanted and what is active, and whom the agent has attached with which addresses."""

    def __init__(self, begin: Begin) -> None:
        self._config, self._host = begin.config, begin.host
        self.attached = {found.attachment.endpoint: found.addresses for found in begin.attached}
        self.kept = read_kept(begin.kept)
        self.active = World()
        """What the compiler was told; at first nothing, whatever the kernel holds."""
        self.meaning = ""
        """Of the policies in force."""
        self._meanings = Meanings()
        self._readings = Readings()
        self._overlay = Overlay(begin.config)

    def propose(self, errand: Propose) -> tuple[Plan, Proposal]:
        """What the errand needs and comes to. Raises InputError when it cannot be."""
        kept, findings = self.kept, tuple[Finding, ...]()
        if errand.recover and kept.active is not None:
            wanted = kept.active
        else:
            kept, findings = self._wanted(errand)
            wanted = effective(kept.world, kept.hold)
        queued = changed(policies_of(self.kept.world), policies_of(kept.world)) if kept.hold else ()
        endpoints = {found.key: found for found in wanted.objects if isinstance(found, Endpoint)}
        now, later, events = self._split(wanted, endpoints, set(errand.lost))
        attach = tuple(endpoint for endpoint in endpoints_of(events) if endpoint.key not in self.attached)
        stay = {key for key in self.attached if key in endpoints and is_attached(endpoints[key])}
        detach = tuple(sorted(later.keys() & stay | self.attached.keys() - stay))
        policies = [found for found in wanted.objects if isinstance(found, Policy)]
        host = (Put(errand.host),) if errand.host else ()
        proposal = Proposal(kept, now, events, self._meanings.of(policies), host)
        found = (*findings, *unheard(kept.world.findings, self.kept.world.findings))
        queued_names = tuple(one.policy for one in queued)
        return Plan(attach, detach, found, tuple(later.values()), queued_names), proposal

    def _wanted(self, errand: Propose) -> tuple[Kept, tuple[Finding, ...]]:
        """What is wanted with the errand's request, and what is to be said about it."""
        manifests, findings = self._requested(decode(errand))
        config, hold = self._config, self.kept.hold
        before = self.kept.world
        built = build(manifests, config.pod_ranges, config.service_ranges, before, self._readings)
        world = self._overlay.over(built, before)
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

    def _requested(
        self, request: ApplyRequest | DeleteRequest | None
    ) -> tuple[tuple[Manifest, ...], tuple[Finding, ...]]:
        old = self.kept.manifests
        match request:
            case None:
                return old, ()
            case ApplyRequest(manifests, Mode.REPLACE):
                return manifests, ()
            case ApplyRequest(manifests):
                return merge(old, manifests), ()
        return delete(old, request.manifests)

    def _split(
        self, world: World, endpoints: dict[str, Endpoint], lost: set[str]
    ) -> tuple[World, dict[str, Endpoint], tuple[Event, ...]]:
        """The world that can be now, without attached endpoints that come back as others; those; and the
        events that lead to that world.

        ``endpoints``: the world's, by key. ``lost``: endpoints whose links are gone, to be attached anew.
        """
        events = difference(self.active, world)
        deletes = {e.key for e in events if isinstance(e, Delete) and e.kind == Endpoint.__name__}
        later = {
            key: found
            for key, found in endpoints.items()
            if key in self.attached
            and is_attached(found)
            and (key in deletes or key in lost or found.addresses != self.attached[key])
        }
        if not later:
            return world, later, events
        objects = tuple(f for f in world.objects if not (isinstance(f, Endpoint) and f.key in later))
        now = msgspec.structs.replace(world, objects=objects)
        return now, later, difference(self.active, now)

    def less(self, proposal: Proposal) -> Proposal:
        """What is left of one that does not fit: endpoints that go; all else stays as it is in force."""
        deletes = [e for e in proposal.events if isinstance(e, Delete) and e.kind == Endpoint.__name__]
        active = reduced(self.active, (event.key for event in deletes))
        kept = msgspec.structs.replace(proposal.kept, active=active)
        return Proposal(kept, active, tuple(deletes), self.meaning)

    def take(self, proposal: Proposal) -> None:
        """It was compiled: it is what is wanted and active."""
        self.kept, self.active, self.meaning = proposal.kept, proposal.active, proposal.meaning


def unheard(now: Iterable[Finding], before: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that were not said of the world before; one that only moved to another line was."""
    said = Counter(msgspec.structs.replace(finding, line=0) for finding in before)
    for finding in now:
        bare = msgspec.structs.replace(finding, line=0)
        if said[bare]:
            said[bare] -= 1
        else:
            yield finding


def decode(errand: Propose) -> ApplyRequest | DeleteRequest | None:
    """The request in an errand. Raises ClocheError when it is none."""
    if errand.kind is None:
        return None
    try:
        return msgspec.msgpack.decode(errand.body, type=errand.kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ClocheError(f"not a request of this version: {error}") from None

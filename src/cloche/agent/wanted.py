"""What is wanted and what holds instead: manifests, a roll-back, a generation that did not fit. Pure.

The worker keeps one ``Kept`` and hands it to the disk encoded; a new worker begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from cloche.errors import ClocheError
from cloche.model.policy import Policy
from cloche.model.state import Event, Put
from cloche.model.topology import NOWHERE, Endpoint
from cloche.orchestrators.sandbox import Manifest, World

SIZE = 16
"""Bytes of a hash of what policies mean."""


class Hold(msgspec.Struct, frozen=True):
    """A roll-back that has not been released: the policies of that generation stand for all others."""

    generation: int
    policies: tuple[Policy, ...]


class Kept(msgspec.Struct, frozen=True):
    """What is wanted: the manifests, and the world made of them with the addresses it gave out.

    ``hold``: a roll-back. ``active``: the world in force where that is not the wanted one, because the
    wanted one does not fit.
    """

    manifests: tuple[Manifest, ...] = ()
    world: World = World()
    hold: Hold | None = None
    active: World | None = None


class Waiting(msgspec.Struct, frozen=True, order=True):
    """A policy that a roll-back keeps from being as it is wanted; ``change`` is new, changed or gone."""

    policy: str
    change: str


def read_kept(content: bytes) -> Kept:
    """What an earlier worker encoded. Raises ClocheError when it was of another version."""
    try:
        return msgspec.msgpack.decode(content, type=Kept) if content else Kept()
    except msgspec.DecodeError as error:
        raise ClocheError(f"what was kept on disk is of another version: {error}") from None


def read_policies(content: bytes) -> tuple[Policy, ...]:
    """The policies of a generation that was kept. Raises ClocheError when it was of another version."""
    try:
        return msgspec.msgpack.decode(content, type=tuple[Policy, ...])
    except msgspec.DecodeError as error:
        raise ClocheError(f"the policies kept are of another version: {error}") from None


def effective(world: World, hold: Hold | None) -> World:
    """The world that is to be in force: the wanted one, with the policies that a roll-back holds."""
    if hold is None:
        return world
    others = tuple(found for found in world.objects if not isinstance(found, Policy))
    return msgspec.structs.replace(world, objects=(*others, *hold.policies))


def policies_of(world: World) -> tuple[Policy, ...]:
    """The world's policies, by key."""
    return tuple(sorted((p for p in world.objects if isinstance(p, Policy)), key=lambda policy: policy.key))


def bare(policy: Policy) -> Policy:
    """A policy without the places where it was written: what it means."""
    rules = msgspec.structs.replace
    sides = {
        side: None if found is None else tuple(rules(rule, origin=NOWHERE) for rule in found)
        for side, found in (("egress", policy.egress), ("ingress", policy.ingress))
    }
    return msgspec.structs.replace(policy, origin=NOWHERE, **sides)


class Meanings:
    """What policies mean, as a hash; of those that are the very ones of the last time it is remembered."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Policy, int]] = {}

    def of(self, policies: Iterable[Policy]) -> str:
        """A hash of what these mean together, wherever and in whatever order they were written; hexadecimal
        digits. It is a sum, so that of one that changed only that one is looked at."""
        known = self._known
        self._known = {id(found): known.get(id(found)) or (found, _meaning(found)) for found in policies}
        total = sum([meaning for _, meaning in self._known.values()])
        return f"{total % (1 << 8 * SIZE):0{2 * SIZE}x}"


def _meaning(policy: Policy) -> int:
    """A number for what a policy means."""
    return int.from_bytes(blake2b(msgspec.msgpack.encode(bare(policy)), digest_size=SIZE).digest(), "big")


def changed(before: Iterable[Policy], after: Iterable[Policy]) -> tuple[Waiting, ...]:
    """What of ``after`` is otherwise than ``before``, by key."""
    old: Mapping[str, Policy] = {policy.key: bare(policy) for policy in before}
    new: Mapping[str, Policy] = {policy.key: bare(policy) for policy in after}
    found = [Waiting(key, "gone") for key in old if key not in new]
    found += [Waiting(key, "changed" if key in old else "new") for key in new if old.get(key) != new[key]]
    return tuple(sorted(found))


def reduced(active: World, gone: Iterable[str]) -> World:
    """The active world less the endpoints with these keys."""
    dead = set(gone)
    left = tuple(f for f in active.objects if not (isinstance(f, Endpoint) and f.key in dead))
    return msgspec.structs.replace(active, objects=left)


def missing(world: World, active: World) -> tuple[Endpoint, ...]:
    """The endpoints of ``world`` that ``active`` does not have as they are there."""
    there = {(f.key, f.addresses) for f in active.objects if isinstance(f, Endpoint)}
    return tuple(f for f in world.objects if isinstance(f, Endpoint) and (f.key, f.addresses) not in there)


def endpoints_of(events: Sequence[Event]) -> Iterator[Endpoint]:
    """The endpoints with links of their own that the events put."""
    for event in events:
        if isinstance(event, Put) and isinstance(event.object, Endpoint) and is_attached(event.object):
            yield event.object


def is_attached(endpoint: Endpoint) -> bool:
    """True for endpoints with a link of their own; those of the host's network have none."""
    return bool(endpoint.addresses) and not endpoint.host_network

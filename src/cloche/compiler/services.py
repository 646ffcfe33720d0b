"""Services to tables. A new list of backends is written beside the old one and takes effect by the one write
of its ``services`` entry; flips do not cover it. What the old list held goes after a grace period.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from cloche.compiler.numbers import FullError, Ranges
from cloche.model.address import Address, is_ipv4
from cloche.model.topology import Service
from cloche.tables.schema import (
    BackendEntry,
    Capacity,
    MemberKey,
    Put,
    Remove,
    ServiceEntry,
    ServiceKey,
    Tables,
    Write,
)

Backends = tuple[tuple[Address, int], ...]
"""Addresses and ports in order, each once."""


class Offer(NamedTuple):
    """What a service port offers behind one address."""

    backends: Backends
    affinity_seconds: int


def offers(service: Service) -> dict[ServiceKey, Offer]:
    """What a service offers behind each of its addresses and ports: backends of the address's family alone,
    in order. Of ports that are the same the first counts."""
    found: dict[ServiceKey, Offer] = {}
    for address in service.addresses:
        for port in service.ports:
            alike = {(b.address, b.port) for b in port.backends if is_ipv4(b.address) == is_ipv4(address)}
            key = ServiceKey(service.network, address, port.port, port.protocol)
            found.setdefault(key, Offer(tuple(sorted(alike)), service.affinity_seconds))
    return found


class ServicePlan:
    """What a change of services comes to. ``removed`` entries first, then ``writes`` (new lists beside the
    old, then their entries), and after a grace period ``removes``."""

    def __init__(self) -> None:
        self.removed: list[Write] = []
        self.writes: list[Write] = []
        self.removes: list[Write] = []
        self.freed: list[tuple[int, int]] = []
        self.claims: dict[str, tuple[ServiceKey, ...]] = {}
        self.members: set[MemberKey] = set()
        self.places: set[int] = set()
        self.fresh = 0


class Services:
    """Who offers what, and where it is held."""

    def __init__(self, capacity: Capacity, tables: Tables) -> None:
        self._tables, self._limit = tables, capacity.services
        self._ranges = Ranges("backends", 0, capacity.backends)
        self._ranges.occupy((e.first, e.backends) for e in tables.services.values() if e.backends)
        known = [entry.number for entry in tables.services.values()]
        known += [key.service for key in tables.members]
        self._next = max(known, default=0) + 1
        self._first = True
        self._claims: dict[str, tuple[ServiceKey, ...]] = {}
        self._claimants: dict[ServiceKey, set[str]] = {}

    def plan(self, dirty: Collection[str], services: Mapping[str, Service]) -> ServicePlan:
        """What to write now that these services may have changed; the first time, whatever the tables hold.

        Raises FullError when they do not fit; nothing is taken then.
        """
        plan = ServicePlan()
        current = {name: offers(services[name]) for name in dirty if name in services}
        look = dict.fromkeys(self._tables.services if self._first else ())
        for name in sorted(dirty):
            look.update(dict.fromkeys(self._claims.get(name, ())))
            plan.claims[name] = tuple(current.get(name, {}))
        claiming: dict[ServiceKey, set[str]] = {}
        for name, keys in plan.claims.items():
            for key in keys:
                claiming.setdefault(key, set()).add(name)
        look.update(dict.fromkeys(claiming))
        try:
            for key in look:
                others = {name for name in self._claimants.get(key, ()) if name not in plan.claims}
                winner = min(others | claiming.get(key, set()), default=None)
                offer = None
                if winner is not None:
                    offer = (current.get(winner) or offers(services[winner]))[key]
                self._turn(key, offer, plan)
            if self._first:
                self._sweep(plan)
            self._check(plan)
        except FullError:
            self._ranges.undo()
            raise
        return plan

    def undo(self) -> None:
        """The plan is not carried out."""
        self._ranges.undo()

    def keep(self, plan: ServicePlan) -> None:
        """The plan is carried out."""
        self._ranges.keep(plan.freed)
        self._next += plan.fresh
        self._first = False
        for name, keys in plan.claims.items():
            for key in self._claims.pop(name, ()):
                self._claimants[key].discard(name)
                if not self._claimants[key]:
                    del self._claimants[key]
            for key in keys:
                self._claimants.setdefault(key, set()).add(name)
            if keys:
                self._claims[name] = keys

    def settle(self) -> None:
        """A grace period has passed."""
        self._ranges.settle()

    def _turn(self, key: ServiceKey, offer: Offer | None, plan: ServicePlan) -> None:
        """Make one entry say what is offered."""
        old = self._tables.services.get(key)
        held = self._held(old)
        if offer is None:
            if old is not None:
                plan.removed.append(Remove("services", key))
                self._retire(old, held, (), plan)
            return
        if old is not None and held == offer.backends:
            plan.members.update(MemberKey(old.number, *backend) for backend in held)
            plan.places.update(range(old.first, old.first + old.backends))
            if old.affinity_seconds != offer.affinity_seconds:
                entry = old._replace(affinity_seconds=offer.affinity_seconds)
                plan.writes.append(Put("services", key, entry))
            return
        number = self._number(old, plan)
        first = self._ranges.take(len(offer.backends)) if offer.backends else 0
        plan.places.update(range(first, first + len(offer.backends)))
        for place, (address, port) in enumerate(offer.backends, first):
            plan.writes.append(Put("backends", place, BackendEntry(address, port, number)))
        for address, port in offer.backends:
            member = MemberKey(number, address, port)
            plan.members.add(member)
            if member not in self._tables.members:
                plan.writes.append(Put("members", member, 1))
        epoch = old.epoch + 1 if old is not None else 1
        entry = ServiceEntry(number, first, len(offer.backends), epoch, offer.affinity_seconds)
        plan.writes.append(Put("services", key, entry))
        if old is not None:
            self._retire(old, held, offer.backends, plan)

    def _number(self, old: ServiceEntry | None, plan: ServicePlan) -> int:
        """A service port keeps its number; a new one gets one that was never used."""
        if old is not None:
            return old.number
        plan.fresh += 1
        return self._next + plan.fresh - 1

    def _held(self, entry: ServiceEntry | None) -> Backends:
        if entry is None:
            return ()
        places = range(entry.first, entry.first + entry.backends)
        found = [self._tables.backends.get(place) for place in places]
        return tuple((b.address, b.port) for b in found if b is not None and b.service == entry.number)

    def _retire(self, entry: ServiceEntry, old: Backends, new: Backends, plan: ServicePlan) -> None:
        kept = set(new)
        plan.removes += [Remove("members", MemberKey(entry.number, *b)) for b in old if b not in kept]
        plan.removes += [Remove("backends", n) for n in range(entry.first, entry.first + entry.backends)]
        if entry.backends:
            plan.freed.append((entry.first, entry.backends))

    def _sweep(self, plan: ServicePlan) -> None:
        """Remove what an interrupted change left behind."""
        going = {(write.map, write.key) for write in plan.removes if isinstance(write, Remove)}
        for member in self._tables.members:
            if member not in plan.members and ("members", member) not in going:
                plan.removes.append(Remove("members", member))
        for place in self._tables.backends:
            if place not in plan.places and ("backends", place) not in going:
                plan.removes.append(Remove("backends", place))

    def _check(self, plan: ServicePlan) -> None:
        new = {w.key for w in plan.writes if isinstance(w, Put) and w.map == "services"}
        needed = len(self._tables.services) + sum(key not in self._tables.services for key in new)
        if needed - len(plan.removed) > self._limit:
            raise FullError("services", needed - len(plan.removed), self._limit)

"""What one host's policies can see of the world: the class of every address and block, the sets of its
endpoints, the cut of the ports. Kept up to date by events; what changed collects until taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloche.model.address import Block
from cloche.model.state import At, Delete, Event, Object, Put, State
from cloche.model.topology import Endpoint, Host, NamedPort, Network, Service
from cloche.partition.blocks import Piece, Territory
from cloche.partition.classes import Classes, Kind, Signature
from cloche.partition.ground import Ground
from cloche.partition.peers import Peers, Use
from cloche.partition.population import Population, PortName
from cloche.partition.ports import PortSets, single
from cloche.partition.subjects import Subjects
from cloche.tables.schema import AddressFlag, AddressKey, PrefixFlag, PrefixKey

Alike = tuple[frozenset[Use], Piece, tuple[NamedPort, ...]]
"""What an address has its class by: the selectors that mean its endpoint, its piece, the declared ports."""


class AddressFact(NamedTuple):
    """What an address entry should say. ``signature`` None: no class of its own."""

    signature: Signature | None
    endpoint: int
    flags: AddressFlag


class PrefixFact(NamedTuple):
    """What a prefix entry should say."""

    signature: Signature
    flags: PrefixFlag


class View:
    """One host's view of a state. Feed it with ``apply``; read the facts; then say ``taken``."""

    def __init__(self, host: str) -> None:
        self.state = State()
        self.addresses: dict[AddressKey, AddressFact] = {}
        self.prefixes: dict[PrefixKey, PrefixFact] = {}
        self.dirty_addresses: dict[AddressKey, None] = {}
        self.dirty_prefixes: set[PrefixKey] = set()
        self.dirty_services: set[str] = set()
        self.classes = Classes()
        self.port_sets = PortSets()
        self._population = Population()
        self._territories: dict[int, Territory] = {}
        self.peers = Peers(self._population, self._territories)
        self.subjects = Subjects(self._population, self.peers, self.port_sets)
        self._ground = Ground(host, self._territories, self.peers)
        self._collections: Mapping[str, Mapping[str, Object]] = self.state.collections

    def apply(self, events: Iterable[Event]) -> dict[At, Object | None]:
        """Take events in. Returns each object that they changed as it was before."""
        before = self._fold(events)
        for (kind, key), old in before.items():
            new = self._collections[kind].get(key)
            if old is not None:
                self._put(kind, key, old, -1)
            if new is not None:
                self._put(kind, key, new, 1)
        moved = dict.fromkeys(key for kind, key in before if kind in ("Endpoint", "Attachment"))
        for kind, name in before:
            if kind == "Namespace":
                space = self.state.namespaces.get(name)
                self._population.put_space(name, None if space is None else space.labels)
                moved.update(dict.fromkeys(self._population.in_space(name)))
        for key in moved:
            self.peers.refresh(key)
            self.subjects.put(key, self.state.attachments.get(key), self.state.endpoints.get(key))
        for kind, key in before:
            if kind == "Policy":
                self.subjects.put_policy(key, self.state.policies.get(key))
        self.subjects.settle()
        self._settle()
        return before

    def lengths(self) -> set[int]:
        """The lengths of the blocks that are held."""
        return set().union(*(territory.pieces.lengths for territory in self._territories.values()))

    def taken(self) -> None:
        """All that changed was acted on."""
        self.dirty_addresses.clear()
        self.dirty_prefixes.clear()
        self.dirty_services.clear()
        self.subjects.touched.clear()
        self.subjects.rewritten.clear()
        self.classes.came.clear()
        self.classes.went.clear()

    def _fold(self, events: Iterable[Event]) -> dict[At, Object | None]:
        before: dict[At, Object | None] = {}
        for event in events:
            spoken = self.state.apply(event)
            if spoken is not None:
                before.setdefault(*spoken)
        return {(k, key): old for (k, key), old in before.items() if self._collections[k].get(key) != old}

    def _put(self, kind: str, key: str, value: Object, step: int) -> None:
        """An object comes (1) or goes (-1)."""
        match value:
            case Endpoint():
                self._ground.put_endpoint(key, value, step)
                if step < 0 or value.host_network:
                    self._population.remove(key)
                else:
                    self._population.put(key, value)
            case Service():
                self._ground.put_service(value, step)
                self.dirty_services.add(key)
            case Network():
                self._ground.put_network(value, step)
            case Host():
                self._ground.put_host(value, step)
            case _:
                pass

    def _settle(self) -> None:
        """Find the classes of all addresses and blocks that may have another one now."""
        look, self._ground.changed = self._ground.changed, {}
        for key in self.peers.endpoints | self.subjects.touched:
            endpoint = self.state.endpoints.get(key)
            if endpoint is not None and not endpoint.host_network:
                look.update((AddressKey(endpoint.network, a), None) for a in endpoint.addresses)
        blocks: set[tuple[int, Block]] = set()
        for number, territory in self._territories.items():
            for block in self.peers.blocks:
                look.update((AddressKey(number, a), None) for a in territory.addresses.within(block))
                look.update((AddressKey(number, a), None) for a in self._ground.own if block.contains(a))
                blocks.update((number, piece.block) for piece in territory.pieces.within(block))
            blocks.update((number, block) for block in territory.pieces.changed)
            territory.pieces.changed.clear()
        gone = {at for at in self.prefixes if at.network in self._ground.left} if self._ground.left else set()
        self._ground.left.clear()
        self.peers.endpoints.clear()
        self.peers.blocks.clear()
        self._set_addresses(look)
        self._set_prefixes({PrefixKey(*at) for at in blocks} | gone)

    def _set_addresses(self, look: Iterable[AddressKey]) -> None:
        found: dict[Alike, AddressFact] = {}
        for at in look:
            new = self._address_fact(at, found)
            old = self.addresses.get(at)
            if new == old:
                continue
            self.dirty_addresses[at] = None
            if new is None:
                del self.addresses[at]
            else:
                self.addresses[at] = new
            self._swap(old and old.signature, new and new.signature)

    def _set_prefixes(self, look: Iterable[PrefixKey]) -> None:
        for at in look:
            new = self._prefix_fact(at)
            old = self.prefixes.get(at)
            if new == old:
                continue
            self.dirty_prefixes.add(at)
            if new is None:
                del self.prefixes[at]
            else:
                self.prefixes[at] = new
            self._swap(old and old.signature, new and new.signature)

    def _swap(self, old: Signature | None, new: Signature | None) -> None:
        """One address or block has a new class: count, and keep what the classes' named ports need."""
        if new == old:
            return
        if new is not None:
            if new not in self.classes.counts:
                for ports in _ports_of(new):
                    self.port_sets.acquire(ports)
            self.classes.acquire(new)
        if old is not None:
            self.classes.release(old)
            if old not in self.classes.counts:
                for ports in _ports_of(old):
                    self.port_sets.release(ports)

    def _address_fact(self, at: AddressKey, found: dict[Alike, AddressFact]) -> AddressFact | None:
        """What an address entry should say; ``found``: what was found for others of the same facts."""
        territory = self._territories.get(at.network)
        if territory is None:
            return None
        flags = self._ground.flags(at)
        if flags and flags != AddressFlag.HOST:
            return AddressFact(None, 0, flags)
        piece = territory.pieces.find(at.address)
        if flags:
            return AddressFact(Signature(Kind.HOST, self.peers.of_piece(piece)), 0, flags)
        holders = self._ground.holders.get(at)
        if holders is None:
            return None
        key = holders[0]
        alike = self.peers.uses_of(key), piece, self.state.endpoints[key].ports
        fact = found.get(alike)
        if fact is None:
            fact = found[alike] = AddressFact(self._known(*alike), 0, flags)
        subject = self.subjects.subjects.get(key)
        return fact if subject is None else fact._replace(endpoint=subject.attachment.number)

    def _known(self, uses: frozenset[Use], piece: Piece, ports: tuple[NamedPort, ...]) -> Signature:
        """The class of endpoints that these selectors mean, in this piece, with these ports."""
        predicates = self.peers.of_uses(uses) | self.peers.of_piece(piece)
        return Signature(Kind.KNOWN, predicates, self._ports_asked(ports, predicates))

    def _prefix_fact(self, at: PrefixKey) -> PrefixFact | None:
        territory = self._territories.get(at.network)
        piece = territory.pieces.pieces.get(at.block) if territory is not None else None
        if territory is None or piece is None:
            return None
        ours = territory.in_range(at.block)
        signature = Signature(Kind.UNKNOWN if ours else Kind.OUTSIDE, self.peers.of_piece(piece))
        return PrefixFact(signature, PrefixFlag.OURS if ours else PrefixFlag(0))

    def _ports_asked(
        self, ports: tuple[NamedPort, ...], predicates: frozenset[int]
    ) -> tuple[tuple[PortName, tuple[int, ...]], ...]:
        """What the names that rules ask of an endpoint with these ports stand for on it."""
        found: dict[PortName, set[int]] = {}
        for port in ports:
            name = (port.name, port.protocol)
            if port.name and (
                name in self.peers.asked or any(name in self.peers.predicates[n].names for n in predicates)
            ):
                found.setdefault(name, set()).add(port.port)
        return tuple((name, tuple(sorted(found[name]))) for name in sorted(found))


def _ports_of(signature: Signature) -> list[tuple[tuple[int, int], ...]]:
    """The sets of one port that a class's named ports make."""
    return [single(protocol, port) for (_, protocol), numbers in signature.ports for port in numbers]


def undo(before: Mapping[At, Object | None]) -> list[Event]:
    """The events that bring a state back to how it was."""
    return [Delete(kind, key) if old is None else Put(old) for (kind, key), old in before.items()]

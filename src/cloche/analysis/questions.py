"""The questions that a change raises, one source for each kind of thing that changed. Pure and lazy: nothing
is worked out before it is asked for, so a change that raises a million questions begins as soon as any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple, TypeVar

from cloche.analysis.edges import PLAIN, Port, declared, edges_of_block, edges_of_ports
from cloche.analysis.standing import At, Side, Standing
from cloche.model.address import Address, is_ipv4
from cloche.model.evaluate import selects
from cloche.model.focus import Focus
from cloche.model.policy import BlockPeer, Direction, Peer, Policy, PortMatch, Rule
from cloche.model.topology import ICMP, ICMPV6, SCTP, TCP, UDP, Endpoint
from cloche.tables.schema import SLOT_OTHER, AddressKey, PrefixKey, Put, Write

SUBJECTS = 4
"""Endpoints asked of those that a changed policy selects: the others share its sets."""
MEMBERS = 8
"""Addresses and blocks asked of a class; the others share its number."""
LOOKED_AT, TRIED = 4096, 24
"""Endpoints looked at to find some that a selector matches, and one that it does not."""
MATCHING = 3
SLOTS = (TCP, UDP, SCTP, ICMP, ICMPV6)
T = TypeVar("T")


class Asked(NamedTuple):
    """A packet to ask about, and which way policy is asked."""

    network: int
    source: Address
    destination: Address
    port: Port


class Changed(NamedTuple):
    """What events changed of the model: policies as they were and as they are, endpoints by key."""

    before: list[Policy]
    after: list[Policy]
    endpoints: list[str]


Question = Iterator[Asked]
Source = Iterator[Question]


class Questions:
    """Makes questions about a world as it is when they are asked."""

    def __init__(self, focus: Focus, standing: Standing, random: Random) -> None:
        self._focus, self._standing, self._random = focus, standing, random

    def of_change(self, changed: Changed, writes: Sequence[Write]) -> list[Source]:
        """One source for each kind of thing that changed."""
        rows: list[tuple[int, int]] = []
        places: list[At] = []
        numbers: dict[int, None] = {}
        ranges: list[tuple[int, int]] = []
        for write in writes:
            match write:
                case Put("rows", (int(set_), int(class_))):
                    rows.append((set_, class_))
                case Put("addresses" | "prefixes", AddressKey() | PrefixKey() as at):
                    places.append(at)
                case Put("endpoints", int(number)):
                    numbers[number] = None
                case Put("atoms", (int(first), int(last))):
                    ranges.append((first, last))
        state = self._focus.state
        for key in changed.endpoints:
            if key in state.attachments:
                numbers[state.attachments[key].number] = None
            if key in state.endpoints:
                network = state.endpoints[key].network
                places += [AddressKey(network, address) for address in state.endpoints[key].addresses]
        self._random.shuffle(rows)
        return [
            self._of_policies(changed.after),
            self._of_policies(changed.before),
            self._of_rows(rows),
            self._of_numbers(numbers),
            self._of_places(dict.fromkeys(places)),
            self._of_ranges(ranges),
        ]

    def of_everything(self) -> Source:
        """Every set against every class, for tables that nobody has looked at yet."""
        yield from self._of_sides(self._shuffled(self._standing.holders))

    def _shuffled(self, values: Iterable[T]) -> list[T]:
        found = list(values)
        self._random.shuffle(found)
        return found

    # --- from the writes ---

    def _of_rows(self, rows: Iterable[tuple[int, int]]) -> Source:
        for set_, class_ in rows:
            for direction in Direction:
                yield from self._of_pair((direction, set_), class_)

    def _of_sides(self, sides: Iterable[Side]) -> Source:
        for side in sides:
            for class_ in self._shuffled(self._standing.members):
                yield from self._of_pair(side, class_)

    def _of_pair(self, side: Side, class_: int) -> Source:
        subject = self._subject(side)
        if subject is None:
            return
        for at in islice(list(self._standing.members.get(class_, ())), MEMBERS):
            yield self._between(side[0], subject, at)

    def _of_numbers(self, numbers: Iterable[int]) -> Source:
        """Endpoints whose own entries changed: themselves, whoever else has their sets."""
        for number in numbers:
            subject = self._focus.state.endpoints.get(self._standing.keys.get(number, ""))
            if subject is None:
                continue
            yield from (self._of_rule(direction, subject, Rule(0)) for direction in Direction)
            for direction, _ in self._standing.sides_of(number):
                for class_ in self._shuffled(self._standing.members):
                    for at in islice(list(self._standing.members.get(class_, ())), 1):
                        yield self._between(direction, subject, at)

    def _of_places(self, places: Iterable[At]) -> Source:
        for at in places:
            for side in self._shuffled(self._standing.holders):
                subject = self._subject(side)
                if subject is not None:
                    yield self._between(side[0], subject, at)

    def _of_ranges(self, ranges: Iterable[tuple[int, int]]) -> Source:
        ports = [port for first, last in ranges for port in _edges_of_range(first, last)]
        for side in self._shuffled(self._standing.holders if ports else ()):
            subject = self._subject(side)
            for class_ in self._shuffled(self._standing.members):
                for at in islice(list(self._standing.members.get(class_, ())), 1):
                    if subject is not None:
                        yield self._between(side[0], subject, at, ports)

    def _subject(self, side: Side) -> Endpoint | None:
        key = self._standing.holder(side)
        return self._focus.state.endpoints.get(key) if key is not None else None

    def _between(
        self, direction: Direction, subject: Endpoint, at: At, ports: Sequence[Port] | None = None
    ) -> Question:
        """A subject and one address or block, on both sides of every port that its policies name."""
        ends = (at.address,) if isinstance(at, AddressKey) else (at.block.first(), at.block.last())
        for address in ends:
            peer = self._focus.owner(at.network, address)
            found = ports if ports is not None else self._ports(direction, subject, peer)
            for port in found:
                yield from self._asked(direction, subject, address, port)

    def _ports(self, direction: Direction, subject: Endpoint, peer: Endpoint | None) -> Iterator[Port]:
        """Edges of the ports in force for a subject, begun at a random rule."""
        rules: list[Rule] = []
        for policy in self._focus.selecting(subject):
            rules += policy.rules(direction) or ()
        start = self._random.randrange(len(rules)) if rules else 0
        seen: set[PortMatch] = set()
        for rule in (*rules[start:], *rules[:start]):
            for match in rule.ports or ():
                if match not in seen:
                    seen.add(match)
                    yield from edges_of_ports(match)
        yield from declared(peer if direction is Direction.EGRESS else subject)
        yield from PLAIN

    # --- from the model ---

    def _of_policies(self, policies: Iterable[Policy]) -> Source:
        for policy in policies:
            subjects = self._selected(policy)
            for direction in Direction:
                rules = policy.rules(direction)
                for rule in () if rules is None else (*self._shuffled(rules), Rule(0)):
                    yield from (self._of_rule(direction, subject, rule) for subject in subjects)

    def _selected(self, policy: Policy) -> list[Endpoint]:
        """Some of the endpoints of this host that a policy selects."""
        state, found = self._focus.state, []
        for key in self._shuffled(state.attachments):
            endpoint = state.endpoints.get(key)
            if endpoint is not None and selects(state, policy.subject, endpoint):
                found.append(endpoint)
                if len(found) == SUBJECTS:
                    break
        return found

    def _of_rule(self, direction: Direction, subject: Endpoint, rule: Rule) -> Question:
        """A subject and the edges of a rule's peers, on both sides of its ports' edges."""
        for address in self._addresses(rule.peers):
            peer = self._focus.owner(subject.network, address)
            receiver = peer if direction is Direction.EGRESS else subject
            ports = [port for match in rule.ports or () for port in edges_of_ports(match)]
            for port in dict.fromkeys((*ports, *declared(receiver), *PLAIN)):
                yield from self._asked(direction, subject, address, port)

    def _addresses(self, peers: tuple[Peer, ...] | None) -> Iterator[Address]:
        for peer in self._shuffled(peers or ()):
            if isinstance(peer, BlockPeer):
                for block in (peer.block, *peer.excepts):
                    yield from edges_of_block(block)
        yield from self._population(peers)

    def _population(self, peers: tuple[Peer, ...] | None) -> Iterator[Address]:
        """Addresses of endpoints: some that a peer selects, then one that none does."""
        state, others = self._focus.state, []
        keys = list(islice(state.endpoints, LOOKED_AT))
        matching = 0
        for key in self._random.sample(keys, min(TRIED, len(keys))):
            endpoint = state.endpoints.get(key)
            if endpoint is None:
                continue  # gone since this question was begun
            selectors = (peer for peer in peers or () if not isinstance(peer, BlockPeer))
            if peers is None or any(selects(state, peer, endpoint) for peer in selectors):
                matching += 1
                if matching <= MATCHING:
                    yield from endpoint.addresses
            else:
                others.append(endpoint)
        for endpoint in others[:1]:
            yield from endpoint.addresses

    def _asked(self, direction: Direction, subject: Endpoint, peer: Address, port: Port) -> Iterator[Asked]:
        """The packet between a subject and an address, from the subject's first address of that family."""
        own = next((a for a in subject.addresses if is_ipv4(a) == is_ipv4(peer)), None)
        if own is None or own == peer:
            return
        source, destination = (own, peer) if direction is Direction.EGRESS else (peer, own)
        yield Asked(subject.network, source, destination, port)


def _edges_of_range(first: int, last: int) -> Iterator[Port]:
    """Both ends of a written range of the atoms map, and those just outside."""
    for index in dict.fromkeys((first, last, first - 1, last + 1)):
        slot, number = index >> 16, index & 0xFFFF
        if index < 0 or slot > SLOT_OTHER or (slot == SLOT_OTHER and number > 255):
            continue
        yield Port(number, 0) if slot == SLOT_OTHER else Port(SLOTS[slot], number)

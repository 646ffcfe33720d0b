"""The tables' answer to a packet, step by step as docs/design/packets.md says the program finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cloche.model.address import Address, Block, is_ipv4
from cloche.model.flow import Decision, Entry, Packet, RuleName, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import HAIRPIN4, HAIRPIN6, ICMP, SCTP, TCP, UDP, Backend
from cloche.model.tracker.world import Place, PlaceKind, ServiceView
from cloche.tables.schema import (
    SLOT_ICMP,
    SLOT_ICMPV6,
    SLOT_OTHER,
    SLOT_SCTP,
    SLOT_TCP,
    SLOT_UDP,
    AddressFlag,
    AddressKey,
    PrefixEntry,
    PrefixFlag,
    PrefixKey,
    ServiceKey,
    Tables,
    unpack,
    unpack_cell,
)

SLOTS = {TCP: SLOT_TCP, UDP: SLOT_UDP, SCTP: SLOT_SCTP}
ENDPOINT_OPEN = 2
GOLDEN = 0x9E3779B97F4A7C15
MASK64 = (1 << 64) - 1


class Step(NamedTuple):
    """One direction's way through the tables, in numbers; set 0: no policy there."""

    set: int
    class_: int = 0
    atom: int = 0
    rule: int = 0
    verdict: Verdict = Verdict.ALLOW
    reason: Reason = Reason.NONE


class Trace(NamedTuple):
    """Both directions' steps, egress first."""

    egress: Step
    ingress: Step

    @property
    def deciding(self) -> Direction | None:
        """The direction that denied."""
        for direction in Direction:
            if self[direction].verdict is not Verdict.ALLOW:
                return direction
        return None


def judge(tables: Tables, packet: Packet, generation: int | None = None) -> Decision:
    """What the tables say of a packet after translation, in the active generation or another one."""
    found = trace(tables, packet, generation)
    deciding = found.deciding
    return Decision(
        verdict=Verdict.ALLOW if deciding is None else Verdict.DENY,
        reason=Reason.NONE if deciding is None else found[deciding].reason,
        deciding=deciding,
        source=packet.source,
        destination=packet.destination,
        source_port=packet.source_port,
        destination_port=packet.destination_port,
        egress_rule=_rule_name(tables, Direction.EGRESS, found.egress),
        ingress_rule=_rule_name(tables, Direction.INGRESS, found.ingress),
    )


def trace(tables: Tables, packet: Packet, generation: int | None = None) -> Trace:
    """The numbers by which ``judge`` decides."""
    if generation is None:
        generation = tables.generation
    steps = []
    for direction in Direction:
        mine, other = packet.source, packet.destination
        if direction is Direction.INGRESS:
            mine, other = other, mine
        set_ = _set_of(tables, AddressKey(packet.network, mine), direction, generation)
        if set_ == 0:
            steps.append(Step(0))
            continue
        counts = direction is Direction.EGRESS or packet.entry is Entry.HOST
        class_ = class_of(tables, AddressKey(packet.network, other), generation, host_counts=counts)
        steps.append(
            _step(tables, generation, (set_, class_, atom_of(tables, packet, generation)), direction)
        )
    return Trace(*steps)


def class_of(tables: Tables, at: AddressKey, generation: int, *, host_counts: bool) -> int:
    """An address's class. ``host_counts``: the host's own address stands for the host itself."""
    entry = tables.addresses.get(at)
    if entry is not None and (host_counts or not entry.flags & AddressFlag.HOST):
        class_ = entry.class_.at(generation)
        if class_:
            return class_
    prefix = longest_prefix(tables, at)
    return prefix.class_.at(generation) if prefix is not None else 0


def longest_prefix(tables: Tables, at: AddressKey) -> PrefixEntry | None:
    """The entry of the longest block that holds an address."""
    value = int.from_bytes(at.address, "big")
    for length in sorted({key.block.length for key in tables.prefixes}, reverse=True):
        if length < 96 and is_ipv4(at.address):
            break
        masked = Address((value >> (128 - length) << (128 - length)).to_bytes(16, "big"))
        entry = tables.prefixes.get(PrefixKey(at.network, Block(masked, length)))
        if entry is not None:
            return entry
    return None


def atom_of(tables: Tables, packet: Packet, generation: int) -> int:
    """The atom of a packet's destination port, or of its ICMP type and code."""
    slot, port = SLOT_OTHER, packet.protocol
    if packet.is_icmp:
        slot, port = SLOT_ICMP if packet.protocol == ICMP else SLOT_ICMPV6, packet.icmp
    elif packet.protocol in SLOTS:
        slot, port = SLOTS[packet.protocol], packet.destination_port
    return unpack(tables.atoms[slot << 16 | port]).at(generation)


def _set_of(tables: Tables, at: AddressKey, direction: Direction, generation: int) -> int:
    """The set of the endpoint of this host that has an address; 0 when none has."""
    entry = tables.addresses.get(at)
    endpoint = tables.endpoints.get(entry.endpoint) if entry is not None and entry.endpoint else None
    if endpoint is None:
        return 0
    return (endpoint.egress if direction is Direction.EGRESS else endpoint.ingress).at(generation)


def _step(tables: Tables, generation: int, numbers: tuple[int, int, int], direction: Direction) -> Step:
    set_, class_, atom = numbers
    word = tables.rows.get((set_, class_)) if class_ else None
    row = word.at(generation) if word is not None else 0
    cells = tables.cells.get(row, []) if row else []
    cell = unpack_cell(cells[atom] if atom < len(cells) else 0)
    if cell.verdict is Verdict.ALLOW:
        return Step(set_, class_, atom, cell.rule)
    if cell.verdict is not Verdict.DENY:
        return Step(set_, class_, atom, 0, Verdict.DENY, Reason.UNKNOWN_CLASS)
    if direction is Direction.EGRESS:
        reason = Reason.EGRESS_DENIED if cell.rule else Reason.EGRESS_NOT_ALLOWED
    else:
        reason = Reason.INGRESS_DENIED if cell.rule else Reason.INGRESS_NOT_ALLOWED
    return Step(set_, class_, atom, cell.rule, Verdict.DENY, reason)


def _rule_name(tables: Tables, direction: Direction, step: Step) -> RuleName | None:
    """The rule that decided; for what isolation denied the policy that isolates, index -1."""
    if step.rule == 0 and (step.verdict is Verdict.ALLOW or step.reason is Reason.UNKNOWN_CLASS):
        return None
    origin = tables.rules[step.set][step.rule]
    return RuleName(origin.policy, direction, origin.index)


def choose_index(key: tuple[int, int], packet: Packet, count: int) -> int:
    """Which of ``count`` backends a new flow gets. ``key``: the configuration entry's hash key."""
    hashed = key[0]
    source, destination = packet.source, packet.destination
    for word in (
        int.from_bytes(source[:8], "little"),
        int.from_bytes(source[8:], "little"),
        int.from_bytes(destination[:8], "little"),
        int.from_bytes(destination[8:], "little"),
        packet.source_port | packet.destination_port << 16 | packet.protocol << 32,
        packet.network ^ key[1],
    ):
        hashed = (hashed ^ word) * GOLDEN & MASK64
        hashed ^= hashed >> 32
    return (hashed >> 32) * count >> 32


class TablesWorld:
    """The tables as the judge of a tracker (``model.tracker.World``). ``names``: the key of each endpoint
    number; ``key``: the hash key of the backend choice."""

    def __init__(self, tables: Tables, names: Mapping[int, str], key: tuple[int, int] = (0, 0)) -> None:
        self._tables, self._names, self._key = tables, names, key
        self._numbers = {name: number for number, name in names.items()}

    @property
    def generation(self) -> int:
        """The active generation; 0: none."""
        return self._tables.generation

    def sender(self, key: str) -> Place | None:
        """The endpoint on whose link a packet came in, None for an unknown link."""
        number = self._numbers.get(key)
        if number is None or number not in self._tables.links.values():
            return None
        return self._endpoint(number)

    def place(self, network: int, address: Address) -> Place:
        """What an address is."""
        at = AddressKey(network, address)
        entry = self._tables.addresses.get(at)
        if entry is not None:
            for flag, kind in FLAGGED.items():
                if entry.flags & flag:
                    return Place(kind)
            if entry.endpoint:
                return self._endpoint(entry.endpoint)
        prefix = longest_prefix(self._tables, at)
        ours = prefix is not None and prefix.flags & PrefixFlag.OURS
        return Place(PlaceKind.OURS if ours else PlaceKind.OUTSIDE)

    def judge(self, packet: Packet) -> Decision:
        """What policy says of a packet after translation."""
        return judge(self._tables, packet)

    def service(self, network: int, address: Address, port: int, protocol: int) -> ServiceView | None:
        """The service port behind an address, None when there is no such port."""
        entry = self._tables.services.get(ServiceKey(network, address, port, protocol))
        if entry is None:
            return None
        held = [self._tables.backends[n] for n in range(entry.first, entry.first + entry.backends)]
        backends = tuple(Backend(backend.address, backend.port) for backend in held)
        return ServiceView(entry.number, entry.epoch, entry.affinity_seconds, backends)

    def choose(self, packet: Packet, view: ServiceView) -> Backend:
        """The backend for a new flow, affinity aside."""
        return view.backends[choose_index(self._key, packet, len(view.backends))]

    def hairpin(self, like: Address) -> Address:
        """The reserved hairpin address of a family."""
        return HAIRPIN4 if is_ipv4(like) else HAIRPIN6

    def _endpoint(self, number: int) -> Place:
        entry = self._tables.endpoints.get(number)
        name = self._names.get(number, "")
        if entry is None:
            return Place(PlaceKind.ENDPOINT, name)
        there = entry.state == ENDPOINT_OPEN
        return Place(PlaceKind.ENDPOINT, name, entry.incarnation, there, entry.mtu)


FLAGGED = {
    AddressFlag.SERVICE: PlaceKind.SERVICE,
    AddressFlag.GATEWAY: PlaceKind.GATEWAY,
    AddressFlag.HAIRPIN: PlaceKind.HAIRPIN,
    AddressFlag.HOST: PlaceKind.HOST,
}

"""The tables of one host, as Python values: one field or dict per map of ``bpf/types.h``.

Compiler, look-up and reconciler share them; only ``datapath`` knows their bytes. Every number that a
packet reads by generation is a ``Versioned`` word, so a change is: write, flip, done.
"""

from __future__ import annotations

from array import array
from enum import IntFlag
from typing import NamedTuple

import msgspec

from cloche.model.address import Address, Block
from cloche.model.flow import Verdict
from cloche.model.policy import Direction, PortMatch

SLOT_TCP, SLOT_UDP, SLOT_SCTP, SLOT_ICMP, SLOT_ICMPV6, SLOT_OTHER = range(6)
ATOMS_SIZE = SLOT_OTHER * 65536 + 256
ROW_UNIT = 16
NETWORKS = 1024
"""Networks with lower numbers have blocks."""
NODES_EACH = 4
"""Nodes of the tree of blocks for each block that there is room for (``nodes_of``)."""
FRONT_BACKENDS = 4
SINCE_BITS = 16
NUMBER_BITS = 24


class Versioned(NamedTuple):
    """An old number, a new one, and the generation since which the new one counts."""

    old: int
    new: int
    since: int

    def at(self, generation: int) -> int:
        """The number that counts in ``generation`` (modulo 2^16, as the program compares)."""
        return self.new if ((generation - self.since) & 0xFFFF) < 0x8000 else self.old

    def pack(self) -> int:
        """The 64-bit word."""
        return self.old | self.new << 24 | (self.since & 0xFFFF) << 48


def settled(number: int) -> Versioned:
    """A word that says the same in every generation."""
    return Versioned(number, number, 0)


def unpack(word: int) -> Versioned:
    """The versioned word packed as 64 bits."""
    return Versioned(word & 0xFFFFFF, word >> 24 & 0xFFFFFF, word >> 48)


class AddressFlag(IntFlag):
    """As ADDRESS_* in ``bpf/types.h``."""

    HOST = 1
    SERVICE = 2
    GATEWAY = 4
    HAIRPIN = 8


class PrefixFlag(IntFlag):
    """As PREFIX_* in ``bpf/types.h``."""

    OURS = 1


class AddressKey(NamedTuple):
    """Network number and 16-byte address."""

    network: int
    address: Address


class AddressEntry(NamedTuple):
    """Class, endpoint number on this host (0: none), flags."""

    class_: Versioned
    endpoint: int
    flags: int


class PrefixKey(NamedTuple):
    """Network number and block."""

    network: int
    block: Block


def nodes_of(block: Block) -> int:
    """How many nodes of the tree a block may need, as far from all others as can be: one to part from them,
    its own, and two for every six steps of four bits on the way."""
    steps = (block.length - (96 if block.ipv4 else 0) + 3) // 4
    return 2 + 2 * (steps // 6) if block.ipv4 else 2 + 2 * -(-steps // 6)


class PrefixEntry(NamedTuple):
    """Class and flags."""

    class_: Versioned
    flags: int


class EndpointEntry(NamedTuple):
    """One entry of the endpoints map; ``state`` is ENDPOINT_* (0 absent, 1 closed, 2 open); ``mtu`` is its
    link's, 0: not known."""

    egress: Versioned
    ingress: Versioned
    state: int
    ifindex: int
    network: int
    incarnation: int
    mac: bytes
    gateway_mac: bytes
    flags: int
    address4: bytes
    address6: bytes
    slot_first: int
    slot_count: int
    mtu: int = 0


class SetEntry(NamedTuple):
    """Where a set's counters begin, how many it has, SET_* flags."""

    counter_first: int
    rules: int
    flags: int


class ServiceKey(NamedTuple):
    """Network, the service's address, port and protocol."""

    network: int
    address: Address
    port: int
    protocol: int


class ServiceEntry(NamedTuple):
    """As ``struct service``; ``backends`` is its count."""

    number: int
    first: int
    backends: int
    epoch: int
    affinity_seconds: int


class BackendEntry(NamedTuple):
    """As ``struct backend``; ``service`` is the number of the service port."""

    address: Address
    port: int
    service: int


class FrontEntry(NamedTuple):
    """A service once more, with the first ``FRONT_BACKENDS`` of its backends; ``shown``: packets look at it,
    as its address is the services'."""

    key: ServiceKey
    service: ServiceEntry
    near: tuple[tuple[Address, int], ...]
    shown: bool


class MemberKey(NamedTuple):
    """A backend of a service port."""

    service: int
    address: Address
    port: int


class Cell(NamedTuple):
    """One decision: verdict, shadow verdict, local rule number (0: no rule)."""

    verdict: Verdict
    shadow: Verdict = Verdict.UNSET
    rule: int = 0

    def pack(self) -> int:
        """The 32-bit cell."""
        return int(self.verdict) | int(self.shadow) << 2 | self.rule << 4


def unpack_cell(word: int) -> Cell:
    """The cell packed as 32 bits."""
    return Cell(Verdict(word & 3), Verdict(word >> 2 & 3), word >> 4)


class RuleOrigin(msgspec.Struct, frozen=True, order=True):
    """What a (set, local rule number) stands for; rule index -1: the policy's isolation itself.

    ``ports``: what the rule's named ports are for the set's subjects (ingress only).
    """

    policy: str
    direction: Direction
    index: int
    ports: tuple[PortMatch, ...] = ()


class Capacity(msgspec.Struct, frozen=True):
    """How much each map holds; fixed when the instance is created. ``row_cells``: cells in all."""

    endpoints: int = 1024
    addresses: int = 65536
    prefixes: int = 32768
    sets: int = 512
    classes: int = 4096
    cells: int = 4 * 1024 * 1024
    atoms: int = 4096
    services: int = 65536
    backends: int = 262144
    flows: int = 262144
    flow_slots: int = 1024 * 1024
    quota: int = 1024
    fragments: int = 4096
    affinity: int = 65536
    counters: int = 65536
    names: int = 4096
    ring_bytes: int = 1024 * 1024


class Put(NamedTuple):
    """Write ``value`` under ``key`` in the map called ``map`` (a field of ``Tables``).

    cells: key ``(row, first_atom)``, value a tuple of packed cells from that atom on.
    heads: key a row that nothing leads to yet, value the cell that most of its cells will be. What the maps
    say of it follows from its cells.
    atoms: key ``(first, last)`` indexes, value the Versioned word written to each of them.
    prefix_nodes: key 0, value all blocks with their entries: the tree of them is written anew.
    rules: key a set, value its tuple of RuleOrigin. No map of the kernel's: whoever names rules keeps it.
    """

    map: str
    key: object
    value: object


class Remove(NamedTuple):
    """Remove ``key`` from the map called ``map``; arrays are zeroed there."""

    map: str
    key: object


class Flip(NamedTuple):
    """Make ``generation`` the active one: one aligned store."""

    generation: int


class Grace(NamedTuple):
    """Wait until no packet that began before this point is still on its way (an RCU grace period)."""


Write = Put | Remove | Flip | Grace


class Tables:
    """What the maps hold. Dicts by key; ``cells`` by row number (packed cells); absent array entries
    are zero; ``atoms`` holds packed words. ``rules[set]`` leads from local numbers back to policies; its
    index 0 names the first policy that isolates (empty policy: none does). A set's rules never change
    while it lives. ``fronts`` are by place, and there only where maps were read back: they follow from the
    rest (``tables.fronts``), and where each is, is the writer's."""

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.addresses: dict[AddressKey, AddressEntry] = {}
        self.prefixes: dict[PrefixKey, PrefixEntry] = {}
        self.endpoints: dict[int, EndpointEntry] = {}
        self.links: dict[int, int] = {}
        self.atoms = array("Q", bytes(8 * ATOMS_SIZE))
        self.rows: dict[tuple[int, int], Versioned] = {}
        self.cells: dict[int, list[int]] = {}
        self.sets: dict[int, SetEntry] = {}
        self.services: dict[ServiceKey, ServiceEntry] = {}
        self.backends: dict[int, BackendEntry] = {}
        self.members: dict[MemberKey, int] = {}
        self.fronts: dict[int, FrontEntry] = {}
        self.rules: dict[int, tuple[RuleOrigin, ...]] = {}

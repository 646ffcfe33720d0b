"""One host under attack: random policies and services in the real program, and the oracle beside it.

Everything follows from seeds, so that a list of steps (``Change``, ``Wait``, ``Send``, ``Storm``) always says
the same.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from frame_reading import Origin

from cloche.compiler import Compiler
from cloche.datapath.settings import Settings, StackDevice
from cloche.datapath.testrun import Engine
from cloche.model.address import Address, parse_address, parse_block
from cloche.model.flow import SECOND, Decision, Entry, Packet
from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL, make_labels, match_labels
from cloche.model.policy import Action, BlockPeer, Peer, PodPeer, Policy, PortMatch, Rule, Tier
from cloche.model.state import Delete, Event, Put, State
from cloche.model.topology import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Attachment,
    Backend,
    Endpoint,
    Host,
    Namespace,
    Network,
    Service,
    ServicePort,
)
from cloche.model.tracker import OracleWorld, Place, ServiceView, choose_backend
from cloche.tables.schema import Capacity

CAPACITY = Capacity(
    endpoints=16,
    addresses=256,
    prefixes=256,
    sets=64,
    classes=64,
    cells=64 * 1024,
    services=64,
    backends=512,
    flows=32768,
    flow_slots=65536,
    fragments=4096,
    affinity=1024,
    counters=4096,
    names=16,
    ring_bytes=16 * 1024,
)
"""Room for all that a stretch of packets opens, as the oracle evicts nothing."""

HOST, FAR = "node", "far"
KEYS = ("x/a", "x/b", "y/c", "y/d")
"""The endpoints with a link here. The last is attached and never more: closed."""
STRANGER = "?"
"""Who sends on a link that no endpoint has."""
UPLINK = "uplink"
"""Who sends from outside."""
RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
HOSTS = (parse_address("192.168.7.1"), parse_address("fd00:7::1"))
FRONTS = (parse_address("10.96.0.10"), parse_address("fd00:96::a"))
EMPTY = (parse_address("10.96.0.11"), parse_address("fd00:96::b"))
STACK = StackDevice(77, bytes.fromhex("020000007777"))
PEER_MAC = bytes.fromhex("020000008888")
HASH_KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)
BLOCKS = tuple(
    map(
        parse_block,
        ("0.0.0.0/0", "198.51.100.0/24", "10.244.0.0/29", "::/0", "2001:db8::/32", "fd00:244::/124"),
    )
)
CUTS = tuple(map(parse_block, ("198.51.100.8/29", "10.244.0.2/31", "2001:db8::8/125", "fd00:244::2/127")))
PORTS = (
    PortMatch(TCP, 80, 80),
    PortMatch(TCP, 8000, 8080),
    PortMatch(UDP, 53, 80),
    PortMatch(SCTP, 80, 80),
    PortMatch(TCP),
    PortMatch(ICMP, 0x800, 0x801),
    PortMatch(ICMPV6, 0x8000, 0x8001),
    PortMatch(47),
)


class Change(NamedTuple):
    """The world changes, as a seed says."""

    seed: int


class Wait(NamedTuple):
    """Time passes."""

    ns: int


class Send(NamedTuple):
    """A frame comes in; ``by``: an endpoint's key, ``STRANGER``, ``UPLINK``, ``host`` or ``stack``."""

    by: str
    frame: bytes


class Forget(NamedTuple):
    """The flow, fragment and affinity tables are emptied."""


class Storm(NamedTuple):
    """So many variations of a frame come in, which follow from a seed; time passes now and then."""

    by: str
    frame: bytes
    seed: int
    count: int


Step = Change | Wait | Send | Forget | Storm


def addresses(number: int) -> tuple[Address, Address]:
    """Both addresses of the endpoint of a number."""
    return parse_address(f"10.244.0.{number}"), parse_address(f"fd00:244::{number:x}")


def mac(number: int) -> bytes:
    """The MAC of the endpoint of a number."""
    return bytes([2, 0, 0, 0, 1, number])


class Remembering(OracleWorld):
    """The oracle, asked each question once: it is slow, and a world of one generation does not change."""

    def __init__(self, state: State, generation: int) -> None:
        super().__init__(state, generation, _choice)
        self._places: dict[Address, Place] = {}
        self._judged: dict[tuple[object, ...], Decision] = {}

    def place(self, network: int, address: Address) -> Place:
        found = self._places.get(address)
        if found is None:
            found = self._places[address] = super().place(network, address)
        return found

    def judge(self, packet: Packet) -> Decision:
        key = (
            packet.source,
            packet.destination,
            packet.protocol,
            packet.destination_port,
            packet.icmp,
            packet.entry,
        )
        found = self._judged.get(key)
        if found is None:
            found = self._judged[key] = super().judge(packet)
        return found


def _choice(asked: Packet, view: ServiceView) -> Backend:
    members = sorted(view.backends)
    return members[choose_backend(HASH_KEY, asked, len(members))]


class Site:
    """The program and the oracle, kept alike. ``devices``: six indexes, [1..4] of the endpoints' links."""

    def __init__(self, engine: Engine, devices: list[int]) -> None:
        self.engine, self.devices = engine, devices
        self.now = 1000 * SECOND
        self.incarnation = 100
        engine.reset()
        engine.configure(Settings(), STACK)
        engine.set_clock(self.now)
        self.compiler = Compiler(HOST, CAPACITY)
        self.up = set(KEYS[:3])
        first: list[Event] = [Put(Network(1, ranges=RANGES)), Put(Host(HOST, HOSTS)), Put(Host(FAR))]
        first += [Put(self._attachment(key)) for key in KEYS]
        first += [Put(Namespace(name, make_labels({NAMESPACE_NAME_LABEL: name}))) for name in "xyz"]
        first += [Put(self._endpoint(key)) for key in (*KEYS[:3], "z/far")]
        self.names = dict(enumerate(KEYS, 1))
        self.update(first)
        self.update(_services(Random(0)))

    def _attachment(self, key: str) -> Attachment:
        number = KEYS.index(key) + 1
        self.incarnation += 1
        gateway = bytes([2, 0, 0, 0, 2, number])
        return Attachment(key, number, self.incarnation, self.devices[number], mac(number), gateway)

    @staticmethod
    def _endpoint(key: str) -> Endpoint:
        here = key in KEYS
        space, name = key.split("/")
        found = addresses(KEYS.index(key) + 1 if here else 9)
        return Endpoint(space, name, found, make_labels({"app": name}), host=HOST if here else FAR)

    def update(self, events: list[Event]) -> None:
        """Take events in, both in the program and in the oracle."""
        self.engine.write(self.compiler.update(events).writes)
        self.world = Remembering(self.compiler.state, self.compiler.tables.generation)

    def origin(self, by: str) -> Origin:
        """How a sender's frames come in."""
        if by in ("host", "stack", UPLINK):
            return Origin(Entry.HOST if by == "host" else Entry.STACK)
        number = KEYS.index(by) + 1 if by in KEYS else 0
        return Origin(Entry.ENDPOINT, by, mac(number) if number else b"")

    def wait(self, ns: int) -> None:
        """Let time pass."""
        self.now += ns
        self.engine.set_clock(self.now)

    def change(self, seed: int) -> None:
        """Other policies, other backends, or an endpoint that goes, comes or is another."""
        draw = Random(seed)
        kind = draw.random()
        if kind < 0.5:
            self.update(self._policies(draw))
        elif kind < 0.75:
            self.update(_services(draw))
        elif kind < 0.9:
            key = draw.choice(sorted(set(KEYS[:3]) - self.up) or KEYS[:3])
            self.update([Delete("Endpoint", key)] if key in self.up else [Put(self._endpoint(key))])
            self.up ^= {key}
        else:
            key = draw.choice(KEYS[:3])
            self.update([Delete("Endpoint", key), Delete("Attachment", key)])
            self.update([Put(self._attachment(key)), Put(self._endpoint(key))])
            self.up.add(key)

    def _policies(self, draw: Random) -> list[Event]:
        events: list[Event] = [Delete("Policy", key) for key in self.compiler.state.policies]
        for number in range(draw.choice((0, 1, 2, 3))):
            events.append(Put(_policy(draw, number)))
        return events


def _policy(draw: Random, number: int) -> Policy:
    tier = draw.choice((Tier.DEFAULT, Tier.DEFAULT, Tier.DEFAULT, Tier.ADMIN, Tier.BASELINE))
    plain = tier is Tier.DEFAULT
    space = draw.choice("xy") if plain else ""
    selector = draw.choice((EVERYTHING, match_labels({"app": draw.choice("abc")})))
    subject = PodPeer(selector, space, None if plain else EVERYTHING)
    kind = "NetworkPolicy" if plain else "ClusterNetworkPolicy"
    sides = [_rules(draw, tier) if draw.random() < 0.6 else None for _ in range(2)]
    return Policy(kind, space, f"p{number}", subject, *sides, tier, 0 if plain else number)


def _rules(draw: Random, tier: Tier) -> tuple[Rule, ...]:
    actions = (Action.ALLOW,) if tier is Tier.DEFAULT else tuple(Action)
    rules = []
    for index in range(draw.choice((0, 1, 1, 2))):
        peers = None if draw.random() < 0.2 else tuple(_peer(draw) for _ in range(draw.choice((1, 2))))
        ports = None if draw.random() < 0.5 else tuple(draw.sample(PORTS, 2))
        rules.append(Rule(index, draw.choice(actions), peers, ports))
    return tuple(rules)


def _peer(draw: Random) -> Peer:
    if draw.random() < 0.5:
        block = draw.choice(BLOCKS)
        cut = draw.choice(CUTS)
        return BlockPeer(block, (cut,) if block.covers(cut) and draw.random() < 0.5 else ())
    selector = draw.choice((EVERYTHING, match_labels({"app": draw.choice(("a", "b", "c", "far"))})))
    return PodPeer(selector, "x", draw.choice((EVERYTHING, match_labels({NAMESPACE_NAME_LABEL: "y"}))))


def _services(draw: Random) -> list[Event]:
    """A service with some backends on most ports, and one that never has any."""
    pool = [Backend(a, port, KEYS[n]) for n in range(3) for a in addresses(n + 1) for port in (80, 8080)]
    pool.append(Backend(parse_address("198.51.100.9"), 80))
    ports = [
        ServicePort("", protocol, port, tuple(sorted(draw.sample(pool, draw.choice((0, 2, 4))))))
        for protocol, port in ((TCP, 80), (TCP, 8080), (UDP, 53), (SCTP, 80))
        if draw.random() < 0.9
    ]
    none = [ServicePort("", protocol, 80) for protocol in (TCP, UDP, SCTP)]
    return [
        Put(Service("x", "front", FRONTS, tuple(ports), draw.choice((0, 60)))),
        Put(Service("x", "empty", EMPTY, tuple(none))),
    ]

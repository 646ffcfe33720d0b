"""Worlds with every feature that policies have, histories of their changes, and packets aimed at the edges.

Hypothesis draws worlds and histories; packets come from a seeded ``Random`` over the world's own edges (first
and last ports and addresses of everything that is named in it, and their neighbours), which is fast and hits
what a uniform choice would miss.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from random import Random

from hypothesis import strategies as st

from cloche.model.address import Address, Block, is_ipv4, parse_address, parse_block
from cloche.model.flow import Entry, Packet
from cloche.model.labels import (
    EVERYTHING,
    NAMESPACE_NAME_LABEL,
    Operator,
    Requirement,
    Selector,
    make_labels,
    match_labels,
)
from cloche.model.policy import Action, BlockPeer, PodPeer, Policy, PortMatch, Rule, Tier
from cloche.model.state import Delete, Event, Object, Put, State
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
    NamedPort,
    Namespace,
    Network,
    Service,
    ServicePort,
)

TIMES = int(os.environ.get("CLOCHE_TIMES", "1"))
"""How many times the usual number of examples to try: a longer run is CLOCHE_TIMES=100."""

HERE, THERE = "node", "far"
GRE = 47
SPACES = ("x", "y", "z")
NAMES = ("a", "b", "c", "d", "e", "f")
RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
HOST = Host(HERE, (parse_address("172.18.0.2"), parse_address("fd00:172::2"), parse_address("10.244.0.1")))
FAR = Host(THERE, (parse_address("172.18.0.3"), parse_address("fd00:172::3")))
KEPT = parse_address("192.0.2.5")
"""An endpoint's address outside all ranges."""
SHARED = parse_address("10.244.0.200")
"""An address that several endpoints may say is theirs."""

BLOCKS = tuple(
    parse_block(text)
    for text in (
        "0.0.0.0/0", "10.0.0.0/8", "10.244.0.0/16", "10.244.0.0/28", "10.244.0.2/31", "10.244.7.0/24",
        "10.244.0.200/32", "192.0.2.0/24", "192.0.2.4/30", "203.0.113.0/24", "203.0.113.64/26",
        "172.18.0.0/16", "172.18.0.2/32", "::/0", "fd00::/16", "fd00:244::/64", "fd00:244::2/127",
        "fd00:172::/64", "2001:db8::/32",
    )
)  # fmt: skip
STRANGERS = tuple(
    parse_address(text)
    for text in ("198.51.100.1", "203.0.113.7", "10.244.9.9", "2001:db8::7", "2001:db9::7", "fd00:244::999")
)
SERVED = (parse_address("10.96.0.10"), parse_address("fd00:96::10"), parse_address("10.96.0.11"))


def addresses_of(name: str) -> tuple[Address, ...]:
    """The addresses that the endpoint of this name usually has."""
    number = 2 + NAMES.index(name)
    return parse_address(f"10.244.0.{number}"), parse_address(f"fd00:244::{number}")


labels = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("a", "b", "c"))).map(make_labels)
some_values = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=2, unique=True).map(
    lambda found: tuple(sorted(found))
)
requirements = st.one_of(
    st.builds(
        Requirement,
        st.sampled_from(("app", "tier")),
        st.sampled_from((Operator.IN, Operator.NOT_IN)),
        some_values,
    ),
    st.builds(
        Requirement,
        st.sampled_from(("app", "tier")),
        st.sampled_from((Operator.EXISTS, Operator.DOES_NOT_EXIST)),
    ),
)
selectors = st.one_of(
    st.just(EVERYTHING),
    st.lists(requirements, min_size=1, max_size=2).map(lambda found: Selector(tuple(sorted(found)))),
)
space_selectors = st.one_of(
    selectors, st.sampled_from(SPACES).map(lambda name: match_labels({NAMESPACE_NAME_LABEL: name}))
)
pod_peers = st.builds(
    PodPeer, selectors, st.sampled_from(SPACES), st.one_of(st.none(), space_selectors, st.just(EVERYTHING))
)
block_peers = st.builds(
    lambda block, cuts: BlockPeer(block, tuple(b for b in cuts if block.covers(b) and b != block)),
    st.sampled_from(BLOCKS),
    st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True),
)
peers = st.one_of(pod_peers, block_peers)
numbers = st.sampled_from((1, 53, 79, 80, 81, 443, 8080, 65535))
port_matches = st.one_of(
    st.builds(
        lambda protocol, ends: PortMatch(protocol, min(ends), max(ends)),
        st.sampled_from((TCP, UDP, SCTP)),
        st.tuples(numbers, numbers),
    ),
    st.builds(PortMatch, st.sampled_from((TCP, UDP, SCTP)), name=st.sampled_from(("http", "dns"))),
    st.builds(
        lambda protocol, kind, whole: PortMatch(protocol, kind << 8, kind << 8 | (255 if whole else 0)),
        st.sampled_from((ICMP, ICMPV6)),
        st.sampled_from((0, 8, 128)),
        st.booleans(),
    ),
    st.sampled_from((PortMatch(ICMP), PortMatch(GRE), PortMatch(TCP))),
)


@st.composite
def rules(draw: st.DrawFn, actions: tuple[Action, ...]) -> tuple[Rule, ...] | None:
    """None, or up to three rules."""
    if draw(st.booleans()):
        return None
    return tuple(
        Rule(
            index,
            draw(st.sampled_from(actions)),
            draw(st.one_of(st.none(), st.lists(peers, max_size=2).map(tuple))),
            draw(st.one_of(st.none(), st.lists(port_matches, max_size=2).map(tuple))),
        )
        for index in range(draw(st.integers(0, 3)))
    )


@st.composite
def policies(draw: st.DrawFn, tiers: tuple[Tier, ...] = tuple(Tier)) -> Policy:
    """A policy of one of these tiers. A NetworkPolicy speaks of its own namespace and only allows."""
    tier = draw(st.sampled_from(tiers))
    space = draw(st.sampled_from(SPACES)) if tier is Tier.DEFAULT else ""
    actions = (Action.ALLOW,) if tier is Tier.DEFAULT else tuple(Action)
    return Policy(
        "NetworkPolicy" if tier is Tier.DEFAULT else "ClusterNetworkPolicy",
        space,
        draw(st.sampled_from(("p", "q"))),
        PodPeer(draw(selectors), space, None if tier is Tier.DEFAULT else draw(space_selectors)),
        draw(rules(actions)),
        draw(rules(actions)),
        tier,
        0 if tier is Tier.DEFAULT else draw(st.integers(0, 2)),
    )


named_ports = st.lists(
    st.builds(
        NamedPort,
        st.sampled_from(("http", "dns", "")),
        st.sampled_from((TCP, UDP)),
        st.sampled_from((80, 8080, 53)),
    ),
    max_size=2,
    unique=True,
).map(tuple)


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    """An endpoint here or on another host; seldom one of the host's network, or with an odd address."""
    name = draw(st.sampled_from(NAMES))
    odd = draw(st.sampled_from(((), (), (), (), (), (SHARED,), (KEPT,))))
    host_network = draw(st.sampled_from((False,) * 7 + (True,)))
    here = draw(st.sampled_from((True, True, True, False)))
    host = HOST if here else FAR
    return Endpoint(
        SPACES[NAMES.index(name) % len(SPACES)],
        name,
        host.addresses[:2] if host_network else (*addresses_of(name), *odd),
        draw(labels),
        draw(named_ports),
        host=host.name,
        host_network=host_network,
    )


@st.composite
def services(draw: st.DrawFn) -> Service:
    """A service whose backends are endpoints, so that they may get different verdicts."""
    backends = [
        Backend(address, draw(st.sampled_from((80, 8080))), name)
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
        for address in addresses_of(name)
    ]
    ports = [
        ServicePort(protocol_name, protocol, number, tuple(draw(st.permutations(backends))))
        for protocol_name, protocol, number in (("web", TCP, 80), ("dns", UDP, 53))
        if draw(st.booleans())
    ]
    addresses = draw(st.lists(st.sampled_from(SERVED), max_size=2, unique=True))
    name = draw(st.sampled_from(("s", "t")))
    return Service("x", name, tuple(addresses), tuple(ports), draw(st.sampled_from((0, 60))))


namespaces = st.builds(
    lambda name, found: Namespace(name, make_labels({NAMESPACE_NAME_LABEL: name, **dict(found)})),
    st.sampled_from(SPACES),
    labels,
)
networks = st.sampled_from((Network(1, ranges=RANGES),) * 4 + (Network(1, ranges=RANGES[:1]),))
hosts = st.sampled_from((HOST, HOST, FAR, Host(HERE, HOST.addresses[:2])))
objects = st.one_of(endpoints(), endpoints(), policies(), policies(), services(), namespaces)


def attachment(endpoint: Endpoint, incarnation: int) -> Attachment:
    """How an endpoint is attached: its number and link follow from its name."""
    number = 1 + NAMES.index(endpoint.name)
    mac = bytes((2, 0, 0, 0, 0, number))
    return Attachment(endpoint.key, number, incarnation, 100 + number, mac, bytes((2, 0, 0, 0, 1, number)))


def is_here(endpoint: Endpoint) -> bool:
    """True for an endpoint that has a link on this host."""
    return endpoint.host == HERE and not endpoint.host_network


class Attacher:
    """Adds what the agent would say: which endpoints are attached, each time with a new incarnation."""

    def __init__(self) -> None:
        self._incarnation = 0

    def complete(self, state: State, events: Iterable[Event]) -> list[Event]:
        """The events, and the attachments that come and go with them. ``state`` takes them in."""
        found = list(events)
        for event in found:
            state.apply(event)
        wanted = {key for key, endpoint in state.endpoints.items() if is_here(endpoint)}
        more: list[Event] = [Delete("Attachment", key) for key in sorted(state.attachments.keys() - wanted)]
        for key in sorted(wanted - state.attachments.keys()):
            self._incarnation += 1
            more.append(Put(attachment(state.endpoints[key], self._incarnation)))
        for event in more:
            state.apply(event)
        return found + more


@st.composite
def worlds(draw: st.DrawFn) -> State:
    """A host, a network, and up to a dozen things in it."""
    state = State()
    found: list[Object] = [HOST, FAR, draw(networks), *draw(st.lists(objects, min_size=3, max_size=14))]
    Attacher().complete(state, [Put(one) for one in found])
    return state


def _delete(thing: Object) -> Event:
    return Delete(type(thing).__name__, thing.key)


edits = st.one_of(
    objects.map(Put), objects.map(Put), objects.map(_delete), st.one_of(networks, hosts).map(Put)
)


@st.composite
def histories(draw: st.DrawFn, length: int = 8) -> list[list[Event]]:
    """Batches of events, the first a whole world; attachments are complete after each."""
    attacher, state = Attacher(), State()
    first: list[Event] = [Put(HOST), Put(FAR), Put(Network(1, ranges=RANGES))]
    first += [Put(one) for one in draw(st.lists(objects, max_size=10))]
    batches = [attacher.complete(state, first)]
    for batch in draw(st.lists(st.lists(edits, min_size=1, max_size=3), max_size=length)):
        batches.append(attacher.complete(state, batch))
    return batches


def edge_addresses(state: State) -> list[Address]:
    """Every known address, strangers, and the ends of every block (excepts, ranges) with neighbours."""
    found = {a for e in state.endpoints.values() for a in e.addresses} | set(STRANGERS)
    found |= {a for host in state.hosts.values() for a in host.addresses}
    found |= {a for service in state.services.values() for a in service.addresses}
    blocks = {block for network in state.networks.values() for block in network.ranges}
    for peer in _peers(state):
        if isinstance(peer, BlockPeer):
            blocks.update((peer.block, *peer.excepts))
    for block in blocks:
        found.update(_ends(block))
    return sorted(found)


def edge_ports(state: State) -> list[tuple[int, int]]:
    """Protocol and port (ICMP: type and code) at the ends of all that the world names, and neighbours."""
    found = {(TCP, 9), (UDP, 9), (SCTP, 9), (ICMP, 0x800), (ICMPV6, 0x8000), (GRE, 0), (2, 0)}
    for endpoint in state.endpoints.values():
        found.update((port.protocol, port.port) for port in endpoint.ports)
    for service in state.services.values():
        found.update((port.protocol, port.port) for port in service.ports)
    for policy in state.policies.values():
        for rule in (*(policy.egress or ()), *(policy.ingress or ())):
            for port in rule.ports or ():
                if not port.name and port.protocol in (TCP, UDP, SCTP, ICMP, ICMPV6):
                    near = (port.first - 1, port.first, port.last, port.last + 1)
                    found.update((port.protocol, number) for number in near if 0 <= number <= 65535)
    return sorted(found)


def packets(state: State, random: Random, count: int) -> Iterator[Packet]:
    """Packets between edges of the world, most of them from or to an endpoint of this host."""
    addresses, ports = edge_addresses(state), edge_ports(state)
    local = [a for e in state.endpoints.values() if is_here(e) for a in e.addresses]
    for _ in range(count):
        one = random.choice(local or addresses)
        other = random.choice([a for a in addresses if is_ipv4(a) == is_ipv4(one)])
        source, destination = (one, other) if random.random() < 0.5 else (other, one)
        yield packet(state, source, destination, random.choice(ports), host=random.random() < 0.7)


def packet(
    state: State, source: Address, destination: Address, port: tuple[int, int], *, host: bool = True
) -> Packet:
    """One packet as it would come in; ``host``: from the host's own address it is the host that sends."""
    protocol, number = port
    holders = [e for e in state.endpoints.values() if source in e.addresses and not e.host_network]
    owner = min(holders, key=lambda e: e.key, default=None)
    entry, sender = Entry.STACK, ""
    if owner is not None and owner.key in state.attachments:
        entry, sender = Entry.ENDPOINT, owner.key
    elif host and HERE in state.hosts and source in state.hosts[HERE].addresses:
        entry = Entry.HOST
    is_icmp = protocol in (ICMP, ICMPV6)
    return Packet(
        source,
        destination,
        protocol,
        source_port=0 if is_icmp or protocol in (GRE, 2) else 40000,
        destination_port=0 if is_icmp else number,
        entry=entry,
        sender=sender,
        icmp=number if is_icmp else 0,
    )


def holder(state: State, address: Address) -> object:
    """Who has an address, and since when; addresses that change hands are not in both generations."""
    found = [e for e in state.endpoints.values() if address in e.addresses and not e.host_network]
    owner = min(found, key=lambda e: e.key, default=None)
    if owner is None:
        return None
    attachment = state.attachments.get(owner.key)
    return owner.key, attachment.incarnation if attachment else 0


def in_both(old: State, new: State, packet: Packet) -> bool:
    """True for a packet between addresses that the same endpoints (or nobody) have before and after."""
    return all(holder(old, end) == holder(new, end) for end in (packet.source, packet.destination))


def _peers(state: State) -> Iterator[PodPeer | BlockPeer]:
    for policy in state.policies.values():
        for rule in (*(policy.egress or ()), *(policy.ingress or ())):
            yield from rule.peers or ()


def _ends(block: Block) -> Iterator[Address]:
    """First and last address of a block, and those just outside."""
    first, last = (int.from_bytes(end, "big") for end in (block.first(), block.last()))
    for value in (first - 1, first, last, last + 1):
        if 0 <= value < 1 << 128:
            address = Address(value.to_bytes(16, "big"))
            if is_ipv4(address) == block.ipv4:
                yield address

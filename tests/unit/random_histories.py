"""Hypothesis strategies for histories: packets over a few flows, with time, flips, services and evictions."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from policy_worlds import world
from random_worlds import endpoints, labels, policies

from cloche.model.address import Address, parse_address
from cloche.model.flow import Entry, Fragment, Packet, TcpFlag
from cloche.model.policy import Policy, Tier
from cloche.model.state import Object, Put, State
from cloche.model.topology import (
    HAIRPIN4,
    HAIRPIN6,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Attachment,
    Backend,
    Endpoint,
    Namespace,
    Service,
    ServicePort,
)

FRONTS = (parse_address("10.96.0.1"), parse_address("fd00:96::1"))
OTHERS = (
    tuple(parse_address(a) for a in ("203.0.113.8", "172.18.0.2", "10.244.9.9")),
    tuple(parse_address(a) for a in ("2001:db8::8", "fd00:172::2", "fd00:244::99")),
)
HAIRPINS = (HAIRPIN4, HAIRPIN6)
ECHO_AND_UNREACHABLE = ((ICMP, (8, 0, 3)), (ICMPV6, (128, 129, 1)))
FLAGS = (
    TcpFlag.SYN,
    TcpFlag.SYN | TcpFlag.ACK,
    TcpFlag.ACK,
    TcpFlag.FIN | TcpFlag.ACK,
    TcpFlag.RST,
)


class Send(NamedTuple):
    """A packet comes in."""

    packet: Packet


class Wait(NamedTuple):
    """Seconds pass."""

    seconds: float


class Flip(NamedTuple):
    """A new generation: these policies and no others."""

    policies: tuple[Policy, ...]


class Change(NamedTuple):
    """The service has another list of backends."""

    service: Service


class Evict(NamedTuple):
    """The n-th of all flows and translations is evicted."""

    number: int


Event = Send | Wait | Flip | Change | Evict


def attached_all(pods: tuple[Endpoint, ...]) -> list[Attachment]:
    """An attachment for each pod."""
    return [
        Attachment(e.key, n, n + 100, 200 + n, bytes((2, 0, 0, 0, 0, n)), bytes((2, 0, 0, 0, 1, n)))
        for n, e in enumerate(pods, 1)
    ]


@st.composite
def services(draw: st.DrawFn, pods: tuple[Endpoint, ...]) -> Service:
    """The service x/front on 80/tcp and 53/udp, each with some of the pods behind it."""

    def port(protocol: int, number: int) -> ServicePort:
        members = draw(st.lists(st.sampled_from(pods), max_size=3, unique_by=lambda e: e.key))
        backends = tuple(Backend(a, 80, e.key) for e in members for a in e.addresses)
        return ServicePort("", protocol, number, backends)

    affinity = draw(st.sampled_from((0, 0, 100)))
    return Service("x", "front", FRONTS, (port(TCP, 80), port(UDP, 53)), affinity)


@st.composite
def packets(draw: st.DrawFn, pods: tuple[Endpoint, ...], family: int | None = None) -> Packet:
    """A packet of few ports between few ends, so that histories meet their own flows again."""
    family = draw(st.sampled_from((0, 0, 1))) if family is None else family
    own = [e.addresses[family] for e in pods[:3]]
    front, others = FRONTS[family], OTHERS[family]
    source: Address = draw(st.sampled_from([*own * 3, *others[:2]]))
    destination: Address = draw(st.sampled_from([*own * 2, *others, front, front, HAIRPINS[family]]))
    icmp, kinds = ECHO_AND_UNREACHABLE[family]
    owner = next((e for e in pods if source in e.addresses), None)
    protocol = draw(st.sampled_from((TCP, TCP, TCP, UDP, UDP, icmp, SCTP, 47)))
    entry = Entry.ENDPOINT if owner else draw(st.sampled_from((Entry.HOST, Entry.STACK)))
    ports = draw(st.sampled_from(((1024, 80), (80, 1024), (1024, 53), (53, 1024))))
    kind = draw(st.sampled_from(kinds)) if protocol == icmp else 0
    quoted = draw(packets(pods, family)) if kind in (1, 3) else None
    if quoted is not None and draw(st.booleans()):
        destination = quoted.source
    return Packet(
        source,
        destination,
        protocol,
        *(ports if protocol in (TCP, UDP, SCTP) else (7, 7) if protocol == icmp else (0, 0)),
        entry,
        owner.key if owner else "",
        tcp_flags=int(draw(st.sampled_from(FLAGS))) if protocol == TCP else 0,
        icmp=kind << 8,
        quoted=quoted,
        fragment=draw(st.sampled_from((None,) * 8 + (Fragment(1, 0, 32, True), Fragment(1, 32, 8, False)))),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[State, list[Event]]:
    """A world and what happens in it."""
    pods = draw(endpoints())
    spaces = [Namespace(name, draw(labels)) for name in ("x", "y")]
    first = draw(st.lists(policies((Tier.DEFAULT,)), max_size=2, unique_by=lambda p: p.key))
    things: list[Object] = [*spaces, *pods, *attached_all(pods), draw(services(pods)), *first]
    event: st.SearchStrategy[Event] = st.one_of(
        *[st.builds(Send, packets(pods))] * 6,
        st.builds(Wait, st.sampled_from((0.5, 29, 31, 61, 200, 700))),
        st.builds(
            lambda found: Flip(tuple(found)),
            st.lists(policies((Tier.DEFAULT,)), max_size=2, unique_by=lambda p: p.key),
        ),
        st.builds(Change, services(pods)),
        st.builds(Evict, st.integers(0, 5)),
    )
    return world(*things), draw(st.lists(event, min_size=8, max_size=24))


def flipped(state: State, found: tuple[Policy, ...]) -> State:
    """The state with these policies and no others."""
    return State(
        [
            *(Put(thing) for thing in state.objects() if not isinstance(thing, Policy)),
            *(Put(policy) for policy in found),
        ]
    )

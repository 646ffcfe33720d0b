"""Hypothesis strategies for worlds of policies and the packets that tell them apart."""

from __future__ import annotations

from hypothesis import strategies as st
from policy_worlds import HOST, NETWORK, attached, namespace

from cloche.model.address import parse_address, parse_block
from cloche.model.flow import Entry, Packet
from cloche.model.labels import EVERYTHING, Operator, Requirement, Selector, make_labels
from cloche.model.policy import Action, BlockPeer, PodPeer, Policy, PortMatch, Rule, Tier
from cloche.model.state import Object, State
from cloche.model.topology import ICMP, SCTP, TCP, UDP, Endpoint, NamedPort

SPACES = ("x", "y")
KEYS = ("app", "tier")
VALUES = ("a", "b")
BLOCKS = tuple(
    parse_block(text)
    for text in (
        "10.244.0.0/16",
        "10.244.0.0/30",
        "10.244.0.2/31",
        "203.0.113.0/24",
        "203.0.113.8/29",
        "172.18.0.0/16",
        "0.0.0.0/0",
        "fd00:244::/64",
        "fd00:244::2/127",
        "2001:db8::/32",
        "::/0",
    )
)
STRANGERS = (
    "203.0.113.7", "203.0.113.8", "198.51.100.1", "2001:db8::1", "2001:db9::1", "10.244.77.1",
    "fd00:244::7777", "172.18.0.2", "fd00:172::2",
)  # fmt: skip

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(make_labels)
values = st.lists(st.sampled_from(VALUES), min_size=1, unique=True).map(lambda v: tuple(sorted(v)))
requirements = st.one_of(
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from((Operator.IN, Operator.NOT_IN)), values),
    st.builds(
        Requirement, st.sampled_from(KEYS), st.sampled_from((Operator.EXISTS, Operator.DOES_NOT_EXIST))
    ),
)
selectors = st.one_of(
    st.just(EVERYTHING),
    st.lists(requirements, min_size=1, max_size=2).map(lambda r: Selector(tuple(sorted(r)))),
)
named_ports = st.builds(
    NamedPort,
    st.sampled_from(("http", "dns", "")),
    st.sampled_from((TCP, UDP)),
    st.sampled_from((80, 81, 53)),
)
number_ports = st.builds(
    lambda protocol, ends: PortMatch(protocol, min(ends), max(ends)),
    st.sampled_from((TCP, UDP, SCTP)),
    st.tuples(*[st.sampled_from((1, 53, 79, 80, 81, 65535))] * 2),
)
ports = st.one_of(
    number_ports,
    st.builds(PortMatch, st.sampled_from((TCP, UDP)), name=st.sampled_from(("http", "dns"))),
)
peers = st.one_of(
    st.builds(PodPeer, selectors, st.sampled_from(SPACES), st.one_of(st.none(), selectors)),
    st.builds(
        lambda block, inner: BlockPeer(block, tuple(b for b in inner if block.covers(b) and b != block)),
        st.sampled_from(BLOCKS),
        st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True),
    ),
)


def rules(actions: tuple[Action, ...]) -> st.SearchStrategy[tuple[Rule, ...] | None]:
    """None, or rules with their indexes."""
    one = st.builds(
        Rule,
        st.just(0),
        st.sampled_from(actions),
        st.one_of(st.none(), st.lists(peers, max_size=2).map(tuple)),
        st.one_of(st.none(), st.lists(ports, max_size=2).map(tuple)),
    )
    listed = st.lists(one, max_size=3).map(
        lambda found: tuple(Rule(n, r.action, r.peers, r.ports) for n, r in enumerate(found))
    )
    return st.one_of(st.none(), listed)


@st.composite
def policies(draw: st.DrawFn, tiers: tuple[Tier, ...] = tuple(Tier)) -> Policy:
    """A policy of one of these tiers; namespaced ones speak of their own namespace."""
    tier = draw(st.sampled_from(tiers))
    space = draw(st.sampled_from(SPACES))
    actions = (Action.ALLOW,) if tier is Tier.DEFAULT else tuple(Action)
    subject = PodPeer(draw(selectors), space, None if tier is Tier.DEFAULT else draw(selectors))
    return Policy(
        "NetworkPolicy",
        space,
        draw(st.sampled_from(("p", "q", "r", "s"))),
        subject,
        draw(rules(actions)),
        draw(rules(actions)),
        tier,
        draw(st.integers(0, 2)) if tier is not Tier.DEFAULT else 0,
    )


@st.composite
def endpoints(draw: st.DrawFn) -> tuple[Endpoint, ...]:
    """Some pods, at the first addresses of the range."""
    count = draw(st.integers(1, 5))
    return tuple(
        Endpoint(
            draw(st.sampled_from(SPACES)),
            f"pod-{n}",
            (parse_address(f"10.244.0.{n}"), parse_address(f"fd00:244::{n}")),
            draw(labels),
            tuple(draw(st.lists(named_ports, max_size=2, unique=True))),
        )
        for n in range(1, count + 1)
    )


@st.composite
def objects(draw: st.DrawFn, tiers: tuple[Tier, ...] = tuple(Tier)) -> list[Object]:
    """A world: host, network, namespaces with labels, pods of this host and policies, each key once."""
    pods = draw(endpoints())
    spaces = [namespace(name, **dict(draw(labels))) for name in SPACES]
    found = draw(st.lists(policies(tiers), max_size=4, unique_by=lambda p: p.key))
    return [NETWORK, HOST, *spaces, *pods, *attached(*pods), *found]


@st.composite
def packets(draw: st.DrawFn, state: State) -> Packet:
    """A packet between two addresses of one family that the world may tell apart."""
    known = [a for e in state.endpoints.values() for a in e.addresses]
    pool = known * 2 + [parse_address(text) for text in STRANGERS]
    source = draw(st.sampled_from(pool))
    ipv4 = source.startswith(known[0][:12])
    alike = [a for a in pool if a.startswith(known[0][:12]) == ipv4]
    protocol = draw(st.sampled_from((TCP, UDP, SCTP, ICMP, 47)))
    entry = draw(st.sampled_from((Entry.HOST, Entry.STACK)))
    owner = next((e for e in state.endpoints.values() if source in e.addresses), None)
    return Packet(
        source,
        draw(st.sampled_from(alike)),
        protocol,
        40000,
        draw(st.sampled_from((1, 53, 79, 80, 81, 65535))) if protocol in (TCP, UDP, SCTP) else 0,
        Entry.ENDPOINT if owner else entry,
        owner.key if owner else "",
        icmp=8 << 8 if protocol == ICMP else 0,
    )

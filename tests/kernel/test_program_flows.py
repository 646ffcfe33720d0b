"""The program's flow table: states and ages, replies, judging again, new flows, and whose slots they take."""

from __future__ import annotations

import pytest
from program_lab import (
    HOST4,
    HOST_CLASS,
    OUTSIDE4,
    QUOTA,
    WEB_ATOM,
    Lab,
    Pod,
    allows,
)

from cloche.datapath import layout
from cloche.datapath.events import read_flows
from cloche.datapath.layout import Age
from cloche.model.address import parse_address, parse_block
from cloche.model.flow import Delivery
from cloche.model.policy import Direction
from cloche.tables import schema
from cloche.tables.schema import EndpointEntry, Put, Versioned
from frames import ACK, FIN, RST, SYN, Flow, echo, ip, sctp, tcp, udp

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def between(one: Pod, other: Pod, ipv6: bool = False, by: int = 40000, to: int = 80) -> Flow:
    """From one pod to another."""
    return Flow(one.address(ipv6), other.address(ipv6), by, to)


def entries(lab: Lab) -> list[layout.Flow]:
    """What the flow table holds."""
    return [entry for _, entry in read_flows(lab.engine.loaded.maps.flows)]


def age(lab: Lab) -> Age:
    """The state of the only entry."""
    (entry,) = entries(lab)
    return Age(entry.age)


def open_only(lab: Lab) -> Flow:
    """A (class 1) may open B's web port and B nothing; the flow that does."""
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    lab.isolate(lab.a, INGRESS, {})
    return between(lab.a, lab.b)


@FAMILIES
@pytest.mark.parametrize("build", [tcp, udp, sctp], ids=["tcp", "udp", "sctp"])
def test_replies_pass_where_opening_would_not(lab: Lab, build: object, ipv6: bool) -> None:
    """The receiver's packets pass as replies once the sender has opened the flow, on these ports alone."""
    assert callable(build)
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    lab.isolate(lab.a, INGRESS, {})
    flow = between(lab.a, lab.b, ipv6)
    before = build(flow.back(), SYN | ACK) if build is tcp else build(flow.back())
    assert lab.word_of(lab.b, before) == "ingress-not-allowed"
    assert lab.word_of(lab.a, build(flow)) == "b"
    assert lab.word_of(lab.b, before) == "a"
    other = flow.back()._replace(destination_port=40001)
    assert lab.word_of(lab.b, build(other)) == "ingress-not-allowed"


def test_echo_replies_pass_by_identifier(lab: Lab) -> None:
    """An echo reply passes with the request's identifier and no other."""
    for ipv6 in (False, True):
        lab.isolate(lab.a, INGRESS, {})
        ends = between(lab.a, lab.b, ipv6)
        assert lab.word_of(lab.a, echo(ends, 7)) == "b"
        assert lab.word_of(lab.b, echo(ends.back(), 7, reply=True)) == "a"
        assert lab.word_of(lab.b, echo(ends.back(), 8, reply=True)) == "ingress-not-allowed"


def test_replies_of_protocols_without_ports(lab: Lab) -> None:
    """A protocol without ports has one flow between two addresses."""
    lab.isolate(lab.a, INGRESS, {})
    assert lab.word_of(lab.b, ip(lab.b.four, lab.a.four, 47, bytes(8))) == "ingress-not-allowed"
    assert lab.word_of(lab.a, ip(lab.a.four, lab.b.four, 47, bytes(8))) == "b"
    assert lab.word_of(lab.b, ip(lab.b.four, lab.a.four, 47, bytes(8))) == "a"
    assert age(lab) is Age.OTHER


def test_a_connection_from_opening_to_closing(lab: Lab) -> None:
    """SYN, SYN+ACK, ACK, FIN, FIN: the states on the way."""
    flow = open_only(lab)
    steps = [
        (lab.a, flow, SYN, Age.TCP_OPENING),
        (lab.b, flow.back(), SYN | ACK, Age.TCP_OPENING),
        (lab.a, flow, ACK, Age.TCP_OPEN),
        (lab.a, flow, FIN | ACK, Age.TCP_OPEN),
        (lab.b, flow.back(), ACK, Age.TCP_OPEN),
        (lab.b, flow.back(), FIN | ACK, Age.TCP_CLOSING),
        (lab.a, flow, ACK, Age.TCP_CLOSING),
    ]
    for pod, ends, flags, expected in steps:
        assert lab.word_of(pod, tcp(ends, flags)) in "ab"
        assert age(lab) is expected


def test_an_ack_before_any_reply_opens_nothing(lab: Lab) -> None:
    """Only an ACK of the opener after the other side has spoken makes a connection open."""
    flow = open_only(lab)
    lab.word_of(lab.a, tcp(flow, SYN))
    lab.word_of(lab.a, tcp(flow, ACK))
    assert age(lab) is Age.TCP_OPENING
    lab.word_of(lab.b, tcp(flow.back(), ACK))
    assert age(lab) is Age.TCP_OPENING


@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_a_reset_closes(lab: Lab, flags: int) -> None:
    """From either side, in any state."""
    flow = open_only(lab)
    lab.word_of(lab.a, tcp(flow, SYN))
    assert lab.word_of(lab.b, tcp(flow.back(), flags)) == "a"
    assert age(lab) is Age.TCP_CLOSING


def test_a_reset_makes_no_entry(lab: Lab) -> None:
    """A reset that policy allows passes and is forgotten."""
    assert lab.word_of(lab.a, tcp(between(lab.a, lab.b), RST)) == "b"
    assert entries(lab) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(SYN, Age.TCP_OPENING), (SYN | ACK, Age.TCP_OPENING), (ACK, Age.TCP_OPEN), (FIN | ACK, Age.TCP_CLOSING)],
)
def test_the_first_state_is_by_the_packet(lab: Lab, flags: int, expected: Age) -> None:
    """What a first packet's flags say of the connection."""
    assert lab.word_of(lab.a, tcp(between(lab.a, lab.b), flags)) == "b"
    assert age(lab) is expected


def test_udp_lives_longer_once_replied_to(lab: Lab) -> None:
    """30 s alone, 180 s after an answer, each from the last packet."""
    flow = open_only(lab)
    lab.word_of(lab.a, udp(flow))
    lab.wait(29)
    assert lab.word_of(lab.b, udp(flow.back())) == "a"
    assert age(lab) is Age.UDP_REPLIED
    lab.wait(179)
    assert lab.word_of(lab.b, udp(flow.back())) == "a"
    lab.wait(180)
    assert lab.word_of(lab.b, udp(flow.back())) == "ingress-not-allowed"


@pytest.mark.parametrize(
    ("packets", "seconds"),
    [
        ([(0, SYN)], 60),
        ([(0, SYN), (1, SYN | ACK), (0, ACK)], 8 * 3600),
        ([(0, SYN), (1, RST)], 30),
    ],
    ids=["opening", "open", "closing"],
)
def test_tcp_states_have_their_ages(lab: Lab, packets: list[tuple[int, int]], seconds: int) -> None:
    """Alive until just before the limit, no entry at the limit."""
    for seconds_waited, word in ((seconds - 0.001, "a"), (seconds, "ingress-not-allowed")):
        lab.engine.forget("flows")
        flow = open_only(lab)
        for side, flags in packets:
            pod, ends = ((lab.a, flow), (lab.b, flow.back()))[side]
            assert lab.word_of(pod, tcp(ends, flags)) in "ab"
        lab.wait(seconds_waited)
        assert lab.word_of(lab.b, tcp(flow.back(), SYN | ACK)) == word


def test_closing_is_not_prolonged(lab: Lab) -> None:
    """Packets after the end do not keep the entry alive."""
    flow = open_only(lab)
    lab.word_of(lab.a, tcp(flow, SYN))
    lab.word_of(lab.a, tcp(flow, RST))
    lab.wait(20)
    assert lab.word_of(lab.b, tcp(flow.back(), SYN | ACK)) == "a"
    lab.wait(10)
    assert lab.word_of(lab.b, tcp(flow.back(), SYN | ACK)) == "ingress-not-allowed"


# --- judged again ---


def close_web(lab: Lab) -> None:
    """The next generation no longer lets A in."""
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()


@pytest.mark.parametrize("side", [0, 1], ids=["opener first", "receiver first"])
def test_a_new_deny_cuts_a_live_flow(lab: Lab, side: int) -> None:
    """After the flip both sides are denied, whoever sends first, by the reason as the opener opened it."""
    flow = open_only(lab)
    for pod, ends, flags in ((lab.a, flow, SYN), (lab.b, flow.back(), SYN | ACK), (lab.a, flow, ACK)):
        lab.word_of(pod, tcp(ends, flags))
    close_web(lab)
    both = [(lab.a, flow), (lab.b, flow.back())]
    for pod, ends in both[side:] + both[:side]:
        result = lab.send(pod, tcp(ends, ACK))
        assert result.reason.shown == "ingress-not-allowed"
        assert result.direction is INGRESS
    assert age(lab) is Age.CUT


def test_a_flow_that_stays_allowed_is_stamped(lab: Lab) -> None:
    """A flip that does not concern a flow leaves it alone and brings its generation up to date."""
    flow = open_only(lab)
    lab.word_of(lab.a, udp(flow))
    lab.flip()
    assert lab.word_of(lab.b, udp(flow.back())) == "a"
    (entry,) = entries(lab)
    assert (entry.generation, Age(entry.age)) == (lab.generation, Age.UDP_REPLIED)


@pytest.mark.parametrize(
    ("build", "settled_age"), [(tcp, Age.TCP_OPEN), (udp, Age.UDP), (sctp, Age.OTHER), (echo, Age.ICMP)]
)
def test_a_cut_flow_that_is_allowed_again(lab: Lab, build: object, settled_age: Age) -> None:
    """It goes on, in the settled state of its protocol."""
    assert callable(build)
    flow = open_only(lab)
    number = lab.isolate(lab.b, INGRESS, {(1, atom): cell for (_, atom), cell in _every().items()})
    assert lab.word_of(lab.a, build(flow)) == "b"
    close_web(lab)
    again = tcp(flow, ACK) if build is tcp else build(flow)
    assert lab.word_of(lab.a, again) == "ingress-not-allowed"
    lab.put_endpoint(lab.b, sets=(0, number))
    lab.flip()
    assert lab.word_of(lab.a, again) == "b"
    assert age(lab) is settled_age


def _every() -> dict[tuple[int, int], object]:
    return dict(allows(*((1, atom) for atom in range(16))))


def test_cut_flows_are_remembered_while_packets_come(lab: Lab) -> None:
    """A denied packet of a cut flow counts as seen; 600 s of silence end it."""
    flow = open_only(lab)
    lab.word_of(lab.a, udp(flow))
    close_web(lab)
    lab.word_of(lab.a, udp(flow))
    lab.wait(599)
    assert lab.word_of(lab.a, udp(flow)) == "ingress-not-allowed"
    lab.wait(599)
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    assert lab.word_of(lab.a, udp(flow)) == "ingress-not-allowed"
    lab.wait(600)
    assert lab.word_of(lab.a, udp(flow)) == "b"


def test_without_a_flip_live_flows_are_not_judged_again(lab: Lab) -> None:
    """Tables that are written but not yet active do not concern live flows of the active generation."""
    flow = open_only(lab)
    lab.word_of(lab.a, udp(flow))
    lab.isolate(lab.b, INGRESS, {})
    assert lab.word_of(lab.a, udp(flow)) == "b"


def test_versioned_words_wait_for_the_flip(lab: Lab) -> None:
    """Set, class, atom and row words written for the next generation count from its flip on."""
    number = lab.isolate(lab.b, INGRESS, {})
    lab.put_endpoint(lab.b)
    put = lab._endpoint(lab.b)
    assert isinstance(put.value, EndpointEntry)
    later = put.value._replace(ingress=Versioned(0, number, lab.generation + 1))
    lab.engine.write([Put("endpoints", lab.b.number, later)])
    assert lab.word_of(lab.a, udp(between(lab.a, lab.b))) == "b"
    lab.flip()
    assert lab.word_of(lab.a, udp(between(lab.a, lab.b))) == "ingress-not-allowed"


@pytest.mark.parametrize("what", ["address", "prefix", "atom", "row"])
def test_other_versioned_words_wait_too(lab: Lab, what: str) -> None:
    """Each kind of word that a packet reads by generation."""
    number = lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM), (10, WEB_ATOM)))
    since = lab.generation + 1
    address = Lab.address(parse_address("10.244.0.11"), 1, 1)
    assert isinstance(address.value, schema.AddressEntry)
    web = schema.SLOT_TCP << 16 | 80
    writes = {
        "address": Put("addresses", address.key, address.value._replace(class_=Versioned(1, 3, since))),
        "prefix": Put(
            "prefixes",
            schema.PrefixKey(1, parse_block("0.0.0.0/0")),
            schema.PrefixEntry(Versioned(10, 3, since), 0),
        ),
        "atom": Put("atoms", (web, web), Versioned(WEB_ATOM, 7, since).pack()),
        "row": Put("rows", (number, 1), Versioned(number * 16 + 1, number * 16 + 3, since)),
    }

    def ask(port: int) -> str:
        if what == "prefix":
            return lab.word_of_stack(tcp(Flow(OUTSIDE4, lab.b.four, port)))
        return lab.word_of(lab.a, tcp(between(lab.a, lab.b, by=port)))

    lab.engine.write([writes[what]])
    assert ask(40001) == "b"
    lab.flip()
    assert ask(40002) == "ingress-not-allowed"


# --- new flows where there is one already ---


def test_a_syn_in_the_same_direction_while_opening_is_a_retransmission(lab: Lab) -> None:
    """It goes on with the entry, also when policy written meanwhile would not let it in."""
    flow = open_only(lab)
    lab.word_of(lab.a, tcp(flow, SYN))
    lab.isolate(lab.b, INGRESS, {})
    assert lab.word_of(lab.a, tcp(flow, SYN)) == "b"


def test_a_syn_on_a_closing_flow_is_a_new_flow(lab: Lab) -> None:
    """Allowed it replaces the entry; denied it is dropped and the entry stays as it was."""
    flow = open_only(lab)
    lab.word_of(lab.a, tcp(flow, SYN))
    lab.word_of(lab.b, tcp(flow.back(), RST))
    assert lab.word_of(lab.b, tcp(flow.back(), SYN)) == "ingress-not-allowed"
    assert age(lab) is Age.TCP_CLOSING
    assert lab.word_of(lab.a, tcp(flow, SYN)) == "b"
    assert age(lab) is Age.TCP_OPENING


def test_a_new_flow_may_turn_the_opener_round(lab: Lab) -> None:
    """A SYN from the other side makes that the opener."""
    flow = between(lab.a, lab.b)
    lab.word_of(lab.a, tcp(flow, SYN))
    assert lab.word_of(lab.b, tcp(flow.back(), SYN)) == "a"
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    assert lab.word_of(lab.a, tcp(flow, ACK)) == "b"


def test_another_incarnation_inherits_nothing(lab: Lab) -> None:
    """A new endpoint under an old address has no flows."""
    flow = open_only(lab)
    lab.word_of(lab.a, udp(flow))
    lab.put_endpoint(lab.b, incarnation=999)
    assert lab.word_of(lab.b, udp(flow.back())) == "ingress-not-allowed"


def test_opened_by_the_receiver(lab: Lab) -> None:
    """A segment without an entry takes the direction in which policy allows it, and keeps it."""
    lab.isolate(lab.a, INGRESS, {})
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    flow = between(lab.a, lab.b)
    assert lab.word_of(lab.b, tcp(flow.back(), ACK)) == "a"
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    assert lab.word_of(lab.b, tcp(flow.back(), ACK)) == "ingress-not-allowed"


def test_a_denied_segment_gives_the_senders_reason(lab: Lab) -> None:
    """When neither side may have opened it, the first answer counts."""
    lab.isolate(lab.b, EGRESS, {})
    lab.isolate(lab.a, EGRESS, {})
    result = lab.send(lab.b, tcp(between(lab.b, lab.a), ACK))
    assert (result.reason.shown, result.class_) == ("egress-not-allowed", 1)


# --- the stack ---


def test_replies_to_what_came_through_the_stack_go_back_there(lab: Lab) -> None:
    """Also where the other address is an endpoint of this host."""
    for source in (OUTSIDE4, HOST4):
        assert lab.word_of_stack(tcp(Flow(source, lab.a.four, 40000, 80)), host=source == HOST4) == "a"
        assert lab.word_of(lab.a, tcp(Flow(lab.a.four, source, 80, 40000), SYN | ACK)) == "stack"
    assert lab.word_of_stack(udp(Flow(lab.b.four, lab.a.four))) == "a"
    assert lab.word_of(lab.a, udp(Flow(lab.b.four, lab.a.four).back())) == "stack"


def test_replies_from_outside_pass(lab: Lab) -> None:
    """What an endpoint opened towards outside is answered through the stack."""
    lab.isolate(lab.a, INGRESS, {})
    flow = Flow(lab.a.four, OUTSIDE4)
    assert lab.word_of_stack(udp(flow.back())) == "ingress-not-allowed"
    assert lab.word_of(lab.a, udp(flow)) == "stack"
    assert lab.word_of_stack(udp(flow.back())) == "a"


def test_the_host_opener_stays_the_host_when_judged_again(lab: Lab) -> None:
    """A flow that the host itself opened keeps the host's class after a flip."""
    lab.isolate(lab.a, INGRESS, allows((HOST_CLASS, WEB_ATOM)))
    flow = Flow(HOST4, lab.a.four)
    assert lab.word_of_stack(udp(flow), host=True) == "a"
    lab.flip()
    assert lab.word_of(lab.a, udp(flow.back())) == "stack"
    assert lab.word_of_stack(udp(flow), host=False) == "a"


def test_delivery_of_replies_to_endpoints(lab: Lab) -> None:
    """A reply between endpoints is delivered directly."""
    flow = between(lab.a, lab.b)
    lab.word_of(lab.a, udp(flow))
    assert lab.send(lab.b, udp(flow.back())).delivery is Delivery.ENDPOINT


# --- whose slots ---


def live(lab: Lab) -> int:
    """How many entries there are."""
    return len(entries(lab))


def open_connection(lab: Lab, port: int) -> None:
    """A TCP connection from A to B that is open."""
    flow = between(lab.a, lab.b, by=port)
    for pod, ends, flags in ((lab.a, flow, SYN), (lab.b, flow.back(), SYN | ACK), (lab.a, flow, ACK)):
        assert lab.word_of(pod, tcp(ends, flags)) in "ab"


def test_flows_count_in_their_openers_quota(lab: Lab) -> None:
    """However many flows an endpoint opens, it never has more than its quota; another's stay."""
    other = between(lab.c, lab.b)
    lab.word_of(lab.c, udp(other))
    for port in range(1000, 1000 + 3 * QUOTA):
        assert lab.word_of(lab.a, udp(between(lab.a, lab.b, by=port))) == "b"
    assert live(lab) == QUOTA + 1
    lab.isolate(lab.c, INGRESS, {})
    assert lab.word_of(lab.b, udp(other.back())) == "c"


def test_what_comes_from_outside_counts_in_the_receivers_quota(lab: Lab) -> None:
    """A flood through the stack evicts only flows of the endpoint it goes to."""
    lab.word_of(lab.a, udp(between(lab.a, lab.c)))
    for port in range(1000, 1000 + 2 * QUOTA):
        lab.word_of_stack(udp(Flow(OUTSIDE4, lab.b.four, port)))
    assert live(lab) == QUOTA + 1
    assert {entry.owner for entry in entries(lab)} == {1, 2}


def test_open_connections_outlast_a_flood_of_others(lab: Lab) -> None:
    """Half-open, closing, cut and non-TCP entries give way to new ones before an open connection does."""
    for port in range(100, 100 + 6):
        open_connection(lab, port)
    for port in range(1000, 1000 + 5 * QUOTA):
        lab.word_of(lab.a, tcp(between(lab.a, lab.b, by=port), SYN))
    assert sum(entry.age == Age.TCP_OPEN for entry in entries(lab)) == 6


def test_an_endpoint_full_of_open_connections_evicts_its_own(lab: Lab) -> None:
    """Where nothing gives way the entry at the hand goes, and the new flow has its place."""
    for port in range(1000, 1000 + QUOTA + 10):
        open_connection(lab, port)
    assert live(lab) == QUOTA
    lab.isolate(lab.a, INGRESS, {})
    lab.isolate(lab.b, EGRESS, {})
    assert lab.word_of(lab.b, tcp(between(lab.b, lab.a, by=80, to=1000 + QUOTA + 9), ACK)) == "a"


def test_without_a_quota_nothing_is_remembered(lab: Lab) -> None:
    """An endpoint without slots sends by policy alone."""
    lab.put_endpoint(lab.a, quota=0)
    assert lab.word_of(lab.a, udp(between(lab.a, lab.b))) == "b"
    assert live(lab) == 0


def test_a_reused_entry_keeps_its_slot(lab: Lab) -> None:
    """An expired entry that comes alive again takes no second slot."""
    flow = between(lab.a, lab.b)
    for _ in range(3):
        lab.word_of(lab.a, udp(flow))
        lab.wait(100)
    owners = lab.engine.loaded.maps.owners
    raw = owners.get((1).to_bytes(4, "little"))
    assert raw is not None
    assert layout.Owner.unpack(raw).hand == 1

"""The reference tracker: flows of TCP, UDP, ICMP and the rest over time, generations and evictions."""

from __future__ import annotations

import pytest
from histories import ACK, FIN, RST, SYN, History, icmp, tcp, udp
from policy_worlds import attached, namespace, packet, pod, pods, policy, port, rule, world

from cloche.model.flow import Age, Delivery, Entry, Packet, Verdict
from cloche.model.policy import Direction, Policy
from cloche.model.reasons import Reason
from cloche.model.topology import SCTP, Attachment, Endpoint
from cloche.model.tracker import Side, flow_key

A, B = pod("x/a", 1, {"app": "a"}), pod("x/b", 2, {"app": "b"})
OUTSIDE = "203.0.113.9"
TO_B = policy("x/p", pods(where="x", app="b"), ingress=[rule(pods(where="x", app="a"), ports=[port(80)])])
CLOSED = policy("x/p", pods(where="x", app="b"), ingress=[])


def history(*policies: Policy) -> History:
    """Pods a and b, and these policies."""
    return History(world(namespace("x"), A, B, *attached(A, B), *policies))


def opened(one: History) -> History:
    """The history after a whole handshake from a to b:80."""
    assert one.words(tcp(A, B, SYN), tcp(B, A, SYN | ACK, 40000, 80), tcp(A, B, ACK)) == ["allow"] * 3
    return one


def age(one: History) -> Age:
    """The state of the only flow."""
    (flow,) = one.tracker.flows.values()
    return flow.age


def test_replies_of_an_allowed_flow_pass() -> None:
    """The receiver answers although nothing allows it to open anything."""
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    one = opened(history(TO_B, silent))
    assert age(one) is Age.TCP_OPEN
    assert one.word(tcp(B, A, SYN, 80)) == "egress-not-allowed"
    assert history(TO_B, silent).word(tcp(B, A, ACK, 41000, 81)) == "egress-not-allowed"


def test_denied_packets_leave_no_flow() -> None:
    """A denial is not remembered."""
    one = history(CLOSED)
    found = one.send(tcp(A, B, SYN))
    assert (found.reason, found.deciding) == (Reason.INGRESS_NOT_ALLOWED, Direction.INGRESS)
    assert not one.tracker.flows


def test_tcp_states() -> None:
    """SYN opens, the handshake's last ACK makes it open, both FINs or a RST make it closing."""
    one = history()
    steps = [
        (tcp(A, B, SYN), Age.TCP_OPENING),
        (tcp(A, B, ACK), Age.TCP_OPENING),
        (tcp(B, A, SYN | ACK, 40000, 80), Age.TCP_OPENING),
        (tcp(B, A, ACK, 40000, 80), Age.TCP_OPENING),
        (tcp(A, B, ACK), Age.TCP_OPEN),
        (tcp(A, B, FIN | ACK), Age.TCP_OPEN),
        (tcp(A, B, FIN | ACK), Age.TCP_OPEN),
        (tcp(B, A, FIN | ACK, 40000, 80), Age.TCP_CLOSING),
    ]
    for sent, expected in steps:
        assert one.word(sent) == "allow"
        assert age(one) is expected
    reset = opened(history())
    assert reset.word(tcp(B, A, RST, 40000, 80)) == "allow"
    assert age(reset) is Age.TCP_CLOSING


AGES = [
    ([tcp(A, B, SYN)], 60),
    ([tcp(A, B, SYN), tcp(B, A, SYN | ACK, 40000, 80), tcp(A, B, ACK)], 8 * 3600),
    ([udp(A, B)], 30),
    ([udp(A, B), udp(B, A, 40000, 53)], 180),
    ([icmp(A, B, 8)], 30),
    ([packet(A, B, 0, protocol=47)], 600),
    ([packet(A, B, 80, protocol=SCTP)], 600),
]


@pytest.mark.parametrize(("packets", "seconds"), AGES)
def test_an_expired_entry_is_no_entry(packets: list[Packet], seconds: int) -> None:
    """A flow's replies pass until its age limit, seen from its last packet, and not from then on."""
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    last = packets[-1] if packets[-1].source == B.addresses[0] else packets[0]
    reply = Packet(
        B.addresses[0],
        A.addresses[0],
        last.protocol,
        packets[0].destination_port,
        packets[0].source_port,
        sender=B.key,
        tcp_flags=int(SYN | ACK) if last.protocol == 6 else 0,
    )
    for late, expected in ((0, "egress-not-allowed"), (-1, "allow")):
        one = history(silent)
        one.words(*packets)
        one.wait(seconds).now += late
        assert one.word(reply) == expected


def test_closing_flows_are_not_kept_alive() -> None:
    """What comes after both FINs passes but does not lengthen the flow's life."""
    one = opened(history())
    one.words(tcp(A, B, FIN | ACK), tcp(B, A, FIN | ACK, 40000, 80))
    before = one.now
    assert one.wait(20).word(tcp(A, B, ACK)) == "allow"
    (flow,) = one.tracker.flows.values()
    assert (flow.age, flow.seen_ns) == (Age.TCP_CLOSING, before)


def test_a_syn_on_a_live_flow_is_a_new_one() -> None:
    """The opener may repeat it while opening; else it is judged, and denied it changes nothing."""
    one = history(TO_B)
    one.word(tcp(A, B, SYN))
    kept = one.tracker
    assert one.word(tcp(A, B, SYN)) == "allow"
    assert one.tracker == kept
    opened(one)
    kept = one.tracker
    assert one.wait(1).word(tcp(A, B, SYN)) == "allow"
    assert age(one) is Age.TCP_OPENING
    one.tracker = kept
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    one.state.policies[silent.key] = silent
    assert one.word(tcp(B, A, SYN, 40000, 80)) == "egress-not-allowed"
    assert one.tracker == kept


def test_mid_connection_packets_take_the_direction_that_is_allowed() -> None:
    """Without SYN and entry a TCP packet passes as opened by its sender, else by its receiver, else not."""
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    for sent, opener in ((tcp(A, B, ACK), A), (tcp(B, A, ACK, 40000, 80), A)):
        one = history(TO_B, silent)
        assert one.word(sent) == "allow"
        (flow,) = one.tracker.flows.values()
        assert (flow.opener.address, flow.age) == (opener.addresses[0], Age.TCP_OPEN)
    assert history(TO_B, silent).word(tcp(B, A, ACK, 40000, 81)) == "egress-not-allowed"
    assert history(TO_B, silent).word(tcp(B, A, SYN | ACK, 40000, 80)) == "egress-not-allowed"
    assert history(TO_B, silent).word(udp(B, A, 40000, 80)) == "egress-not-allowed"


def test_a_reset_passes_without_being_remembered() -> None:
    """A RST without an entry is judged and leaves none."""
    one = history(TO_B, policy("x/out", pods(where="x", app="b"), egress=[]))
    assert one.words(tcp(A, B, RST), tcp(A, B, RST, 81)) == ["allow", "ingress-not-allowed"]
    assert not one.tracker.flows


@pytest.mark.parametrize("by_receiver", [False, True])
def test_a_new_generation_cuts_live_flows(by_receiver: bool) -> None:
    """A flow is judged again as it was opened, whichever side sends next; what is newly denied is cut."""
    one = opened(history(TO_B)).flip(CLOSED)
    sent = tcp(B, A, ACK, 40000, 80) if by_receiver else tcp(A, B, ACK)
    found = one.send(sent)
    assert (found.verdict, found.reason) == (Verdict.DENY, Reason.INGRESS_NOT_ALLOWED)
    assert age(one) is Age.CUT
    assert one.wait(500).word(sent) == "ingress-not-allowed"
    assert one.wait(500).flip(TO_B).word(sent) == "allow"
    assert age(one) is Age.TCP_OPEN


def test_a_new_generation_leaves_allowed_flows_alone() -> None:
    """Judged again and allowed, a flow keeps its state and carries the new generation's number."""
    one = opened(history(TO_B)).flip(gone=(("Policy", TO_B.key),))
    assert one.word(tcp(B, A, ACK, 40000, 80)) == "allow"
    (flow,) = one.tracker.flows.values()
    assert (flow.generation, flow.age) == (2, Age.TCP_OPEN)


def test_icmp_echo_is_a_flow() -> None:
    """The reply to an allowed echo passes, another identifier's does not, nor another type's."""
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    for ipv6, request, reply in ((False, 8, 0), (True, 128, 129)):
        one = history(silent)
        assert one.words(
            icmp(A, B, request, ipv6=ipv6),
            icmp(B, A, reply, ipv6=ipv6),
            icmp(B, A, reply, identifier=8, ipv6=ipv6),
            icmp(B, A, 14 if not ipv6 else 140, ipv6=ipv6),
        ) == ["allow", "allow", "egress-not-allowed", "egress-not-allowed"]


def test_evicting_a_flow_forgets_it() -> None:
    """After an eviction replies are judged like any packet."""
    silent = policy("x/out", pods(where="x", app="b"), egress=[])
    one = history(silent)
    one.word(udp(A, B))
    key = flow_key(1, Side(1, A.addresses[0], 40000), Side(2, B.addresses[0], 53), 17)
    assert list(one.tracker.flows) == [key]
    one.tracker = one.tracker.evict(key)
    assert one.word(udp(B, A, 40000, 53)) == "egress-not-allowed"


def test_a_reused_address_inherits_nothing() -> None:
    """A new endpoint at an old one's address has another incarnation, and so none of its flows."""
    one = opened(history(TO_B, policy("x/out", pods(where="x", app="b"), egress=[])))
    heir = Endpoint("x", "heir", A.addresses)
    link = Attachment(heir.key, 9, 9, 109, bytes(6), bytes(6))
    one.flip(heir, link, gone=(("Endpoint", A.key), ("Attachment", A.key)))
    assert one.word(tcp(heir, B, ACK)) == "ingress-not-allowed"


def test_what_came_through_the_stack_goes_back_there() -> None:
    """Replies to the outside and to the host go to the stack."""
    one = history()
    assert one.send(tcp(OUTSIDE, B, SYN)).delivery is Delivery.ENDPOINT
    assert one.send(tcp(B, OUTSIDE, SYN | ACK, 40000, 80)).delivery is Delivery.STACK
    assert one.send(tcp("10.244.0.1", B, SYN, by=50000)).endpoint == B.key
    assert one.send(tcp(B, A, SYN | ACK, 50000, 80)).delivery is Delivery.STACK


def test_the_hosts_own_flows_are_judged_again_as_its_own() -> None:
    """Isolating a pod cuts forwarded connections to it, not the host's own."""
    host = "172.18.0.2"
    one = history()
    sent = tcp(host, B, SYN, entry=Entry.HOST)
    assert one.word(sent) == "allow"
    one.word(tcp(OUTSIDE, B, SYN))
    one.flip(CLOSED)
    assert one.words(tcp(B, host, SYN | ACK, 40000, 80), tcp(B, OUTSIDE, SYN | ACK, 40000, 80)) == [
        "allow",
        "ingress-not-allowed",
    ]

"""The reference tracker: hops, what a link takes, and who is told of it."""

from __future__ import annotations

import msgspec
import pytest
from histories import ACK, SYN, History, icmp, tcp, udp
from policy_worlds import attached, namespace, pod, policy, world

from cloche.model.flow import ANSWER_NS, ANSWERS_AT_ONCE, SECOND, Decision, Delivery, Fragment, Packet

A, B = pod("x/a", 1), pod("x/b", 2)
OUTSIDE, HOST = "203.0.113.9", "172.18.0.2"


def history(mtu: int = 1500) -> History:
    """Two pods, B behind a link of this MTU."""
    links = attached(A, B)
    return History(world(namespace("x"), A, B, links[0], msgspec.structs.replace(links[1], mtu=mtu)))


def said(found: Decision) -> tuple[str, str]:
    """Reason and delivery, as words."""
    return found.reason.shown, found.delivery.name


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize(
    ("ttl", "expected"), [(0, "ttl"), (1, "ttl"), (2, "none"), (64, "none"), (255, "none")]
)
def test_the_last_hop_is_not_passed_on(ttl: int, expected: str, ipv6: bool) -> None:
    """Between endpoints a packet loses a hop; the last one takes it no further, and its sender is told."""
    found = history().send(tcp(A, B, SYN, ttl=ttl, ipv6=ipv6))
    if expected == "none":
        assert (*said(found), found.ttl) == ("none", "ENDPOINT", ttl - 1)
    else:
        assert said(found) == ("ttl", "BACK")


def test_only_what_comes_from_an_endpoint_loses_a_hop_here() -> None:
    """What the stack forwards lost it there; what goes to the stack will."""
    one = history()
    assert one.send(tcp(OUTSIDE, B, SYN, ttl=1)).ttl == 1
    assert said(one.send(tcp(A, OUTSIDE, SYN, ttl=1))) == ("none", "STACK")


@pytest.mark.parametrize(("length", "expected"), [(1400, "none"), (1401, "too-big"), (9000, "too-big")])
def test_what_the_link_does_not_take(length: int, expected: str) -> None:
    """From an endpoint and from the stack alike; the other way the other link counts."""
    one = history(mtu=1400)
    for source in (A, OUTSIDE):
        delivery = "ENDPOINT" if expected == "none" else "BACK"
        assert said(one.send(udp(source, B, length=length))) == (expected, delivery)
    assert one.word(udp(B, A, length=1500)) == "allow"
    assert history(mtu=0).word(udp(A, B, length=65535)) == "allow"


def test_what_is_turned_away_opens_nothing() -> None:
    """No entry, and an entry's state and age stay as they were."""
    one = history(mtu=1400)
    one.word(udp(A, B, ttl=1))
    one.word(udp(A, B, length=1401))
    assert not one.tracker.flows
    one.word(udp(A, B))
    before = one.tracker.flows
    one.wait(5).word(udp(B, A, 40000, 53, ttl=1))
    one.word(udp(A, B, length=1401))
    assert one.tracker.flows == before


def test_a_denied_packet_is_silent_whatever_its_hops() -> None:
    """Policy speaks first."""
    one = history(mtu=1400).flip(policy("x/p", ingress=[]))
    assert said(one.send(tcp(A, B, SYN, ttl=1))) == ("ingress-not-allowed", "NOWHERE")
    assert said(one.send(tcp(A, B, SYN, length=9000))) == ("ingress-not-allowed", "NOWHERE")


def unreachable(quoted: Packet, **more: object) -> Packet:
    """B's complaint to A about a packet of A's."""
    return icmp(B, A, 3, 3, 0, quoted=quoted, **more)


def test_errors_and_later_parts_are_not_answered() -> None:
    """They are dropped in silence; a first part is answered, and the others have its reason."""
    one = history(mtu=1400)
    about = udp(A, B)
    one.word(about)
    assert said(one.send(unreachable(about, ttl=1))) == ("ttl", "NOWHERE")
    assert one.send(unreachable(about, ttl=9)).ttl == 8
    first, later = Fragment(1, 0, 1400, True), Fragment(1, 1400, 8, False)
    assert said(one.send(udp(A, B, fragment=first, length=1420))) == ("too-big", "BACK")
    assert said(one.send(udp(A, B, fragment=later, length=28))) == ("too-big", "NOWHERE")
    first, later = Fragment(2, 0, 1000, True), Fragment(2, 1000, 8, False)
    assert one.send(udp(A, B, fragment=first, length=1020)).ttl == 63
    assert said(one.send(udp(A, B, fragment=later, length=28, ttl=1))) == ("ttl", "NOWHERE")


def test_what_came_for_many_is_not_answered() -> None:
    """A frame to the link's broadcast or multicast address is turned away in silence, and nobody's share."""
    one = history(mtu=1400)
    assert said(one.send(udp(A, B, ttl=1, for_many=True))) == ("ttl", "NOWHERE")
    assert said(one.send(udp(A, B, length=1401, for_many=True))) == ("too-big", "NOWHERE")
    assert one.send(udp(A, B, for_many=True)).ttl == 63


def test_answers_have_a_share() -> None:
    """So many at once for each endpoint, then one for each span; what is beyond is dropped all the same."""
    one = history(mtu=1400)
    dead = tcp(A, B, ACK, ttl=1)
    words = [said(one.send(dead)) for _ in range(ANSWERS_AT_ONCE + 1)]
    assert words == [("ttl", "BACK")] * ANSWERS_AT_ONCE + [("ttl", "NOWHERE")]
    assert said(one.send(tcp(B, A, ACK, ttl=1))) == ("ttl", "BACK")
    one.wait(ANSWER_NS / SECOND)
    assert [one.send(dead).delivery for _ in range(2)] == [Delivery.BACK, Delivery.NOWHERE]


def test_the_stack_is_told_on_the_receivers_account() -> None:
    """One receiver's share does not use up another's."""
    one = history(mtu=1400)
    for _ in range(ANSWERS_AT_ONCE):
        assert one.send(udp(OUTSIDE, B, length=1401)).delivery is Delivery.BACK
    assert one.send(udp(HOST, B, length=1401)).delivery is Delivery.NOWHERE
    assert said(one.send(tcp(A, B, SYN, ttl=1))) == ("ttl", "BACK")

"""The reference tracker: the door, delivery, fragments and ICMP errors."""

from __future__ import annotations

import pytest
from histories import ACK, GATEWAY, HAIRPIN, SYN, History, icmp, tcp, udp
from policy_worlds import attached, namespace, packet, pod, pods, policy, world

from cloche.model.address import parse_address
from cloche.model.flow import Delivery, Entry, Fragment, Packet, Verdict
from cloche.model.policy import Policy
from cloche.model.topology import ICMPV6, TCP, UDP, Attachment

A, B = pod("x/a", 1, {"app": "a"}), pod("x/b", 2, {"app": "b"})
OUTSIDE = "203.0.113.9"
CLOSED = policy("x/p", pods(where="x", app="b"), ingress=[])
SILENT = policy("x/out", pods(where="x", app="b"), egress=[])


def history(*policies: Policy) -> History:
    """Pods a and b, and these policies."""
    return History(world(namespace("x"), A, B, *attached(A, B), *policies))


def from_a(source: str, destination: str, **more: object) -> Packet:
    """A UDP packet on a's link with any addresses."""
    return packet(source, destination, 53, protocol=UDP, entry=Entry.ENDPOINT, sender=A.key, **more)


DOOR = [
    (from_a("0.0.0.0", OUTSIDE), "martian"),
    (from_a("127.0.0.1", OUTSIDE), "martian"),
    (from_a("224.0.0.1", OUTSIDE), "martian"),
    (from_a("240.0.0.1", OUTSIDE), "martian"),
    (from_a("255.255.255.255", OUTSIDE), "martian"),
    (from_a("::", "2001:db8::1"), "martian"),
    (from_a("::1", "2001:db8::1"), "martian"),
    (from_a("169.254.3.4", OUTSIDE), "link-local"),
    (from_a("fe80::1", "2001:db8::1"), "link-local"),
    (from_a("10.244.0.2", OUTSIDE), "spoofed-address"),
    (from_a(OUTSIDE, "10.244.0.2"), "spoofed-address"),
    (udp(A, B, by=67), "dhcp-server"),
    (udp(A, B, by=547), "allow"),
    (udp(A, B, by=547, ipv6=True), "dhcp-server"),
    (udp(A, "255.255.255.255"), "broadcast"),
    (udp(A, "224.0.0.251"), "multicast"),
    (udp(A, "ff02::1", ipv6=True), "multicast"),
    (udp(A, "0.0.0.0"), "martian"),
    (udp(A, "127.0.0.53"), "martian"),
    (udp(A, "250.0.0.1"), "martian"),
    (udp(A, "169.254.169.254"), "link-local"),
    (udp(A, GATEWAY), "link-local"),
    (udp(A, "fe80::2", ipv6=True), "link-local"),
    (icmp(A, "ff02::1", 134, ipv6=True), "router-advertisement"),
    (icmp(A, "ff02::2", 133, ipv6=True), "neighbour"),
    (icmp(A, "ff02::1", 136, ipv6=True), "neighbour"),
    (icmp(A, B, 137, ipv6=True), "neighbour"),
    (icmp(A, B, 135, ipv6=True), "neighbour"),
    (icmp(A, B, 135), "allow"),
    (udp(OUTSIDE, "224.0.0.251"), "multicast"),
    (udp(OUTSIDE, "169.254.0.9"), "link-local"),
    (udp("127.0.0.1", B), "martian"),
    (udp(HAIRPIN, B), "martian"),
    (udp("10.244.0.1", B), "allow"),
    (packet(B, A, sender="x/gone", entry=Entry.ENDPOINT), "unknown-link"),
]


@pytest.mark.parametrize(("sent", "expected"), DOOR)
def test_the_door(sent: Packet, expected: str) -> None:
    """Spoofed, martian and link-local packets, and the protocols of routers, are refused for their reason."""
    assert history().word(sent) == expected


def test_no_generation_no_packet() -> None:
    """Before the first generation nothing passes."""
    one = history()
    one.generation = 0
    assert one.word(udp(A, B)) == "no-generation"


def test_a_link_without_its_endpoint_is_closed() -> None:
    """A link whose endpoint is not, or no longer, known sends nothing."""
    one = history()
    one.change(Attachment("x/new", 3, 3, 103, bytes(6), bytes(6)))
    assert one.word(packet("10.244.0.3", B, entry=Entry.ENDPOINT, sender="x/new")) == "closed"


SOLICITED = [
    ("fd00:244::1", "fd00:244::2", True),
    ("fd00:244::1", "fd00:244::77", True),
    ("fd00:244::1", "fe80::1", True),
    ("fe80::1", "fd00:244::2", True),
    ("fd00:244::1", "fd00:244::1", False),
    ("fd00:244::2", "fd00:244::77", False),
    ("::", "fd00:244::2", False),
    ("fd00:244::1", "2001:db8::1", False),
]


@pytest.mark.parametrize(("source", "target", "answered"), SOLICITED)
def test_neighbour_solicitations(source: str, target: str, answered: bool) -> None:
    """Asked for the gateway or another address of our ranges, by the endpoint itself, it is answered."""
    sent = Packet(
        parse_address(source),
        parse_address("ff02::1:ff00:1"),
        ICMPV6,
        sender=A.key,
        icmp=135 << 8,
        target=parse_address(target),
    )
    found = history().send(sent)
    assert (found.verdict, found.delivery) == (
        (Verdict.ALLOW, Delivery.BACK) if answered else (Verdict.DENY, Delivery.NOWHERE)
    )


DELIVERIES = [
    (udp(A, B), "allow", Delivery.ENDPOINT, "x/b"),
    (udp(A, OUTSIDE), "allow", Delivery.STACK, ""),
    (udp(A, "172.18.0.2"), "allow", Delivery.STACK, ""),
    (udp(A, "10.244.0.99"), "unknown-destination", Delivery.NOWHERE, ""),
    (udp(A, HAIRPIN), "unknown-destination", Delivery.NOWHERE, ""),
    (udp(OUTSIDE, A), "allow", Delivery.ENDPOINT, "x/a"),
    (udp(OUTSIDE, "10.244.0.99"), "unknown-destination", Delivery.NOWHERE, ""),
    (udp(OUTSIDE, "198.51.100.1"), "unknown-destination", Delivery.NOWHERE, ""),
]


@pytest.mark.parametrize(("sent", "word", "delivery", "endpoint"), DELIVERIES)
def test_delivery(sent: Packet, word: str, delivery: Delivery, endpoint: str) -> None:
    """Endpoints get their packets, the stack what is outside or the host's; nobody's leave no flow."""
    one = history()
    found = one.send(sent)
    assert (found.verdict is Verdict.ALLOW, found.delivery, found.endpoint) == (
        word == "allow",
        delivery,
        endpoint,
    )
    assert bool(one.tracker.flows) == (word == "allow")


def test_policy_speaks_before_delivery() -> None:
    """A denied packet to nobody's address names the policy."""
    silent = policy("x/out", pods(where="x", app="a"), egress=[])
    assert history(silent).word(udp(A, "10.244.0.99")) == "egress-not-allowed"


def part(offset: int, length: int, more: bool, name: int = 5, protocol: int = UDP) -> Packet:
    """A fragment of a datagram from a to b."""
    ports = {"by": 40000, "to": 53} if offset == 0 else {"by": 0, "to": 0}
    return (
        udp(A, B, **ports, fragment=Fragment(name, offset, length, more))
        if protocol == UDP
        else packet(
            A, B, 80, tcp_flags=int(SYN), protocol=protocol, fragment=Fragment(name, offset, length, more)
        )
    )


def test_later_fragments_take_the_firsts_verdict() -> None:
    """Allowed or denied, in any order after the first; when all was seen the entry goes."""
    for policies, expected in (((), "allow"), ((CLOSED,), "ingress-not-allowed")):
        one = history(*policies)
        assert one.words(part(0, 800, True), part(1600, 100, False), part(800, 800, True)) == [expected] * 3
        assert not one.tracker.fragments
        assert one.word(part(800, 800, True)) == "fragment-first-missing"


FRAGMENTS = [
    ([part(800, 800, True)], "fragment-first-missing"),
    ([part(0, 800, True), part(792, 800, True)], "fragment-overlap"),
    ([part(0, 800, True), part(0, 800, True)], "fragment-overlap"),
    ([part(0, 800, True), part(800, 100, False, name=6)], "fragment-first-missing"),
    ([part(0, 16, True, protocol=TCP)], "fragment-overlap"),
    ([part(0, 24, True, protocol=TCP)], "allow"),
    ([part(0, 804, True)], "malformed"),
    ([part(0, 800, True), part(65528, 8, False)], "malformed"),
    ([part(0, 800, True), part(65528, 7, False)], "allow"),
    ([part(0, 800, False)], "allow"),
]


@pytest.mark.parametrize(("parts", "expected"), FRAGMENTS)
def test_fragments_that_do_not_fit(parts: list[Packet], expected: str) -> None:
    """Overlaps, repeats, orphans, tiny firsts and impossible lengths are refused for their reason."""
    assert history().words(*parts)[-1] == expected


def test_the_receiver_of_later_fragments_must_still_be_there() -> None:
    """When another endpoint has the address by now, what is left of the datagram is not for it."""
    one = history()
    one.word(part(0, 800, True))
    heir = pod("x/heir", 2)
    link = Attachment(heir.key, 9, 9, 109, bytes(6), bytes(6))
    one.change(heir, link, gone=(("Endpoint", B.key), ("Attachment", B.key)))
    assert one.word(part(800, 8, True)) == "closed"


def test_a_fragment_comes_too_late() -> None:
    """Half a minute after the first, later fragments are orphans."""
    one = history()
    one.word(part(0, 800, True))
    assert one.wait(30).word(part(800, 8, False)) == "fragment-first-missing"


def error(source: object, destination: object, quoted: Packet, kind: int = 3, **more: object) -> Packet:
    """An ICMP error (IPv4) about a packet."""
    return icmp(source, destination, kind, 1, 0, quoted=quoted, **more)  # type: ignore[arg-type]


def test_errors_about_an_allowed_flow_pass() -> None:
    """The flow's other end, or the stack, may report what became of a packet; no state changes."""
    one = history(SILENT)
    sent = udp(A, B)
    one.word(sent)
    kept = one.tracker
    for kind in (3, 4, 11, 12):
        assert one.word(error(B, A, sent, kind)) == "allow"
        assert one.word(error(OUTSIDE, A, sent, kind)) == "allow"
    assert one.tracker == kept


def test_unrelated_errors_are_refused() -> None:
    """No flow, not its sender's packet, a bystander's report, a redirect, a later part, or nothing quoted."""
    one = history()
    sent = udp(A, B)
    assert one.word(error(B, A, sent)) == "icmp-unrelated"
    one.word(sent)
    stranger = pod("x/c", 3)
    one.change(stranger, attached(A, B, stranger)[2])
    later = udp(A, B, fragment=Fragment(5, 800, 8, True))
    refused = [
        error(stranger, A, sent),
        error(A, B, sent),
        error(B, A, udp(A, B, by=40001)),
        error(B, A, sent, 5),
        error(B, A, later),
        icmp(B, A, 3),
    ]
    assert one.words(*refused) == ["icmp-unrelated"] * len(refused)
    assert one.wait(200).word(error(B, A, sent)) == "icmp-unrelated"


def test_errors_about_a_cut_flow_are_refused() -> None:
    """What the active generation denies has no errors either, also when no packet came since the flip."""
    one = history()
    sent = udp(A, B)
    one.word(sent)
    one.flip(CLOSED)
    assert one.word(error(B, A, sent)) == "icmp-unrelated"
    assert one.words(sent, error(B, A, sent)) == ["ingress-not-allowed", "icmp-unrelated"]


def test_errors_about_replies_pass() -> None:
    """The opener may report an error about what the receiver answered."""
    one = history(SILENT)
    one.words(tcp(A, B, SYN), tcp(B, A, SYN | ACK, 40000, 80))
    assert one.word(error(A, B, tcp(B, A, ACK, 40000, 80))) == "allow"

"""The program as a router between endpoints: hops, what a link takes, and what it answers."""

from __future__ import annotations

import struct

import pytest
from program_lab import ALT, OUTSIDE4, OUTSIDE6, SERVICE4, SERVICE6, WEB, Lab, allows, delivered

from cloche.datapath.testrun import Result
from cloche.model.flow import ANSWER_NS, ANSWERS_AT_ONCE, SECOND, Delivery
from cloche.model.policy import Direction
from cloche.model.topology import GATEWAY4, GATEWAY6
from frames import (
    ACK,
    SYN,
    TCP,
    UDP,
    Flow,
    IpOptions,
    Link,
    checksum_errors,
    fragments,
    hop_less,
    icmp,
    packet_of,
    tcp,
    udp,
    unreachable,
)

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
QUOTED = 128
PLAIN_TTL = 64


def said(result: Result) -> tuple[str, str]:
    """Reason and delivery, as words."""
    return result.reason.shown, result.delivery.name


def answer(packet: bytes, flow: Flow, ipv6: bool, mtu: int = 0) -> bytes:
    """What the gateway says of a packet: time exceeded, or with an MTU that it was too big."""
    sender = GATEWAY6 if ipv6 else GATEWAY4
    kind, code = ((2, 0) if mtu else (3, 0)) if ipv6 else ((3, 4) if mtu else (11, 0))
    extra = IpOptions(PLAIN_TTL, dont_fragment=True)
    return icmp(Flow(sender, flow.source), kind, code, struct.pack("!I", mtu) + packet[:QUOTED], extra)


@FAMILIES
@pytest.mark.parametrize("payload", [b"", bytes(1000)])
def test_time_exceeded(lab: Lab, ipv6: bool, payload: bytes) -> None:
    """The last hop ends here: the sender gets its packet quoted, from its gateway's MAC and address."""
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    for ttl in (0, 1):
        packet = udp(flow, payload, extra=IpOptions(ttl))
        result = lab.send(lab.a, packet)
        assert said(result) == ("ttl", "BACK")
        assert result.frame[:12] == lab.a.mac + lab.a.gateway_mac
        assert packet_of(result.frame) == answer(packet, flow, ipv6)


@FAMILIES
def test_every_other_packet_loses_one_hop(lab: Lab, ipv6: bool) -> None:
    """Every TTL and many identifications: the header's checksum equals one computed anew."""
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    for ttl in range(2, 256):
        for identity in (0, ttl * 257, 0xFFFF - ttl):
            packet = udp(flow, extra=IpOptions(ttl, identity))
            assert delivered(lab.send(lab.a, packet), lab.b) == hop_less(packet)


@FAMILIES
def test_the_stack_counts_its_own_hops(lab: Lab, ipv6: bool) -> None:
    """What the stack forwards or the host sends arrives as it was, what goes to the stack too."""
    flow = Flow(OUTSIDE6 if ipv6 else OUTSIDE4, lab.b.address(ipv6))
    packet = udp(flow, extra=IpOptions(1))
    assert delivered(lab.send_stack(packet), lab.b) == packet
    outward = lab.send(lab.b, udp(flow.back(), extra=IpOptions(1)))
    assert said(outward) == ("none", "STACK")
    assert packet_of(outward.frame) == udp(flow.back(), extra=IpOptions(1))


@FAMILIES
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_too_big(lab: Lab, ipv6: bool, protocol: int) -> None:
    """To the byte; the answer says what the link takes and quotes the packet."""
    lab.put_endpoint(lab.b, mtu=1300)
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    headers = (40 if ipv6 else 20) + (20 if protocol == TCP else 8)
    for length, expected in ((1300, ("none", "ENDPOINT")), (1301, ("too-big", "BACK"))):
        payload = bytes(length - headers)
        packet = tcp(flow, SYN, payload) if protocol == TCP else udp(flow, payload)
        result = lab.send(lab.a, packet)
        assert said(result) == expected
    assert packet_of(result.frame) == answer(packet, flow, ipv6, 1300)


@FAMILIES
def test_segments_are_measured_one_by_one(lab: Lab, ipv6: bool) -> None:
    """What the kernel cuts later is as big as its longest segment, with all its headers."""
    lab.put_endpoint(lab.b, mtu=1300)
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    ip_header = 40 if ipv6 else 20
    for packet, header in ((tcp(flow, ACK, bytes(2800)), 20), (udp(flow, bytes(2800)), 8)):
        fits = 1300 - ip_header - header
        assert said(lab.send(lab.a, packet, segment=fits)) == ("none", "ENDPOINT")
        assert said(lab.send(lab.a, packet, segment=fits + 1)) == ("too-big", "BACK")
        assert said(lab.send(lab.a, packet)) == ("too-big", "BACK")
        short = lab.send(lab.a, packet, segment=fits + 1)
        assert packet_of(short.frame) == answer(packet, flow, ipv6, 1300)


def test_tcp_options_count(lab: Lab) -> None:
    """A segment's header is as long as it says."""
    lab.put_endpoint(lab.b, mtu=1300)
    packet = bytearray(tcp(Flow(lab.a.four, lab.b.four), ACK, bytes(2800)))
    packet[32] = 8 << 4  # twelve bytes of options, zeros
    assert said(lab.send(lab.a, bytes(packet), segment=1300 - 20 - 32)) == ("none", "ENDPOINT")
    assert said(lab.send(lab.a, bytes(packet), segment=1300 - 20 - 31)) == ("too-big", "BACK")


@FAMILIES
def test_the_stack_is_told_by_the_receiver(lab: Lab, ipv6: bool) -> None:
    """Whoever sent through the stack hears the address it called: the gateway's lead nowhere outside."""
    lab.put_endpoint(lab.b, mtu=1300)
    flow = Flow(OUTSIDE6 if ipv6 else OUTSIDE4, lab.b.address(ipv6))
    packet = udp(flow, bytes(1400))
    result = lab.send_stack(packet)
    assert said(result) == ("too-big", "BACK")
    kind, code = (2, 0) if ipv6 else (3, 4)
    extra = IpOptions(PLAIN_TTL, dont_fragment=True)
    told = struct.pack("!I", 1300) + packet[:QUOTED]
    assert packet_of(result.frame) == icmp(flow.back(), kind, code, told, extra)


@FAMILIES
def test_behind_a_service_the_packet_is_quoted_as_it_was_sent(lab: Lab, ipv6: bool) -> None:
    """The client never hears of the backend; the backend's answers are told to the backend alike."""
    lab.put_endpoint(lab.b, mtu=1300)
    lab.serve(WEB, UDP, [(lab.b.address(ipv6), ALT)])
    flow = Flow(lab.a.address(ipv6), SERVICE6 if ipv6 else SERVICE4, 40000, WEB)
    big, dead = udp(flow, bytes(1400)), udp(flow, extra=IpOptions(1))
    assert packet_of(lab.send(lab.a, big).frame) == answer(big, flow, ipv6, 1300)
    assert packet_of(lab.send(lab.a, dead).frame) == answer(dead, flow, ipv6)
    towards = Flow(flow.source, lab.b.address(ipv6), 40000, ALT)
    assert delivered(lab.send(lab.a, udp(flow)), lab.b) == hop_less(udp(towards))
    reply = udp(towards.back(), extra=IpOptions(1))
    assert packet_of(lab.send(lab.b, reply).frame) == answer(reply, towards.back(), ipv6)


@FAMILIES
def test_policy_speaks_first(lab: Lab, ipv6: bool) -> None:
    """A denied packet is dropped in silence, its hops and length whatever they are."""
    lab.isolate(lab.b, Direction.INGRESS, allows((3, 2)))
    lab.put_endpoint(lab.b, sets=(0, lab.sets), mtu=1300)
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    for packet in (udp(flow, extra=IpOptions(1)), udp(flow, bytes(1400))):
        assert said(lab.send(lab.a, packet)) == ("ingress-not-allowed", "NOWHERE")


@FAMILIES
def test_what_is_turned_away_leaves_no_trace(lab: Lab, ipv6: bool) -> None:
    """It opens no flow, and moves none on."""
    lab.put_endpoint(lab.b, mtu=1300)
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    flows = lab.engine.loaded.maps.flows
    lab.send(lab.a, udp(flow, extra=IpOptions(1)))
    lab.send(lab.a, udp(flow, bytes(1400)))
    assert not list(flows.items())
    lab.send(lab.a, udp(flow))
    (before,) = flows.items()
    lab.wait(5)
    lab.send(lab.a, udp(flow, bytes(1400)))
    lab.send(lab.b, udp(flow.back(), extra=IpOptions(1)))
    assert list(flows.items()) == [before]


@FAMILIES
def test_an_error_is_never_answered(lab: Lab, ipv6: bool) -> None:
    """An ICMP error that passes loses a hop; with its last one it is dropped in silence."""
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    sent = udp(flow)
    lab.send(lab.a, sent)
    kind, code = (1, 4) if ipv6 else (3, 3)

    def complaint(ttl: int) -> bytes:
        return icmp(flow.back(), kind, code, bytes(4) + sent, IpOptions(ttl))

    assert complaint(64) == unreachable(flow.back(), sent)
    assert delivered(lab.send(lab.b, complaint(2)), lab.a) == hop_less(complaint(2))
    assert said(lab.send(lab.b, complaint(1))) == ("ttl", "NOWHERE")


@FAMILIES
def test_of_a_datagram_in_parts_the_first_is_answered(lab: Lab, ipv6: bool) -> None:
    """Later parts have its reason and are dropped in silence; one that is too big for itself too."""
    lab.put_endpoint(lab.b, mtu=1300)
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    parts = fragments(udp(flow, bytes(4000)), 1400)
    results = [lab.send(lab.a, one) for one in parts]
    assert [said(result) for result in results] == [("too-big", "BACK")] + [("too-big", "NOWHERE")] * 2
    assert packet_of(results[0].frame) == answer(parts[0], flow, ipv6, 1300)
    small, large = (
        fragments(udp(flow, bytes(4000)), 1200, 7)[0],
        fragments(udp(flow, bytes(4000)), 1400, 7)[1],
    )
    assert [said(lab.send(lab.a, one)) for one in (small, large)] == [
        ("none", "ENDPOINT"),
        ("too-big", "NOWHERE"),
    ]


@FAMILIES
def test_what_came_for_many_is_not_answered(lab: Lab, ipv6: bool) -> None:
    """A frame to the link's broadcast or multicast address with one receiver's IP address: silence."""
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    for mac in (b"\xff" * 6, bytes.fromhex("01005e000001")):
        result = lab.send(lab.a, udp(flow, extra=IpOptions(1)), Link(lab.a.mac, mac))
        assert said(result) == ("ttl", "NOWHERE")


def test_answers_have_a_share(lab: Lab) -> None:
    """So many at once for each endpoint, then one for each span; others have their own."""
    packet = udp(Flow(lab.a.four, lab.b.four), extra=IpOptions(1))
    found = [lab.send(lab.a, packet).delivery for _ in range(ANSWERS_AT_ONCE + 2)]
    assert found == [Delivery.BACK] * ANSWERS_AT_ONCE + [Delivery.NOWHERE] * 2
    assert said(lab.send(lab.b, udp(Flow(lab.b.four, lab.a.four), extra=IpOptions(1)))) == ("ttl", "BACK")
    lab.wait(ANSWER_NS / SECOND)
    assert [lab.send(lab.a, packet).delivery for _ in range(2)] == [Delivery.BACK, Delivery.NOWHERE]


def test_an_answers_checksums_hold(lab: Lab) -> None:
    """Whatever the length of what it answers."""
    for length in (0, 1, 7, 8, 100, 101, 1000, 3000):
        result = lab.send(lab.a, udp(Flow(lab.a.six, lab.b.six), bytes(length), extra=IpOptions(1)))
        assert checksum_errors(packet_of(result.frame)) == []

"""The one denial that answers: what a service without backends sends back, byte for byte."""

from __future__ import annotations

import pytest
from program_lab import HOST4, HOST6, SERVICE4, SERVICE6, STACK, STACK_PEER_MAC, WEB, Lab

from cloche.model.flow import Delivery, Verdict
from frames import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Flow,
    IpOptions,
    Link,
    checksum_errors,
    ethernet,
    ip,
    packet_of,
    sctp,
    tcp,
    udp,
    unreachable,
)

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def service(ipv6: bool) -> str:
    """The lab's service address of a family."""
    return SERVICE6 if ipv6 else SERVICE4


def to_service(lab: Lab, ipv6: bool = False) -> Flow:
    """From A to the service."""
    return Flow(lab.a.address(ipv6), service(ipv6))


def refusal(packet: bytes, flow: Flow, ipv6: bool) -> bytes:
    """The ICMP answer to a packet for a service without backends."""
    answer = unreachable(flow.back(), packet[:128])
    return answer if ipv6 else set_flags(answer, flow)


def set_flags(packet: bytes, flow: Flow) -> bytes:
    """The same IPv4 packet with don't-fragment set."""
    return ip(flow.destination, flow.source, packet[9], packet[20:], IpOptions(dont_fragment=True))


def empty(lab: Lab, ipv6: bool) -> None:
    """A service without backends, all protocols."""
    for protocol in (TCP, UDP, 132):
        lab.serve(WEB, protocol, [], ipv6=int(ipv6))


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "payload", "answer", "numbers"),
    [
        (SYN, b"", RST | ACK, (0, 1001)),
        (SYN, b"fast open", RST | ACK, (0, 1010)),
        (ACK, b"", RST, (555, 0)),
        (PSH | ACK, b"x" * 1000, RST, (555, 0)),
        (FIN, b"12", RST | ACK, (0, 1003)),
    ],
)
def test_tcp_is_refused_by_a_reset(
    lab: Lab, ipv6: bool, flags: int, payload: bytes, answer: int, numbers: tuple[int, int]
) -> None:
    """As a port that nobody listens on would (RFC 9293), from the service's address, in place."""
    empty(lab, ipv6)
    flow = to_service(lab, ipv6)
    result = lab.send(lab.a, tcp(flow, flags, payload, (1000, 555)))
    assert (result.verdict, result.reason.shown, result.delivery) == (
        Verdict.DENY,
        "no-backend",
        Delivery.BACK,
    )
    head = ip(flow.destination, flow.source, TCP, b"", IpOptions(dont_fragment=not ipv6))
    expected = tcp(flow.back(), answer, b"", numbers, IpOptions(dont_fragment=not ipv6))
    body = bytearray(expected)
    at = len(head)
    body[at + 14 : at + 16] = bytes(2)
    body[at + 16 : at + 18] = bytes(2)
    answered = packet_of(result.frame)
    assert checksum_errors(answered) == []
    seen = bytearray(answered)
    seen[at + 16 : at + 18] = bytes(2)
    assert bytes(seen) == bytes(body)
    assert result.frame[:12] == lab.a.mac + lab.a.gateway_mac
    assert result.retval == 7


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 8, 80, 81, 1400])
@pytest.mark.parametrize("build", [udp, sctp])
def test_udp_and_sctp_are_refused_by_port_unreachable(lab: Lab, build: object, size: int, ipv6: bool) -> None:
    """It quotes the packet as far as 128 bytes; every checksum is right."""
    assert callable(build)
    empty(lab, ipv6)
    flow = to_service(lab, ipv6)
    packet = build(flow, b"q" * size)
    result = lab.send(lab.a, packet)
    assert (result.reason.shown, result.delivery) == ("no-backend", Delivery.BACK)
    assert packet_of(result.frame) == refusal(packet, flow, ipv6)


@FAMILIES
def test_the_host_is_refused_through_the_stack(lab: Lab, ipv6: bool) -> None:
    """The answer goes to the stack's device, addressed to it."""
    empty(lab, ipv6)
    flow = Flow(HOST6 if ipv6 else HOST4, service(ipv6))
    result = lab.send_stack(udp(flow), host=True)
    assert result.frame == ethernet(Link(STACK_PEER_MAC, STACK.mac), refusal(udp(flow), flow, ipv6))


def test_a_refusal_of_a_packet_with_options(lab: Lab) -> None:
    """The answer has none of the packet's options or extension headers; the quote has them."""
    empty(lab, False)
    flow = to_service(lab)
    packet = tcp(flow, extra=IpOptions(options=bytes([1] * 40)))
    assert checksum_errors(packet_of(lab.send(lab.a, packet).frame)) == []
    packet = udp(flow, extra=IpOptions(options=bytes([1] * 40)))
    assert packet_of(lab.send(lab.a, packet).frame) == refusal(packet, flow, False)
    empty(lab, True)
    flow = to_service(lab, True)
    packet = udp(flow, extra=IpOptions(extensions=((60, bytes(7)),)))
    assert packet_of(lab.send(lab.a, packet).frame) == refusal(packet, flow, True)

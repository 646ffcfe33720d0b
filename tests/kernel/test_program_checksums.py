"""Translated packets byte for byte against packets built anew: every checksum an independent opinion."""

from __future__ import annotations

import random

import pytest
from program_lab import SERVICE4, SERVICE6, WEB, Lab, delivered

from cloche.model.topology import HAIRPIN4, HAIRPIN6
from frames import (
    ACK,
    ICMP,
    PSH,
    SCTP,
    SYN,
    TCP,
    UDP,
    Flow,
    IpOptions,
    checksum_errors,
    crc32c,
    hop_less,
    sctp,
    split,
    tcp,
    udp,
    unreachable,
)

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
PORTS = pytest.mark.parametrize("port", [WEB, 8080], ids=["same port", "other port"])
BUILDERS = {TCP: tcp, UDP: udp, SCTP: sctp}
PROTOCOLS = pytest.mark.parametrize("protocol", list(BUILDERS), ids=["tcp", "udp", "sctp"])


def build(protocol: int, flow: Flow, payload: bytes, extra: IpOptions) -> bytes:
    """A packet of any of the three protocols."""
    if protocol == TCP:
        return tcp(flow, PSH | ACK, payload, (7, 9), extra)
    return (udp if protocol == UDP else sctp)(flow, payload, extra=extra)


def test_the_known_crc32c() -> None:
    """The builder's CRC32c of the digits is the published one."""
    assert crc32c(b"123456789") == 0xE3069283


@FAMILIES
@PORTS
@PROTOCOLS
def test_there_and_back(lab: Lab, protocol: int, port: int, ipv6: bool) -> None:
    """Random payloads of many lengths, options and extension headers: both ways equal a fresh build."""
    draw = random.Random(f"{protocol} {port} {ipv6}")
    own, backend = lab.a.address(ipv6), lab.b.address(ipv6)
    lab.serve(WEB, protocol, [(backend, port)])
    extensions = ((60, bytes([1]) + bytes(14)), (0, bytes(7)))
    for round_ in range(60):
        length = draw.choice([0, 1, 2, 3, 4, 5, 7, 8, 100, 101, 1399, 1400])
        extra = IpOptions(ttl=draw.randrange(2, 256), id=draw.randrange(65536))
        if round_ % 3 == 0 and ipv6:
            extra = extra._replace(extensions=extensions[: 1 + round_ % 2])
        elif round_ % 3 == 0:
            extra = extra._replace(options=bytes([1] * 4 * draw.randrange(1, 10)))
        payload = draw.randbytes(length)
        by = draw.randrange(1, 65536)
        flow = Flow(own, SERVICE6 if ipv6 else SERVICE4, by, WEB)
        towards = Flow(own, backend, by, port)
        there = lab.send(lab.a, build(protocol, flow, payload, extra))
        assert delivered(there, lab.b) == hop_less(build(protocol, towards, payload, extra))
        back = lab.send(lab.b, build(protocol, towards.back(), payload, extra))
        assert delivered(back, lab.a) == hop_less(build(protocol, flow.back(), payload, extra))


@FAMILIES
@PROTOCOLS
def test_hairpin_there_and_back(lab: Lab, protocol: int, ipv6: bool) -> None:
    """Both addresses and a port change at once."""
    draw = random.Random(f"{protocol} {ipv6}")
    own, reserved = lab.a.address(ipv6), HAIRPIN6 if ipv6 else HAIRPIN4
    lab.serve(WEB, protocol, [(own, 8080)])
    for _ in range(30):
        payload, by = draw.randbytes(draw.randrange(200)), draw.randrange(1, 65536)
        flow = Flow(own, SERVICE6 if ipv6 else SERVICE4, by, WEB)
        turned = Flow(reserved, own, by, 8080)
        there = lab.send(lab.a, build(protocol, flow, payload, IpOptions()))
        assert delivered(there, lab.a) == hop_less(build(protocol, turned, payload, IpOptions()))
        back = lab.send(lab.a, build(protocol, turned.back(), payload, IpOptions()))
        assert delivered(back, lab.a) == hop_less(build(protocol, flow.back(), payload, IpOptions()))


def test_a_udp_checksum_of_zero_stays_zero(lab: Lab) -> None:
    """No checksum over IPv4 means none, before and after."""
    lab.serve(WEB, UDP, [(lab.b.four, 8080)])
    sent = udp(Flow(lab.a.four, SERVICE4), checksum=0)
    assert delivered(lab.send(lab.a, sent), lab.b) == hop_less(
        udp(Flow(lab.a.four, lab.b.four, 40000, 8080), checksum=0)
    )


def test_a_udp_checksum_that_comes_out_as_zero_is_written_as_ones(lab: Lab) -> None:
    """Some payload makes the translated sum zero; the wire then says 0xffff."""
    lab.serve(WEB, UDP, [(lab.b.four, 8080)])
    flow, towards = Flow(lab.a.four, SERVICE4), Flow(lab.a.four, lab.b.four, 40000, 8080)
    found = 0
    for word in range(65536):
        payload = word.to_bytes(2, "big")
        expected = udp(towards, payload)
        if expected[26:28] == b"\xff\xff":
            assert delivered(lab.send(lab.a, udp(flow, payload)), lab.b) == hop_less(expected)
            found += 1
            break
    assert found == 1


def test_a_partial_sctp_checksum_is_left_alone(lab: Lab) -> None:
    """A checksum of zero is still to be computed by whoever sends the packet."""
    lab.serve(WEB, SCTP, [(lab.b.four, 8080)])
    sent = sctp(Flow(lab.a.four, SERVICE4), checksum=0)
    expected = sctp(Flow(lab.a.four, lab.b.four, 40000, 8080), checksum=0)
    assert delivered(lab.send(lab.a, sent), lab.b) == hop_less(expected)


@PROTOCOLS
def test_a_wrong_checksum_stays_wrong(lab: Lab, protocol: int) -> None:
    """Translation does not repair what was broken on the way."""
    lab.serve(WEB, protocol, [(lab.b.four, 8080)])
    packet = bytearray(build(protocol, Flow(lab.a.four, SERVICE4), b"payload!", IpOptions()))
    packet[-1] ^= 0x55
    assert checksum_errors(delivered(lab.send(lab.a, bytes(packet)), lab.b)) != []


# --- ICMP errors about translated flows ---


def opened(lab: Lab, protocol: int, ipv6: bool, port: int, hairpin: bool = False) -> tuple[Flow, Flow]:
    """A flow of A to the service, as A wrote it and as its backend (B, or A itself) sees it."""
    own = lab.a.address(ipv6)
    backend = own if hairpin else lab.b.address(ipv6)
    lab.serve(WEB, protocol, [(backend, port)])
    flow = Flow(own, SERVICE6 if ipv6 else SERVICE4, 40000, WEB)
    reserved = HAIRPIN6 if ipv6 else HAIRPIN4
    towards = Flow(reserved if hairpin else own, backend, 40000, port)
    lab.send(lab.a, first(protocol, flow, b""))
    return flow, towards


def first(protocol: int, flow: Flow, payload: bytes) -> bytes:
    """A packet that opens a flow."""
    return tcp(flow, SYN, payload) if protocol == TCP else BUILDERS[protocol](flow, payload)


QUOTES = pytest.mark.parametrize("cut", [8, 12, 18, 20, 28, 200])


def quote(packet: bytes, upper: int) -> bytes:
    """The packet's IP header and ``upper`` bytes behind it."""
    return packet[: (20 if packet[0] >> 4 == 4 else 40) + upper]


@FAMILIES
@PORTS
@PROTOCOLS
@QUOTES
@pytest.mark.parametrize("hairpin", [False, True], ids=["pod", "itself"])
def test_the_backend_complains(
    lab: Lab, protocol: int, port: int, ipv6: bool, cut: int, hairpin: bool
) -> None:
    """An error about what the client sent: it sees its own packet quoted, by the service."""
    flow, towards = opened(lab, protocol, ipv6, port, hairpin)
    payload = bytes(range(100))
    sent = quote(first(protocol, towards, payload), cut)
    expected = unreachable(flow.back(), quote(first(protocol, flow, payload), cut))
    result = lab.send(lab.a if hairpin else lab.b, unreachable(towards.back(), sent))
    assert delivered(result, lab.a) == hop_less(expected)


@FAMILIES
@PORTS
@PROTOCOLS
@QUOTES
@pytest.mark.parametrize("hairpin", [False, True], ids=["pod", "itself"])
def test_the_client_complains(
    lab: Lab, protocol: int, port: int, ipv6: bool, cut: int, hairpin: bool
) -> None:
    """An error about an answer: the backend sees its own answer quoted."""
    flow, towards = opened(lab, protocol, ipv6, port, hairpin)
    payload = bytes(range(100))
    sent = quote(first(protocol, flow.back(), payload), cut)
    expected = unreachable(towards, quote(first(protocol, towards.back(), payload), cut))
    result = lab.send(lab.a, unreachable(flow, sent))
    assert delivered(result, lab.a if hairpin else lab.b) == hop_less(expected)


@FAMILIES
def test_a_router_complains(lab: Lab, ipv6: bool) -> None:
    """From the stack: the router's address stays, the quote is translated back, next-hop MTU untouched."""
    flow, towards = opened(lab, UDP, ipv6, 8080)
    router = "2001:db8::fe" if ipv6 else "203.0.113.254"
    kind, code = (2, 0) if ipv6 else (3, 4)

    def complain(about: Flow) -> bytes:
        return unreachable(Flow(router, flow.source), quote(udp(about, bytes(60)), 60), kind, code)

    assert delivered(lab.send_stack(complain(towards)), lab.a) == complain(flow)


def test_a_quoted_udp_checksum_of_zero_stays_zero(lab: Lab) -> None:
    """Also inside a quote."""
    flow, towards = opened(lab, UDP, False, 8080)
    expected = unreachable(flow.back(), udp(flow, checksum=0))
    sent = unreachable(towards.back(), udp(towards, checksum=0))
    assert delivered(lab.send(lab.b, sent), lab.a) == hop_less(expected)


@FAMILIES
def test_a_quoted_udp_checksum_that_comes_to_zero_is_written_as_ones(lab: Lab, ipv6: bool) -> None:
    """As a sender writes it, since zero means none."""
    flow, towards = opened(lab, UDP, ipv6, 8080)
    rest = split(udp(flow, bytes(2)))[3][6:8]
    assert split(udp(flow, rest))[3][6:8] == b"\xff\xff"
    sent = unreachable(towards.back(), udp(towards, rest))
    assert delivered(lab.send(lab.b, sent), lab.a) == hop_less(unreachable(flow.back(), udp(flow, rest)))


def test_a_quoted_sctp_checksum_of_zero_stays_zero(lab: Lab) -> None:
    """Left to the receiver, it is not known (RFC 9653)."""
    flow, towards = opened(lab, SCTP, False, 8080)
    expected = unreachable(flow.back(), sctp(flow, checksum=0))
    sent = unreachable(towards.back(), sctp(towards, checksum=0))
    assert delivered(lab.send(lab.b, sent), lab.a) == hop_less(expected)


def test_quotes_with_options_and_extension_headers(lab: Lab) -> None:
    """The quoted ports are found behind them."""
    for ipv6, extra in (
        (False, IpOptions(options=bytes([1] * 8))),
        (True, IpOptions(extensions=((0, bytes(7)), (60, bytes([1]) + bytes(14))))),
    ):
        lab.engine.forget("flows")
        flow, towards = opened(lab, UDP, ipv6, 8080)
        result = lab.send(lab.b, unreachable(towards.back(), udp(towards, b"quoted", extra=extra)))
        packet = delivered(result, lab.a)
        assert packet == hop_less(unreachable(flow.back(), udp(flow, b"quoted", extra=extra)))
        assert split(packet)[2] in (ICMP, 58)

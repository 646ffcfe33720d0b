"""The program's first questions: who may send what at all, and what is answered on the spot."""

from __future__ import annotations

import struct

import pytest
from program_lab import (
    HOST4,
    NOBODY4,
    NOBODY6,
    OUTSIDE4,
    OUTSIDE6,
    SERVICE4,
    STACK,
    Lab,
    Pod,
)

from cloche.datapath.layout import EndpointState
from cloche.model.address import parse_address
from cloche.model.flow import Delivery, Verdict
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4
from cloche.tables.schema import AddressFlag, Flip, Put
from frames import (
    ARP,
    Arp,
    Flow,
    IpOptions,
    Link,
    advertisement,
    checksum_errors,
    echo,
    ethernet,
    fragments,
    icmp,
    ip,
    packet_of,
    raw,
    sctp,
    solicitation,
    tcp,
    udp,
)

ALL_NODES = "ff02::1"
OWN_MAC = b"\x01\x01" + bytes(6)


def sent(lab: Lab, pod: Pod, frame: bytes) -> str:
    """What becomes of a frame, in a word."""
    return lab.word(lab.send_frame(pod, frame))


def test_without_a_generation_everything_is_denied(lab: Lab) -> None:
    """Before the first generation not even ARP or ND are answered, and the host reaches no endpoint."""
    lab.engine.write([Flip(0)])
    request = Arp(lab.a.mac, lab.a.four, bytes(6), GATEWAY4).pack()
    assert sent(lab, lab.a, ethernet(Link(lab.a.mac, b"\xff" * 6), request, ARP)) == "no-generation"
    assert lab.word_of(lab.a, solicitation(Flow(lab.a.six, "ff02::1:ff00:1"), GATEWAY6)) == "no-generation"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four))) == "no-generation"
    assert lab.word_of_stack(tcp(Flow(HOST4, lab.a.four)), host=True) == "no-generation"


def test_a_link_that_no_endpoint_has_is_unknown(lab: Lab) -> None:
    """A frame on any other device is refused, also while the link's endpoint is not there yet."""
    stranger = lab.a._replace(ifindex=lab.devices[5])
    assert lab.word_of(stranger, tcp(Flow(lab.a.four, lab.b.four))) == "unknown-link"
    lab.engine.write([Put("links", lab.devices[5], 9)])
    assert lab.word_of(stranger, tcp(Flow(lab.a.four, lab.b.four))) == "unknown-link"


def test_a_gateway_is_no_destination_whatever_its_address(lab: Lab) -> None:
    """One that is no link-local address either."""
    lab.engine.write([lab.address(parse_address(NOBODY4), flags=AddressFlag.GATEWAY)])
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, NOBODY4))) == "link-local"
    assert lab.word_of_stack(tcp(Flow(OUTSIDE4, NOBODY4))) == "link-local"


def test_a_closed_endpoint_sends_nothing_and_gets_nothing(lab: Lab) -> None:
    """Closed: its own packets and ARP, and what others or the host send to it."""
    assert lab.word_of(lab.d, tcp(Flow(lab.d.four, lab.a.four))) == "closed"
    request = Arp(lab.d.mac, lab.d.four, bytes(6), GATEWAY4).pack()
    assert sent(lab, lab.d, ethernet(Link(lab.d.mac, b"\xff" * 6), request, ARP)) == "closed"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.six, lab.d.six))) == "closed"
    assert lab.word_of_stack(tcp(Flow(HOST4, lab.d.four)), host=True) == "closed"


def test_an_endpoint_that_closes_cuts_its_open_flow(lab: Lab) -> None:
    """A live flow does not pass once its receiver is closed."""
    packet = udp(Flow(lab.a.four, lab.b.four))
    assert lab.word_of(lab.a, packet) == "b"
    lab.put_endpoint(lab.b, state=EndpointState.CLOSED)
    assert lab.word_of(lab.a, packet) == "closed"


def test_the_source_mac_must_be_the_endpoints(lab: Lab) -> None:
    """Another MAC is refused before anything else is read."""
    frame = ethernet(Link(lab.b.mac, lab.a.gateway_mac), tcp(Flow(lab.a.four, lab.b.four)))
    assert sent(lab, lab.a, frame) == "spoofed-mac"


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x0027, 0x88CC, 0x8847])
def test_only_ip_and_arp_are_spoken(lab: Lab, ethertype: int) -> None:
    """VLAN tags, LLC lengths and other protocols are refused."""
    frame = ethernet(Link(lab.a.mac, lab.a.gateway_mac), bytes(60), ethertype)
    assert sent(lab, lab.a, frame) == "ethertype"


def test_the_host_speaks_only_ip_to_endpoints(lab: Lab) -> None:
    """ARP from the stack is ``neighbour``, anything else that is not IP ``ethertype``."""
    for ethertype, word in ((ARP, "neighbour"), (0x8100, "ethertype")):
        frame = ethernet(Link(STACK.mac, lab.a.mac), bytes(60), ethertype)
        assert lab.word(lab.engine.run("from_stack", frame, lab.devices[0])) == word


# --- ARP ---


@pytest.mark.parametrize("target", [GATEWAY4, "10.244.0.12", NOBODY4])
def test_arp_is_answered_with_the_gateways_mac(lab: Lab, target: str) -> None:
    """For the gateway and for every other address of our ranges, whether somebody has it or not."""
    request = Arp(lab.a.mac, lab.a.four, bytes(6), target).pack()
    result = lab.send_frame(lab.a, ethernet(Link(lab.a.mac, b"\xff" * 6), request, ARP))
    assert result.delivery is Delivery.BACK
    answer = Arp(lab.a.gateway_mac, target, lab.a.mac, lab.a.four, 2).pack()
    assert result.frame == ethernet(Link(lab.a.gateway_mac, lab.a.mac), answer, ARP)


def bad_requests(pod: Pod, other: Pod) -> list[bytes]:
    """ARP that is not answered: probes, gratuitous, spoofed, answers, for others, cut short, odd."""
    zero = bytes(6)
    good = Arp(pod.mac, pod.four, zero, GATEWAY4).pack()
    return [
        Arp(pod.mac, "0.0.0.0", zero, NOBODY4).pack(),
        Arp(pod.mac, pod.four, zero, pod.four).pack(),
        Arp(pod.mac, other.four, zero, GATEWAY4).pack(),
        Arp(other.mac, pod.four, zero, GATEWAY4).pack(),
        Arp(pod.mac, pod.four, zero, GATEWAY4, 2).pack(),
        Arp(pod.mac, pod.four, zero, OUTSIDE4).pack(),
        Arp(pod.mac, pod.four, zero, SERVICE4).pack(),
        good[:27],
        b"\x00\x06" + good[2:],
        good[:2] + b"\x86\xdd" + good[4:],
        good[:4] + b"\x08\x04" + good[6:],
    ]


@pytest.mark.parametrize("index", range(11))
def test_other_arp_is_refused(lab: Lab, index: int) -> None:
    """Nothing else in ARP is answered or passed on."""
    request = bad_requests(lab.a, lab.b)[index]
    assert sent(lab, lab.a, ethernet(Link(lab.a.mac, b"\xff" * 6), request, ARP)) == "neighbour"


# --- neighbour discovery ---


@pytest.mark.parametrize("option", [b"", OWN_MAC, OWN_MAC + b"\x0e\x01" + bytes(6)])
@pytest.mark.parametrize("source", ["own", "fe80::77"])
@pytest.mark.parametrize("target", [GATEWAY6, "fd00:244::12", NOBODY6])
def test_nd_is_answered_with_the_gateways_mac(lab: Lab, target: str, source: str, option: bytes) -> None:
    """From the endpoint's own or a link-local address, for the gateway and every other address of ours."""
    asking = lab.a.six if source == "own" else source
    result = lab.send(lab.a, solicitation(Flow(asking, "ff02::1:ff00:12"), target, option))
    assert result.delivery is Delivery.BACK
    flags = 0xE0 if target == GATEWAY6 else 0x60
    answer = advertisement(Flow(target, asking), target, lab.a.gateway_mac, flags)
    assert result.frame == ethernet(Link(lab.a.gateway_mac, lab.a.mac), answer)
    assert checksum_errors(packet_of(result.frame)) == []


def test_other_nd_is_refused(lab: Lab) -> None:
    """Probes, other hop limits and codes, other sources and targets, other messages: none pass."""
    a, multicast = lab.a.six, "ff02::1:ff00:12"
    target, mapped = raw(lab.b.six), bytes(10) + b"\xff\xff" + raw(lab.b.four)
    far = IpOptions(ttl=255)
    for packet in (
        solicitation(Flow("::", multicast), lab.b.six),
        solicitation(Flow(a, multicast), lab.a.six),
        solicitation(Flow(a, multicast), OUTSIDE6),
        solicitation(Flow(lab.b.six, multicast), lab.c.six),
        solicitation(Flow(a, multicast), lab.b.six, extra=IpOptions(ttl=64)),
        icmp(Flow(a, multicast), 135, 1, bytes(4) + target, far),
        icmp(Flow(a, multicast), 135, 0, bytes(4) + target[:8], far),
        icmp(Flow(a, multicast), 135, 0, bytes(4) + mapped, far),
        icmp(Flow(a, ALL_NODES), 136, 0, bytes(4) + target, far),
        icmp(Flow(a, "ff02::2"), 133, 0, bytes(4), far),
        icmp(Flow(a, lab.b.six), 137, 0, bytes(36), far),
    ):
        assert lab.word_of(lab.a, packet) == "neighbour", packet.hex()


def test_endpoints_do_not_advertise_routers(lab: Lab) -> None:
    """A router advertisement has a reason of its own, whoever it claims to come from."""
    for source in (lab.a.six, "fe80::77"):
        packet = icmp(Flow(source, ALL_NODES), 134, 0, bytes(12), IpOptions(ttl=255))
        assert lab.word_of(lab.a, packet) == "router-advertisement"


# --- addresses ---

MARTIANS = ["0.0.0.0", "127.0.0.1", "127.9.9.9", "240.0.0.1", "255.255.255.254", "::", "::1"]


@pytest.mark.parametrize("address", [*MARTIANS, "224.0.0.5", "ff02::5", "255.255.255.255"])
def test_sources_that_nobody_may_have(lab: Lab, address: str) -> None:
    """Unspecified, loopback, multicast, class E and broadcast sources are martians, the stack's too."""
    to = lab.b.address(":" in address)
    assert lab.word_of(lab.a, udp(Flow(address, to))) == "martian"
    assert lab.word_of_stack(udp(Flow(address, to))) == "martian"


@pytest.mark.parametrize("address", MARTIANS)
def test_destinations_that_nobody_may_have(lab: Lab, address: str) -> None:
    """Unspecified, loopback and class E destinations are martians."""
    ipv6 = ":" in address
    assert lab.word_of(lab.a, udp(Flow(lab.a.address(ipv6), address))) == "martian"
    assert lab.word_of_stack(udp(Flow(OUTSIDE6 if ipv6 else OUTSIDE4, address))) == "martian"


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("255.255.255.255", "broadcast"),
        ("224.0.0.251", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::fb", "multicast"),
        ("169.254.1.1", "link-local"),
        ("169.254.9.9", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
    ],
)
def test_destinations_with_reasons_of_their_own(lab: Lab, address: str, word: str) -> None:
    """Broadcast, multicast and link-local are not carried, from endpoints or from the stack."""
    ipv6 = ":" in address
    assert lab.word_of(lab.a, udp(Flow(lab.a.address(ipv6), address))) == word
    assert lab.word_of_stack(udp(Flow(OUTSIDE6 if ipv6 else OUTSIDE4, address))) == word


def test_mapped_addresses_in_ipv6_are_martians(lab: Lab) -> None:
    """An IPv6 packet cannot speak of our IPv4 addresses, as source or as destination."""
    mapped = bytes(10) + b"\xff\xff" + raw(lab.b.four)
    for source, destination in ((mapped, raw(lab.a.six)), (raw(lab.a.six), mapped)):
        packet = struct.pack("!IHBB", 6 << 28, 8, 17, 64) + source + destination + bytes(8)
        assert lab.word_of(lab.a, packet) == "martian"
        assert lab.word_of_stack(packet) == "martian"


@pytest.mark.parametrize("address", ["169.254.9.9", "fe80::77"])
def test_link_local_sources_speak_only_nd(lab: Lab, address: str) -> None:
    """A link-local source is refused for everything but solicitations."""
    to = lab.b.address(":" in address)
    assert lab.word_of(lab.a, udp(Flow(address, to))) == "link-local"
    assert lab.word_of(lab.a, echo(Flow(address, to))) == "link-local"
    assert lab.word_of_stack(udp(Flow(address, to))) == "link-local"


def test_endpoints_serve_no_dhcp(lab: Lab) -> None:
    """UDP from the servers' ports is refused, per family; the same ports in TCP are nothing special."""
    assert lab.word_of(lab.a, udp(Flow(lab.a.four, lab.b.four, 67, 68))) == "dhcp-server"
    assert lab.word_of(lab.a, udp(Flow(lab.a.six, lab.b.six, 547, 546))) == "dhcp-server"
    assert lab.word_of(lab.a, udp(Flow(lab.a.six, lab.b.six, 67, 68))) == "b"
    assert lab.word_of(lab.a, udp(Flow(lab.a.four, lab.b.four, 547, 546))) == "b"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four, 67, 68))) == "b"
    assert lab.word_of(lab.a, udp(Flow(OUTSIDE4, lab.b.four, 67, 68))) == "dhcp-server"


def test_the_source_must_be_the_endpoints_own(lab: Lab) -> None:
    """Another endpoint's, the host's, an outside or a reserved address is spoofed."""
    for address in (lab.b.four, lab.d.four, HOST4, OUTSIDE4, NOBODY4, SERVICE4, HAIRPIN4):
        assert lab.word_of(lab.a, udp(Flow(address, lab.c.four))) == "spoofed-address"
    for address in (lab.b.six, OUTSIDE6, NOBODY6):
        assert lab.word_of(lab.a, udp(Flow(address, lab.c.six))) == "spoofed-address"


def test_an_endpoint_may_have_more_addresses(lab: Lab) -> None:
    """A second address of the endpoint, known from the addresses map, is its own."""
    second = lab.a.four[:15] + b"\x99"
    assert lab.word_of(lab.a, udp(Flow(second, lab.b.four))) == "spoofed-address"
    lab.engine.write([lab.address(second, lab.a.number, 1)])
    assert lab.word_of(lab.a, udp(Flow(second, lab.b.four))) == "b"


def test_who_owns_a_source_is_not_asked_of_the_stack(lab: Lab) -> None:
    """The stack may forward for anyone but the reserved address, which only turned back packets have."""
    assert lab.word_of_stack(udp(Flow(OUTSIDE4, lab.b.four))) == "b"
    assert lab.word_of_stack(udp(Flow(NOBODY4, lab.b.four))) == "b"
    assert lab.word_of_stack(udp(Flow(HAIRPIN4, lab.b.four))) == "martian"


# --- headers ---


def test_ipv4_headers_that_do_not_hold_together(lab: Lab) -> None:
    """Version, header length and total length must agree with each other and the frame."""
    good = tcp(Flow(lab.a.four, lab.b.four))
    for bad in (
        b"\x55" + good[1:],
        b"\x44" + good[1:],
        b"\x4f" + good[1:],
        good[:2] + b"\x00\x13" + good[4:],
        good[:2] + b"\x00\x29" + good[4:],
        good[:2] + b"\xff\xff" + good[4:],
    ):
        frame = ethernet(Link(lab.a.mac, bytes(6)), bad, 0x0800)
        assert sent(lab, lab.a, frame) == "malformed"


def test_padding_behind_the_packet_is_no_matter(lab: Lab) -> None:
    """A frame may be longer than its packet, as short ones are on a wire."""
    for packet in (udp(Flow(lab.a.four, lab.b.four), b""), udp(Flow(lab.a.six, lab.b.six), b"")):
        assert lab.word_of(lab.a, packet + bytes(18)) == "b"


def test_ipv6_headers_that_do_not_hold_together(lab: Lab) -> None:
    """Version and payload length must agree with the frame; a jumbogram has none."""
    good = tcp(Flow(lab.a.six, lab.b.six))
    jumbo = struct.pack("!IHBB", 6 << 28, 0, 0, 64) + raw(lab.a.six) + raw(lab.b.six)
    for bad in (
        b"\x40" + good[1:],
        good[:4] + b"\x00\x15" + good[6:],
        good[:4] + b"\x00\x00" + good[6:],
        jumbo + bytes([6, 0, 194, 4, 0, 1, 0, 0]) + bytes(20),
    ):
        frame = ethernet(Link(lab.a.mac, bytes(6)), bad, 0x86DD)
        assert sent(lab, lab.a, frame) == "malformed"


@pytest.mark.parametrize(
    ("protocol", "least"), [(6, 20), (17, 8), (132, 12), ("icmp", 8)], ids=["tcp", "udp", "sctp", "icmp"]
)
def test_upper_headers_cut_short(lab: Lab, protocol: int | str, least: int) -> None:
    """One byte less than the upper header needs is malformed; exactly enough is not."""
    for ipv6 in (False, True):
        number = (58 if ipv6 else 1) if protocol == "icmp" else protocol
        ends = lab.a.address(ipv6), lab.b.address(ipv6)
        body = bytes([14]) + bytes(least - 1) if protocol == "icmp" else bytes(least)
        assert lab.word_of(lab.a, ip(*ends, number, body[:-1])) == "malformed"
        assert lab.word_of(lab.a, ip(*ends, number, body)) == "b"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (bytes([1, 1, 1, 1]), "b"),
        (bytes([0, 131, 3, 4]), "b"),
        (bytes([7, 7, 4, 0, 0, 0, 0, 1]), "b"),
        (bytes([148, 4, 0, 0]), "b"),
        (bytes([131, 7, 4, 10, 0, 0, 1, 0]), "source-route"),
        (bytes([1, 137, 7, 4, 10, 0, 0, 1]), "source-route"),
        (bytes([7, 4, 5, 0, 131, 4, 4, 0]), "source-route"),
        (bytes([7, 1, 0, 0]), "malformed"),
        (bytes([7, 5, 0, 0]), "malformed"),
        (bytes([1, 1, 1, 7]), "malformed"),
        (bytes([131, 9, 4, 10]), "malformed"),
        (bytes([1] * 40), "b"),
        (bytes([1] * 39 + [7]), "malformed"),
        (bytes([1] * 37 + [131, 3, 4]), "source-route"),
    ],
)
def test_ipv4_options(lab: Lab, options: bytes, word: str) -> None:
    """Options must parse; source routes are refused; the rest is carried along."""
    packet = tcp(Flow(lab.a.four, lab.b.four), extra=IpOptions(options=options))
    assert lab.word_of(lab.a, packet) == word
    assert lab.word_of_stack(tcp(Flow(OUTSIDE4, lab.b.four), extra=IpOptions(options=options))) == word


def extension(kind: int, length: int = 0, third: int = 0) -> tuple[int, bytes]:
    """An extension header of 8 + 8 * ``length`` bytes; ``third`` is a routing header's segments left."""
    return kind, bytes([length, 4, third]) + bytes(4 + 8 * length)


@pytest.mark.parametrize(
    ("extensions", "word"),
    [
        ((extension(0),), "b"),
        ((extension(0), extension(60), extension(43), extension(60, 3)), "b"),
        (tuple([extension(60)] * 6), "b"),
        (tuple([extension(60)] * 7), "extension-headers"),
        ((extension(43, 2, 1),), "source-route"),
        ((extension(60), extension(43, 0, 2)), "source-route"),
        ((extension(60, 31),), "b"),
        (((44, bytes([0, 0, 0, 0, 0, 0, 9])),), "b"),
        (((44, bytes(7)), (44, bytes(7))), "malformed"),
    ],
)
def test_ipv6_extension_headers(lab: Lab, extensions: tuple[tuple[int, bytes], ...], word: str) -> None:
    """Up to six are followed, to the ports behind them; routing with segments left is refused."""
    packet = tcp(Flow(lab.a.six, lab.b.six), extra=IpOptions(extensions=extensions))
    assert lab.word_of(lab.a, packet) == word


def test_extension_headers_that_end_too_early(lab: Lab) -> None:
    """A header longer than the packet is malformed."""
    for kind in (0, 43, 44, 60):
        assert lab.word_of(lab.a, ip(lab.a.six, lab.b.six, kind, bytes([6, 0, 0]))) == "malformed"
    assert lab.word_of(lab.a, ip(lab.a.six, lab.b.six, 60, bytes([6, 9]) + bytes(30))) == "malformed"


def test_no_next_header_and_encryption_are_protocols_like_any_other(lab: Lab) -> None:
    """What cannot be looked into is judged by its number."""
    for protocol in (50, 51, 59, 135):
        assert lab.word_of(lab.a, ip(lab.a.six, lab.b.six, protocol, bytes(16))) == "b"


# --- from outside ---


def test_outside_may_not_speak_as_one_of_ours(lab: Lab) -> None:
    """From an uplink, sources inside our ranges and endpoints' addresses are spoofed; the rest passes by."""
    for source, to in (
        (lab.a.four, HOST4),
        (NOBODY4, HOST4),
        (NOBODY6, "fd00:7::1"),
    ):
        frame = ethernet(Link(bytes(6), bytes(6)), tcp(Flow(source, to)))
        result = lab.engine.run("from_uplink", frame, lab.devices[0])
        assert (result.verdict, result.reason.shown) == (Verdict.DENY, "spoofed-address")
        assert result.retval == 2
    for packet in (
        tcp(Flow(OUTSIDE4, HOST4)),
        tcp(Flow(OUTSIDE6, "fd00:7::1")),
        sctp(Flow(OUTSIDE4, lab.a.four)),
    ):
        frame = ethernet(Link(bytes(6), bytes(6)), packet)
        result = lab.engine.run("from_uplink", frame, lab.devices[0])
        assert (result.delivery, result.retval, result.frame) == (Delivery.PASS, 0xFFFFFFFF, frame)


def test_outside_passes_before_the_first_generation(lab: Lab) -> None:
    """Uplinks stay usable for the host when nothing is active; other ethertypes always pass."""
    lab.engine.write([Flip(0)])
    for frame in (
        ethernet(Link(bytes(6), bytes(6)), tcp(Flow(OUTSIDE4, HOST4))),
        ethernet(Link(bytes(6), bytes(6)), bytes(46), ARP),
    ):
        assert lab.engine.run("from_uplink", frame, lab.devices[0]).retval == 0xFFFFFFFF


def test_the_host_s_own_packets_are_marked(lab: Lab) -> None:
    """A packet with a socket, as test runs make it, gets the mark bit; other bits stay."""
    bit = lab.engine.config().host_mark
    frame = ethernet(Link(bytes(6), bytes(6)), tcp(Flow(HOST4, lab.a.four)))
    result = lab.engine.run("mark_host", frame, lab.devices[0], 5)
    assert (result.mark, result.retval) == (bit | 5, 0xFFFFFFFF)


def test_the_mark_does_not_go_on_to_the_endpoint(lab: Lab) -> None:
    """from_stack takes the bit off again, and no other."""
    bit = lab.engine.config().host_mark
    frame = ethernet(Link(STACK.mac, bytes(6)), tcp(Flow(HOST4, lab.a.four)))
    assert lab.engine.run("from_stack", frame, lab.devices[0], bit | 5).mark == 5


def test_long_frames_are_parsed_like_short_ones(lab: Lab) -> None:
    """A packet of 3000 bytes, options and extension headers included."""
    for packet in (
        udp(Flow(lab.a.four, lab.b.four), bytes(3000)),
        udp(Flow(lab.a.four, lab.b.four), bytes(3000), extra=IpOptions(options=bytes([1] * 8))),
        udp(Flow(lab.a.six, lab.b.six), bytes(2000), extra=IpOptions(extensions=(extension(60, 60),))),
    ):
        assert lab.word_of(lab.a, packet) == "b"
    assert len(fragments(udp(Flow(lab.a.four, lab.b.four), bytes(3000)), 1480)) == 3

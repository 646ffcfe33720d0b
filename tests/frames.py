"""Builds and reads Ethernet frames with nothing but ``struct``, so that checksums are an independent opinion.

Addresses are 16-byte ``Address`` values or their text. Functions called by a protocol's name build an IP
packet (bytes from the IP header on); ``ethernet`` puts a MAC header before it. Every checksum is right
unless one is given. IPv4 and IPv6 are told apart by the addresses.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from cloche.model.address import MAPPED, Address, is_ipv4, parse_address

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, DESTINATION_OPTIONS = 0, 43, 44, 59, 60
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
COMPUTE = -1
"""A checksum that is to be computed."""
_POLYNOMIAL = 0x82F63B78

Where: TypeAlias = Address | str


def raw(address: Where) -> bytes:
    """The 4 or 16 bytes that a header holds."""
    value = parse_address(address) if isinstance(address, str) else address
    return value[12:] if is_ipv4(value) else bytes(value)


def mac(text: str) -> bytes:
    """The 6 bytes of ``02:00:...``."""
    return bytes.fromhex(text.replace(":", ""))


# --- checksums ---


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071): 16-bit words in network order, carries added."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def internet_checksum(data: bytes) -> int:
    """The complement of the sum."""
    return ~ones_sum(data) & 0xFFFF


def crc32c(data: bytes) -> int:
    """SCTP's checksum, bit by bit (RFC 9260, appendix A)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def pseudo_header(source: Where, destination: Where, protocol: int, length: int) -> bytes:
    """What upper checksums cover besides the upper part (RFC 9293, RFC 8200)."""
    ends = raw(source) + raw(destination)
    if len(ends) == 8:
        return ends + struct.pack("!BBH", 0, protocol, length)
    return ends + struct.pack("!IHBB", length, 0, 0, protocol)


def upper_checksum(source: Where, destination: Where, protocol: int, upper: bytes) -> int:
    """The checksum of an upper part whose own checksum field is zero; UDP's zero becomes 0xffff."""
    value = internet_checksum(pseudo_header(source, destination, protocol, len(upper)) + upper)
    return 0xFFFF if value == 0 and protocol == UDP else value


# --- IP ---


class IpOptions(NamedTuple):
    """What an IP header may hold besides addresses and protocol.

    ``options``: IPv4 options, padded by the caller to 4 bytes. ``extensions``: IPv6 extension headers in
    order, each (type, bytes without its first). ``offset`` is in bytes; ``length`` overrides the field.
    """

    ttl: int = 64
    id: int = 0
    offset: int = 0
    more: bool = False
    dont_fragment: bool = False
    options: bytes = b""
    extensions: tuple[tuple[int, bytes], ...] = ()
    length: int | None = None
    version: int | None = None


PLAIN = IpOptions()


def ip(source: Where, destination: Where, protocol: int, payload: bytes, extra: IpOptions = PLAIN) -> bytes:
    """An IPv4 or IPv6 packet."""
    if len(raw(source)) == 4:
        return _ipv4(raw(source) + raw(destination), protocol, payload, extra)
    return _ipv6(raw(source) + raw(destination), protocol, payload, extra)


def _ipv4(ends: bytes, protocol: int, payload: bytes, extra: IpOptions) -> bytes:
    words = 5 + len(extra.options) // 4
    length = words * 4 + len(payload) if extra.length is None else extra.length
    part = extra.offset >> 3 | extra.more << 13 | extra.dont_fragment << 14
    first = (4 if extra.version is None else extra.version) << 4 | words
    head = struct.pack("!BBHHHBBH", first, 0, length, extra.id, part, extra.ttl, protocol, 0)
    header = head + ends + extra.options
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + payload


def _ipv6(ends: bytes, protocol: int, payload: bytes, extra: IpOptions) -> bytes:
    extensions = extra.extensions
    if extra.offset or extra.more:
        body = struct.pack("!BHI", 0, extra.offset | extra.more, extra.id)
        extensions = (*extensions, (FRAGMENT, body))
    following = [*(kind for kind, _ in extensions[1:]), protocol][: len(extensions)]
    chain = b"".join(bytes([after]) + body for after, (_, body) in zip(following, extensions, strict=True))
    first = extensions[0][0] if extensions else protocol
    length = len(chain) + len(payload) if extra.length is None else extra.length
    version = (6 if extra.version is None else extra.version) << 28
    return struct.pack("!IHBB", version, length, first, extra.ttl) + ends + chain + payload


def hop_less(packet: bytes) -> bytes:
    """The packet after one more router: TTL or hop limit less by one, IPv4's checksum anew."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    length = (packet[0] & 15) * 4
    header = packet[:8] + bytes([packet[8] - 1, packet[9], 0, 0]) + packet[12:length]
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + packet[length:]


def fragments(packet: bytes, size: int, identity: int = 1) -> list[bytes]:
    """The packet (without options or extension headers) in fragments of ``size`` bytes of payload."""
    source, destination, protocol, payload = split(packet)
    parts = range(0, len(payload), size)
    return [
        ip(
            source,
            destination,
            protocol,
            payload[at : at + size],
            IpOptions(id=identity, offset=at, more=at + size < len(payload)),
        )
        for at in parts
    ]


def split(packet: bytes) -> tuple[Address, Address, int, bytes]:
    """Source, destination, protocol and payload of an IP packet, options and extension headers skipped."""
    if packet[0] >> 4 == 4:
        ends = Address(MAPPED + packet[12:16]), Address(MAPPED + packet[16:20])
        return *ends, packet[9], packet[(packet[0] & 15) * 4 : struct.unpack_from("!H", packet, 2)[0]]
    protocol, payload = packet[6], packet[40 : 40 + struct.unpack_from("!H", packet, 4)[0]]
    while protocol in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, FRAGMENT):
        length = 8 if protocol == FRAGMENT else (payload[1] + 1) * 8
        protocol, payload = payload[0], payload[length:]
    return Address(packet[8:24]), Address(packet[24:40]), protocol, payload


# --- upper protocols ---


class Flow(NamedTuple):
    """Two ends with their ports: what the builders below take first."""

    source: Where
    destination: Where
    source_port: int = 40000
    destination_port: int = 80

    def back(self) -> Flow:
        """The same the other way round."""
        return Flow(self.destination, self.source, self.destination_port, self.source_port)

    @property
    def ports(self) -> bytes:
        """As they stand first in TCP, UDP and SCTP."""
        return struct.pack("!HH", self.source_port, self.destination_port)


def tcp(
    flow: Flow,
    flags: int = SYN,
    payload: bytes = b"",
    numbers: tuple[int, int] = (1000, 0),
    extra: IpOptions = PLAIN,
) -> bytes:
    """A TCP segment; ``numbers``: sequence and acknowledgement."""
    header = flow.ports + struct.pack("!IIBBHHH", *numbers, 5 << 4, flags, 65535, 0, 0)
    return _summed(flow, TCP, header + payload, 16, extra)


def udp(flow: Flow, payload: bytes = b"hello", checksum: int = COMPUTE, extra: IpOptions = PLAIN) -> bytes:
    """A UDP datagram."""
    upper = flow.ports + struct.pack("!HH", 8 + len(payload), 0) + payload
    if checksum != COMPUTE:
        upper = upper[:6] + struct.pack("!H", checksum) + upper[8:]
        return ip(flow.source, flow.destination, UDP, upper, extra)
    return _summed(flow, UDP, upper, 6, extra)


def sctp(
    flow: Flow, payload: bytes = b"\x03\x00\x00\x04", checksum: int = COMPUTE, extra: IpOptions = PLAIN
) -> bytes:
    """An SCTP packet."""
    upper = flow.ports + struct.pack("!II", 0x1234ABCD, 0) + payload
    value = crc32c(upper) if checksum == COMPUTE else checksum
    return ip(flow.source, flow.destination, SCTP, upper[:8] + struct.pack("<I", value) + upper[12:], extra)


def icmp(ends: Flow, kind: int, code: int = 0, rest: bytes = bytes(4), extra: IpOptions = PLAIN) -> bytes:
    """An ICMP or ICMPv6 message; ``rest`` is all that follows the checksum."""
    body = bytes([kind, code, 0, 0]) + rest
    if len(raw(ends.source)) == 16:
        return _summed(ends, ICMPV6, body, 2, extra)
    checked = body[:2] + struct.pack("!H", internet_checksum(body)) + rest
    return ip(ends.source, ends.destination, ICMP, checked, extra)


def echo(ends: Flow, identifier: int = 7, reply: bool = False, extra: IpOptions = PLAIN) -> bytes:
    """An echo request or reply of either family."""
    kinds = (8, 0) if len(raw(ends.source)) == 4 else (128, 129)
    return icmp(ends, kinds[reply], 0, struct.pack("!HH", identifier, 1) + b"echo", extra)


def unreachable(ends: Flow, quoted: bytes, kind: int | None = None, code: int | None = None) -> bytes:
    """An ICMP error about a packet; by default port unreachable."""
    four = len(raw(ends.source)) == 4
    kind = (3 if four else 1) if kind is None else kind
    code = (3 if four else 4) if code is None else code
    return icmp(ends, kind, code, bytes(4) + quoted)


def solicitation(ends: Flow, target: Where, option: bytes = b"", extra: IpOptions | None = None) -> bytes:
    """A neighbour solicitation (RFC 4861)."""
    return icmp(ends, 135, 0, bytes(4) + raw(target) + option, extra or IpOptions(ttl=255))


def advertisement(ends: Flow, target: Where, owner: bytes, flags: int) -> bytes:
    """A neighbour advertisement with the target's MAC; ``flags``: the first byte of the reserved word."""
    rest = bytes([flags, 0, 0, 0]) + raw(target) + b"\x02\x01" + owner
    return icmp(ends, 136, 0, rest, IpOptions(ttl=255))


class Arp(NamedTuple):
    """An ARP packet for IPv4 over Ethernet; operation 1 asks, 2 answers."""

    sender_mac: bytes
    sender: Where
    target_mac: bytes
    target: Where
    operation: int = 1

    def pack(self) -> bytes:
        """Its 28 bytes."""
        head = struct.pack("!HHBBH", 1, IPV4, 6, 4, self.operation)
        return head + self.sender_mac + raw(self.sender) + self.target_mac + raw(self.target)


def _summed(flow: Flow, protocol: int, upper: bytes, at: int, extra: IpOptions) -> bytes:
    value = upper_checksum(flow.source, flow.destination, protocol, upper)
    return ip(
        flow.source,
        flow.destination,
        protocol,
        upper[:at] + struct.pack("!H", value) + upper[at + 2 :],
        extra,
    )


# --- Ethernet ---


class Link(NamedTuple):
    """Both MACs of a frame."""

    source: bytes
    destination: bytes


def ethernet(link: Link, packet: bytes, ethertype: int | None = None) -> bytes:
    """A frame; by default of the packet's own IP version."""
    if ethertype is None:
        ethertype = IPV4 if packet[:1] and packet[0] >> 4 == 4 else IPV6
    return link.destination + link.source + struct.pack("!H", ethertype) + packet


def packet_of(frame: bytes) -> bytes:
    """What follows the MAC header."""
    return frame[14:]


def checksum_errors(packet: bytes) -> list[str]:
    """Which checksums of a whole IP packet are wrong, by name. UDP's zero over IPv4 counts as right."""
    source, destination, protocol, upper = split(packet)
    wrong = []
    if packet[0] >> 4 == 4 and ones_sum(packet[: (packet[0] & 15) * 4]) != 0xFFFF:
        wrong.append("ipv4")
    pseudo = pseudo_header(source, destination, protocol, len(upper))
    if protocol == UDP and upper[6:8] == bytes(2):
        return wrong
    if protocol in (TCP, UDP, ICMPV6) and ones_sum(pseudo + upper) != 0xFFFF:
        wrong.append({TCP: "tcp", UDP: "udp", ICMPV6: "icmp6"}[protocol])
    if protocol == ICMP and ones_sum(upper) != 0xFFFF:
        wrong.append("icmp")
    if protocol == SCTP and crc32c(upper[:8] + bytes(4) + upper[12:]) != struct.unpack("<I", upper[8:12])[0]:
        wrong.append("sctp")
    return wrong

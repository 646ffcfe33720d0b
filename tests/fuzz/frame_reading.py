"""Reads any bytes as docs/design/packets.md says a packet is read (order 2 to 4), as a second opinion.

``read`` turns a frame into the model's packet, which the oracle can judge, or into the answer that it gets
before anything is asked of policy. Written from the page, with ``int.from_bytes`` and slices only, so that a
slip in ``bpf/parse.h`` is not made here too.
"""

from __future__ import annotations

from typing import NamedTuple

from cloche.model.address import Address
from cloche.model.flow import Decision, Delivery, Entry, Fragment, Packet, Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import ICMP, ICMPV6, SCTP, TCP, UDP
from cloche.model.tracker import PlaceKind, World
from cloche.model.tracker.decisions import denied, passed

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)
FOLLOWED = 6
SOURCE_ROUTES = (131, 137)
NEEDS = {TCP: 20, UDP: 8, SCTP: 12}
ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMPV6: (1, 2, 3, 4)}
MAPPED = bytes(10) + b"\xff\xff"
NOWHERE = Address(bytes(16))
NOBODY = Packet(NOWHERE, NOWHERE, 0)


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """What is read has this reason against it."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class Origin(NamedTuple):
    """How a frame comes in. ``sender`` and ``mac``: the endpoint's, for ``Entry.ENDPOINT``."""

    entry: Entry
    sender: str = ""
    mac: bytes = b""


class Upper(NamedTuple):
    """What an IP header is followed by: the upper protocol and where it begins; ``part`` if it is one."""

    protocol: int
    data: bytes
    part: Fragment | None = None
    cut_short: bool = False


class Whole(NamedTuple):
    """Of the whole packet: hops left, bytes from its header on, and whether the frame is for many."""

    ttl: int
    length: int
    for_many: bool


def read(world: World, frame: bytes, origin: Origin) -> Packet | Decision:
    """The packet that a frame holds, or what becomes of it without one."""
    try:
        return _read(world, frame, origin)
    except Refused as refused:
        return denied(NOBODY, refused.reason)


def read_uplink(world: World, frame: bytes) -> Decision:
    """What becomes of a frame from outside: nobody there may speak as one of ours; the rest passes."""
    kind, data, source = number(frame, 12, 2), frame[14:], None
    if kind == IPV4 and len(data) >= 16:
        source = Address(MAPPED + data[12:16])
    if kind == IPV6 and len(data) >= 24:
        source = Address(data[8:24])
    if source is not None and world.place(1, source).kind in (PlaceKind.ENDPOINT, PlaceKind.OURS):
        return denied(NOBODY, Reason.SPOOFED_ADDRESS)
    return passed(NOBODY, Delivery.PASS)


def _read(world: World, frame: bytes, origin: Origin) -> Packet | Decision:
    if world.generation == 0:
        raise Refused(Reason.NO_GENERATION)
    kind = number(frame, 12, 2)
    if origin.entry is Entry.ENDPOINT:
        sender = world.sender(origin.sender)
        if sender is None:
            raise Refused(Reason.UNKNOWN_LINK)
        if not sender.open:
            raise Refused(Reason.CLOSED)
        if frame[6:12] != origin.mac:
            raise Refused(Reason.SPOOFED_MAC)
        if kind == ARP:
            return _arp(world, frame, origin)
    elif kind == ARP:
        raise Refused(Reason.NEIGHBOUR)
    for_many = bool(frame[0] & 1)
    if kind == IPV4:
        return _ipv4(frame[14:], origin, for_many)
    if kind == IPV6:
        return _ipv6(frame[14:], origin, for_many)
    raise Refused(Reason.ETHERTYPE)


def number(data: bytes, at: int, size: int) -> int:
    """A number in network order."""
    return int.from_bytes(data[at : at + size], "big")


def _arp(world: World, frame: bytes, origin: Origin) -> Decision:
    body = frame[14:42]
    if len(body) < 28 or body[:8] != b"\0\1\x08\0\6\4\0\1" or body[8:14] != origin.mac:
        raise Refused(Reason.NEIGHBOUR)
    asking, asked = (world.place(1, Address(MAPPED + body[at : at + 4])) for at in (14, 24))
    if asking.kind is not PlaceKind.ENDPOINT or asking.endpoint != origin.sender:
        raise Refused(Reason.NEIGHBOUR)
    another = asked.kind is PlaceKind.ENDPOINT and asked.endpoint != origin.sender
    if not another and asked.kind not in (PlaceKind.OURS, PlaceKind.GATEWAY):
        raise Refused(Reason.NEIGHBOUR)
    return passed(NOBODY, Delivery.BACK)


# --- IP ---


def _ipv4(data: bytes, origin: Origin, for_many: bool) -> Packet:
    if len(data) < 20:
        raise Refused(Reason.MALFORMED)
    header, length = (data[0] & 15) * 4, number(data, 2, 2)
    if data[0] >> 4 != 4 or header < 20 or length < header or length > len(data):
        raise Refused(Reason.MALFORMED)
    _options(data[20:header])
    ends = Address(MAPPED + data[12:16]), Address(MAPPED + data[16:20])
    word = number(data, 6, 2)
    offset, more, payload = (word & 0x1FFF) * 8, bool(word & 0x2000), data[header:length]
    part = Fragment(number(data, 4, 2), offset, len(payload), more) if offset or more else None
    return _packet(ends, Upper(data[9], payload, part), origin, Whole(data[8], length, for_many))


def _options(options: bytes) -> None:
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            raise Refused(Reason.MALFORMED)
        if options[at] in SOURCE_ROUTES:
            raise Refused(Reason.SOURCE_ROUTE)
        at += size


def _ipv6(data: bytes, origin: Origin, for_many: bool) -> Packet:
    if len(data) < 40 or data[0] >> 4 != 6 or number(data, 4, 2) + 40 > len(data):
        raise Refused(Reason.MALFORMED)
    ends = unmapped(data[8:24]), unmapped(data[24:40])
    length = 40 + number(data, 4, 2)
    return _packet(ends, _chain(data[6], data[40:length]), origin, Whole(data[7], length, for_many))


def unmapped(address: bytes) -> Address:
    """An IPv6 address; what stands for IPv4 inside IPv6 becomes ::, which is as martian."""
    return NOWHERE if address[:12] == MAPPED else Address(address)


def _chain(protocol: int, data: bytes) -> Upper:
    part = None
    for count in range(FOLLOWED + 1):
        if protocol not in EXTENSIONS:
            return Upper(protocol, data, part)
        if count == FOLLOWED:
            raise Refused(Reason.EXTENSION_HEADERS)
        size = 8 if protocol == FRAGMENT or len(data) < 2 else (data[1] + 1) * 8
        if len(data) < 8 or size > len(data):
            if part is None or not part.more:
                raise Refused(Reason.MALFORMED)
            return Upper(protocol, data, part, cut_short=True)
        if protocol == ROUTING and data[3]:
            raise Refused(Reason.SOURCE_ROUTE)
        header, data, kind = data[:size], data[size:], protocol
        protocol = header[0]
        if kind == FRAGMENT:
            if part is not None:
                raise Refused(Reason.MALFORMED)
            word = number(header, 2, 2)
            part = Fragment(number(header, 4, 4), word & 0xFFF8, len(data), bool(word & 1))
            if part.offset:
                return Upper(protocol, data, part)
    raise AssertionError


# --- what follows ---


def _packet(ends: tuple[Address, Address], upper: Upper, origin: Origin, whole: Whole) -> Packet:
    icmp_protocol = ICMP if ends[0][:12] == MAPPED else ICMPV6
    protocol, data, part, cut_short = upper
    if part is not None and not part.offset and not part.more:
        part = None
    fields: dict[str, object] = {"entry": origin.entry, "sender": origin.sender}
    fields |= whole._asdict()
    if part is not None and part.offset:
        return Packet(*ends, protocol, fragment=part, **fields)  # type: ignore[arg-type]
    need = 8 if protocol == icmp_protocol else NEEDS.get(protocol, 0)
    if len(data) < need or cut_short:
        if part is None:
            raise Refused(Reason.MALFORMED)
        # Shorter than any header, and as good or bad a multiple of 8 as it was.
        short = Fragment(part.id, 0, part.length % 8, part.more)
        return Packet(*ends, TCP, fragment=short, **fields)  # type: ignore[arg-type]
    fields["fragment"] = part
    if protocol in NEEDS:
        fields |= {"source_port": number(data, 0, 2), "destination_port": number(data, 2, 2)}
    if protocol == TCP:
        fields["tcp_flags"] = data[13]
    if protocol == icmp_protocol:
        fields |= _icmp(icmp_protocol, data, whole.ttl)
    return Packet(*ends, protocol, **fields)  # type: ignore[arg-type]


def _icmp(protocol: int, data: bytes, hops: int) -> dict[str, object]:
    icmp = number(data, 0, 2)
    port = number(data, 4, 2) if data[0] in ECHO[protocol] else icmp
    fields: dict[str, object] = {"icmp": icmp, "source_port": port, "destination_port": port}
    if data[0] in ERRORS[protocol]:
        fields["quoted"] = _quoted(protocol == ICMP, data[8:])
    if protocol == ICMPV6 and icmp == 135 << 8 and hops == 255 and len(data) >= 24:
        fields["target"] = None if data[8:20] == MAPPED else Address(data[8:24])
    return fields


def _quoted(ipv4: bool, data: bytes) -> Packet | None:
    """The packet that an error quotes; None when too little of it is there to tell whose it was."""
    if len(data) < (20 if ipv4 else 40) or data[0] >> 4 != (4 if ipv4 else 6):
        return None
    if ipv4:
        header = (data[0] & 15) * 4
        if header < 20 or header > len(data) or number(data, 2, 2) < header or number(data, 6, 2) & 0x1FFF:
            return None
        ends = Address(MAPPED + data[12:16]), Address(MAPPED + data[16:20])
        protocol, upper = data[9], data[header:]
    else:
        ends, protocol, upper = (Address(data[8:24]), Address(data[24:40])), data[6], data[40:]
        said = number(data, 4, 2)
        for count in range(FOLLOWED + 1):
            if protocol not in EXTENSIONS:
                break
            size = 8 if protocol == FRAGMENT or len(upper) < 2 else (upper[1] + 1) * 8
            later = protocol == FRAGMENT and number(upper, 2, 2) & 0xFFF8
            if count == FOLLOWED or len(upper) < 8 or later or size > min(len(upper), said):
                return None
            protocol, upper, said = upper[0], upper[size:], said - size
    icmp = protocol == (ICMP if ipv4 else ICMPV6)
    if not icmp and protocol not in NEEDS:
        return Packet(*ends, protocol)
    if len(upper) < 8:
        return None
    if not icmp:
        return Packet(*ends, protocol, number(upper, 0, 2), number(upper, 2, 2))
    kind = number(upper, 0, 2)
    port = number(upper, 4, 2) if upper[0] in ECHO[protocol] else kind
    return Packet(*ends, protocol, port, port, icmp=kind)


def is_allowed(decision: Decision) -> bool:
    """True for what passes or is answered as asked."""
    return decision.verdict is Verdict.ALLOW

"""Frames for the program's test run: the least that its parser takes for a model's packet. Pure.

Checksums are zero: the program reads none, and no frame made here leaves the machine.
"""

from __future__ import annotations

import struct

from cloche.model.address import is_ipv4
from cloche.model.flow import Packet, TcpFlag
from cloche.model.topology import SCTP, TCP, UDP

HOPS = 64
ETHERTYPE4, ETHERTYPE6 = 0x0800, 0x86DD
NO_MAC = bytes(6)


def make_frame(packet: Packet, source_mac: bytes = NO_MAC, destination_mac: bytes = NO_MAC) -> bytes:
    """An Ethernet frame with this packet: TCP as a SYN, the other protocols with no payload to speak of.

    Fragments and ICMP errors are not made. MACs are 6 bytes.
    """
    upper = _upper(packet)
    link = destination_mac + source_mac
    if is_ipv4(packet.source):
        ends = packet.source[12:] + packet.destination[12:]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(upper), 0, 0, HOPS, packet.protocol, 0)
        return link + ETHERTYPE4.to_bytes(2) + head + ends + upper
    head = struct.pack("!IHBB", 6 << 28, len(upper), packet.protocol, HOPS)
    return link + ETHERTYPE6.to_bytes(2) + head + packet.source + packet.destination + upper


def _upper(packet: Packet) -> bytes:
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    match packet.protocol:
        case protocol if protocol == TCP:
            return ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, TcpFlag.SYN, 0xFFFF, 0, 0)
        case protocol if protocol == UDP:
            return ports + struct.pack("!HH", 8, 0)
        case protocol if protocol == SCTP:
            return ports + bytes(8)
    if packet.is_icmp:
        return struct.pack("!BBHI", packet.icmp >> 8, packet.icmp & 0xFF, 0, 0)
    return bytes(8)

"""Checksums that are still to be completed, by packet sockets that say so (PACKET_VNET_HDR, packet(7)).

What a pod's kernel leaves to its device is left so by translation too: a receiver that completes it as it is
told must come to the packet that a sender to the backend would have built.
"""

from __future__ import annotations

import socket
import struct
import time

import pytest
from pods import SERVICES, OpenHost, addresses_of, run_ip, service_writes

from cloche.model.topology import DEFAULT_NETWORK, Attachment
from cloche.tables.schema import ServiceKey
from frames import (
    ACK,
    SCTP,
    SYN,
    TCP,
    UDP,
    Flow,
    Link,
    checksum_errors,
    crc32c,
    ethernet,
    hop_less,
    internet_checksum,
    ones_sum,
    packet_of,
    pseudo_header,
    sctp,
    tcp,
    udp,
)

SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING, ETH_P_ALL = 263, 15, 4, 3
NEEDS_CSUM = 1
VNET = struct.Struct("<BBHHHH")
"""struct virtio_net_hdr: flags; segmentation's type and lengths; where a sum begins, and goes from there."""

FIELD = {TCP: 16, UDP: 6, SCTP: 8}
CLIENT_PORT = 40000
PAYLOAD = b"all that is summed up"
FAMILIES = pytest.mark.parametrize("which", [0, 1], ids=["IPv4", "IPv6"])
PORTS = pytest.mark.parametrize("port", [80, 8080], ids=["same port", "other port"])
PROTOCOLS = pytest.mark.parametrize("protocol", [TCP, UDP, SCTP], ids=["tcp", "udp", "sctp"])


def build(protocol: int, flow: Flow) -> bytes:
    """A whole packet with every checksum right; TCP's opens its flow, or answers that when it comes from
    the service or its backend."""
    if protocol == TCP:
        return tcp(flow, SYN if flow.source_port == CLIENT_PORT else SYN | ACK, PAYLOAD)
    return udp(flow, PAYLOAD) if protocol == UDP else sctp(flow, PAYLOAD)


def upper_at(packet: bytes) -> int:
    """Where the upper header begins; these packets have no options."""
    return 20 if packet[0] >> 4 == 4 else 40


def partial(protocol: int, flow: Flow) -> bytes:
    """The packet with its checksum as a kernel leaves it to a device: the pseudo header's sum alone, for
    SCTP nothing."""
    packet = bytearray(build(protocol, flow))
    begin = upper_at(packet)
    at = begin + FIELD[protocol]
    if protocol == SCTP:
        packet[at : at + 4] = bytes(4)
    else:
        pseudo = pseudo_header(flow.source, flow.destination, protocol, len(packet) - begin)
        packet[at : at + 2] = struct.pack("!H", ones_sum(pseudo))
    return bytes(packet)


def complete(protocol: int, packet: bytes, begin: int, offset: int) -> bytes:
    """The packet as a device sends it: the sum from ``begin`` on, written ``offset`` bytes behind that."""
    done = bytearray(packet)
    at = begin + offset
    if protocol == SCTP:
        done[at : at + 4] = struct.pack("<I", crc32c(bytes(done[begin:])))
    else:
        done[at : at + 2] = struct.pack("!H", internet_checksum(bytes(done[begin:])) or 0xFFFF)
    return bytes(done)


def packet_socket() -> socket.socket:
    """All frames of the calling thread's eth0, each behind its virtio header. The kernel there has no address
    any more, so that it answers nothing itself."""
    run_ip("addr flush dev eth0")
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opened.bind(("eth0", ETH_P_ALL))
    opened.settimeout(2)
    return opened


def send_partial(raw: socket.socket, own: Attachment, protocol: int, flow: Flow) -> None:
    """From a pod to its gateway, the checksum to be completed."""
    packet = partial(protocol, flow)
    frame = ethernet(Link(own.mac, own.gateway_mac), packet)
    begin = len(frame) - len(packet) + upper_at(packet)
    raw.send(VNET.pack(NEEDS_CSUM, 0, 0, 0, begin, FIELD[protocol]) + frame)


def received(raw: socket.socket, protocol: int, sent: bytes) -> tuple[bytes, bool]:
    """The packet that carries the payload of ``sent``, completed where it was partial, and whether it was."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        content, where = raw.recvfrom(4096)
        if where[2] == PACKET_OUTGOING or PAYLOAD not in content:
            continue
        flags, _, _, _, begin, offset = VNET.unpack_from(content)
        frame = content[VNET.size :]
        packet = packet_of(frame)
        if flags & NEEDS_CSUM:
            packet = complete(protocol, packet, begin - (len(frame) - len(packet)), offset)
        return packet, bool(flags & NEEDS_CSUM)
    raise TimeoutError(f"nothing like {sent!r} came")


@FAMILIES
@PORTS
@PROTOCOLS
def test_a_partial_checksum_through_a_service(
    open_host: OpenHost, protocol: int, port: int, which: int
) -> None:
    """There and back through a service, the port rewritten or not: completed, the packet is byte for byte the
    one that would have been built for the addresses it has now, and its checksums hold."""
    host = open_host
    pods = [host.pod(1), host.pod(2)]
    client, backend, service = addresses_of(1)[which], addresses_of(2)[which], SERVICES[which]
    key = ServiceKey(DEFAULT_NETWORK, service, 80, protocol)
    host.write(service_writes(key, 9, [(backend, port)]))
    sockets = [host.inside(number, packet_socket) for number in (1, 2)]
    asked, towards = Flow(client, service, CLIENT_PORT, 80), Flow(client, backend, CLIENT_PORT, port)
    with sockets[0], sockets[1]:
        for sender, sent, expected in ((0, asked, towards), (1, towards.back(), asked.back())):
            send_partial(sockets[sender], pods[sender], protocol, sent)
            wanted = hop_less(build(protocol, expected))
            packet, was_partial = received(sockets[1 - sender], protocol, wanted)
            assert was_partial
            assert checksum_errors(packet) == []
            assert packet == wanted


@FAMILIES
@PROTOCOLS
def test_a_partial_checksum_between_pods(open_host: OpenHost, protocol: int, which: int) -> None:
    """Without translation the packet arrives as sent, a hop less, its checksum still to be completed."""
    host = open_host
    pods = [host.pod(1), host.pod(2)]
    flow = Flow(addresses_of(1)[which], addresses_of(2)[which], CLIENT_PORT, 80)
    sockets = [host.inside(number, packet_socket) for number in (1, 2)]
    with sockets[0], sockets[1]:
        send_partial(sockets[0], pods[0], protocol, flow)
        wanted = hop_less(build(protocol, flow))
        assert received(sockets[1], protocol, wanted) == (wanted, True)

"""Where answers turn: the packets on both sides of every edge that a policy draws. Pure.

An edge is the first or last address of a block or of what it leaves out, the first or last port of a range, a
declared port; each is asked with its neighbour just outside. Only packets whose answer is policy's are
made: no reserved or special addresses, no services, no ICMP errors or neighbour discovery.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloche.model.address import Address, Block, is_ipv4, parse_block
from cloche.model.flow import Entry, Packet
from cloche.model.focus import Focus
from cloche.model.policy import PortMatch
from cloche.model.topology import (
    GATEWAY4,
    GATEWAY6,
    HAIRPIN4,
    HAIRPIN6,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Endpoint,
)

GRE = 47
CLIENT_PORT = 40000
LAST_PORT = 65535
WITH_PORTS = (TCP, UDP, SCTP)
RESERVED = frozenset((GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6))
SPECIAL = tuple(
    map(parse_block, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "fe80::/10", "ff00::/8"))
)
UNSPECIFIED, LOOPBACK6 = bytes(16), bytes(15) + b"\x01"
ERRORS = {ICMP: frozenset((3, 4, 5, 11, 12)), ICMPV6: frozenset((1, 2, 3, 4, *range(133, 138)))}
EXTENSIONS = frozenset((0, 43, 44, 50, 51, 59, 60, 135, 139, 140))
"""Protocol numbers that IPv6 may take for extension headers."""


class Port(NamedTuple):
    """A protocol and a destination port; of ICMP type << 8 | code, of protocols without ports 0."""

    protocol: int
    number: int


PLAIN = (Port(TCP, 9), Port(UDP, 9), Port(SCTP, 9), Port(ICMP, 8 << 8), Port(ICMPV6, 128 << 8), Port(GRE, 0))
"""What hardly any rule names."""


def is_ordinary(address: Address) -> bool:
    """True for an address that packets may carry to and from endpoints, so that policy is asked."""
    special = any(block.contains(address) for block in SPECIAL)
    return not special and address not in RESERVED and address not in (UNSPECIFIED, LOOPBACK6)


def is_askable(port: Port, ipv4: bool) -> bool:
    """True when a packet of that family can be about this port and is judged by policy alone."""
    if port.protocol == (ICMP if ipv4 else ICMPV6):
        return port.number >> 8 not in ERRORS[port.protocol]
    if port.protocol in (ICMP, ICMPV6):
        return False
    return port.protocol > 0 and (ipv4 or port.protocol not in EXTENSIONS)


def edges_of_ports(match: PortMatch) -> Iterator[Port]:
    """Both sides of a port match's ends; of a name nothing, as endpoints say what it stands for."""
    if match.name:
        return
    if match.protocol not in (*WITH_PORTS, ICMP, ICMPV6):
        yield Port(match.protocol, 0)
        return
    for number in dict.fromkeys((match.first, match.last, match.first - 1, match.last + 1)):
        if 0 <= number <= LAST_PORT:
            yield Port(match.protocol, number)


def declared(endpoint: Endpoint | None) -> Iterator[Port]:
    """The ports that an endpoint declares."""
    for port in endpoint.ports if endpoint else ():
        yield Port(port.protocol, port.port)


def edges_of_block(block: Block) -> Iterator[Address]:
    """First and last address, and those just outside."""
    first, last = (int.from_bytes(end, "big") for end in (block.first(), block.last()))
    for value in dict.fromkeys((first, last, first - 1, last + 1)):
        if 0 <= value < 1 << 128:
            address = Address(value.to_bytes(16, "big"))
            if is_ipv4(address) == block.ipv4:
                yield address


class Way(NamedTuple):
    """On which host and network a packet is, and whether its sender's link is still closed."""

    host: str
    network: int
    closed: bool = False


def make_packet(focus: Focus, way: Way, ends: tuple[Address, Address], port: Port) -> Packet | None:
    """The packet from one end to the other as it comes in; None when it cannot be asked.

    An endpoint of this host sends on its own link, unless that is closed: then its packet comes through the
    stack, and is judged alike. From the host's own address it is the host that sends.
    """
    network = way.network
    source, destination = ends
    ipv4 = is_ipv4(source)
    if source == destination or ipv4 != is_ipv4(destination) or not is_askable(port, ipv4):
        return None
    if not all(is_ordinary(end) and not focus.served[network, end] for end in ends):
        return None
    owner = focus.owner(network, source)
    entry, sender = Entry.STACK, ""
    if owner is not None and owner.key in focus.state.attachments and not way.closed:
        entry, sender = Entry.ENDPOINT, owner.key
    elif way.host in focus.state.hosts and source in focus.state.hosts[way.host].addresses:
        entry = Entry.HOST
    with_ports = port.protocol in WITH_PORTS
    return Packet(
        source,
        destination,
        port.protocol,
        source_port=CLIENT_PORT if with_ports else 0,
        destination_port=port.number if with_ports else 0,
        entry=entry,
        sender=sender,
        icmp=0 if with_ports or port.protocol not in (ICMP, ICMPV6) else port.number,
        network=network,
    )

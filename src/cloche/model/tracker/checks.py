"""What is refused, or answered, before services, flows and policy: docs/design/packets.md, order 2 and 5."""

from __future__ import annotations

from cloche.model.address import Address, is_ipv4, parse_address, parse_block
from cloche.model.flow import Decision, Delivery, Entry, Packet
from cloche.model.reasons import Reason
from cloche.model.topology import ICMPV6, UDP
from cloche.model.tracker.decisions import denied, passed
from cloche.model.tracker.world import Place, PlaceKind, World

BROADCAST = parse_address("255.255.255.255")
UNSPECIFIED = (parse_address("0.0.0.0"), parse_address("::"))
LOOPBACK = (parse_block("127.0.0.0/8"), parse_block("::1/128"))
CLASS_E = parse_block("240.0.0.0/4")
MULTICAST = (parse_block("224.0.0.0/4"), parse_block("ff00::/8"))
LINK_LOCAL = (parse_block("169.254.0.0/16"), parse_block("fe80::/10"))

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT = range(133, 138)
NEIGHBOUR = (ROUTER_SOLICITATION, SOLICITATION, ADVERTISEMENT, REDIRECT)
DHCP_SERVER_PORTS = {True: 67, False: 547}


def is_link_local(address: Address) -> bool:
    """True for 169.254.0.0/16 and fe80::/10."""
    return any(block.contains(address) for block in LINK_LOCAL)


def is_multicast(address: Address) -> bool:
    """True for 224.0.0.0/4 and ff00::/8."""
    return any(block.contains(address) for block in MULTICAST)


def is_martian(address: Address) -> bool:
    """True for what no packet may carry as either address: unspecified, loopback, class E."""
    return address in UNSPECIFIED or any(block.contains(address) for block in (*LOOPBACK, CLASS_E))


def entrance(world: World, packet: Packet) -> Decision | None:
    """The denial of a packet that may not come in here, the answer to a neighbour solicitation, or None."""
    if world.generation == 0:
        return denied(packet, Reason.NO_GENERATION)
    if packet.entry is not Entry.ENDPOINT:
        if world.place(packet.network, packet.source).kind is PlaceKind.HAIRPIN:
            return denied(packet, Reason.MARTIAN)  # only packets turned back here have it as source
        return _source(packet) or _destination(world, packet)
    sender = world.sender(packet.sender)
    if sender is None:
        return denied(packet, Reason.UNKNOWN_LINK)
    if not sender.open:
        return denied(packet, Reason.CLOSED)
    return (
        _neighbour(world, packet, sender)
        or _source(packet)
        or _ownership(world, packet, sender)
        or _destination(world, packet)
    )


def is_first(packet: Packet) -> bool:
    """True when the packet carries its upper header: whole packets and first fragments."""
    return packet.fragment is None or packet.fragment.offset == 0


def _neighbour(world: World, packet: Packet, sender: Place) -> Decision | None:
    if packet.protocol != ICMPV6 or not packet.is_icmp or not is_first(packet):
        return None
    kind = packet.icmp >> 8
    if kind == ROUTER_ADVERTISEMENT:
        return denied(packet, Reason.ROUTER_ADVERTISEMENT)
    if kind not in NEIGHBOUR:
        return None
    in_parts = packet.fragment is not None and packet.fragment.more
    if kind != SOLICITATION or packet.target is None or in_parts:
        return denied(packet, Reason.NEIGHBOUR)
    own = world.place(packet.network, packet.source).endpoint == sender.endpoint
    target = world.place(packet.network, packet.target)
    another = target.kind is PlaceKind.OURS or (
        target.kind is PlaceKind.ENDPOINT and target.endpoint != sender.endpoint
    )
    if (own or is_link_local(packet.source)) and (another or target.kind is PlaceKind.GATEWAY):
        return passed(packet, Delivery.BACK)
    return denied(packet, Reason.NEIGHBOUR)


def _source(packet: Packet) -> Decision | None:
    if is_martian(packet.source) or is_multicast(packet.source):
        return denied(packet, Reason.MARTIAN)
    if is_link_local(packet.source):
        return denied(packet, Reason.LINK_LOCAL)
    return None


def _ownership(world: World, packet: Packet, sender: Place) -> Decision | None:
    served = DHCP_SERVER_PORTS[is_ipv4(packet.source)]
    if packet.protocol == UDP and is_first(packet) and packet.source_port == served:
        return denied(packet, Reason.DHCP_SERVER)
    place = world.place(packet.network, packet.source)
    if place.kind is not PlaceKind.ENDPOINT or place.endpoint != sender.endpoint:
        return denied(packet, Reason.SPOOFED_ADDRESS)
    return None


def _destination(world: World, packet: Packet) -> Decision | None:
    destination = packet.destination
    if destination == BROADCAST:
        return denied(packet, Reason.BROADCAST)
    if is_multicast(destination):
        return denied(packet, Reason.MULTICAST)
    if is_martian(destination):
        return denied(packet, Reason.MARTIAN)
    place = world.place(packet.network, destination)
    if is_link_local(destination) or place.kind is PlaceKind.GATEWAY:
        return denied(packet, Reason.LINK_LOCAL)
    return None

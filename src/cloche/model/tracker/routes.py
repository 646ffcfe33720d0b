"""A packet's way: its two sides, and where it is delivered (docs/design/packets.md, order 8 and 10)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cloche.model.flow import Decision, Delivery, Entry, Packet, TcpFlag
from cloche.model.reasons import Reason
from cloche.model.topology import ICMP, ICMPV6, SCTP, TCP, UDP, Backend
from cloche.model.tracker.decisions import denied, passed
from cloche.model.tracker.entries import Flow, FlowKey, Front, Side, flow_key
from cloche.model.tracker.hops import enter, lowered
from cloche.model.tracker.world import Place, PlaceKind, World

PORTED = (TCP, UDP, SCTP)
ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
"""Echo request and reply, whose port is their identifier."""


class Route(NamedTuple):
    """A packet after translation. ``judged`` is what policy sees: for a hairpin the endpoint itself is
    both ends, while ``sender`` carries the hairpin address, as on the wire."""

    judged: Packet
    sender: Side
    receiver: Side
    front: Front | None = None
    backend: Backend | None = None
    hairpin: bool = False

    @property
    def key(self) -> FlowKey:
        """The flow's key under the translated addresses."""
        return flow_key(self.judged.network, self.sender, self.receiver, self.judged.protocol)

    @property
    def on_wire(self) -> Packet:
        """The packet with the addresses and ports it leaves with."""
        return msgspec.structs.replace(
            self.judged, source=self.sender.address, destination=self.receiver.address
        )


def ports(packet: Packet) -> tuple[int, int]:
    """Source and destination port as flows have them."""
    if packet.is_icmp:
        echo = packet.icmp >> 8 in ECHO[packet.protocol]
        number = packet.source_port if echo else packet.icmp
        return number, number
    if packet.protocol in PORTED:
        return packet.source_port, packet.destination_port
    return 0, 0


def sides(world: World, packet: Packet) -> tuple[Side, Side]:
    """The packet's two sides; the hairpin address has the incarnation of the endpoint it stands for."""
    source = world.place(packet.network, packet.source)
    destination = world.place(packet.network, packet.destination)
    source_port, destination_port = ports(packet)
    return (
        Side(_incarnation(source, destination), packet.source, source_port),
        Side(_incarnation(destination, source), packet.destination, destination_port),
    )


def _incarnation(place: Place, other: Place) -> int:
    return other.incarnation if place.kind is PlaceKind.HAIRPIN else place.incarnation


def is_plain_syn(packet: Packet) -> bool:
    """True for TCP with SYN and without ACK, RST and FIN."""
    flags = packet.tcp_flags & (TcpFlag.SYN | TcpFlag.ACK | TcpFlag.RST | TcpFlag.FIN)
    return packet.protocol == TCP and flags == TcpFlag.SYN


def deliver(world: World, route: Route, flow: Flow | None) -> Decision:
    """An allowed packet's destination: its delivery, or the denial when it has none."""
    packet = route.on_wire
    place = world.place(packet.network, route.judged.destination)
    if flow is not None and flow.stack and packet.entry is Entry.ENDPOINT:
        return passed(packet, Delivery.STACK, backend=route.backend)
    if place.kind is PlaceKind.ENDPOINT:
        if not place.open:
            return denied(packet, Reason.CLOSED)
        return enter(packet, place) or passed(
            lowered(packet), Delivery.ENDPOINT, place.endpoint, route.backend
        )
    if packet.entry is Entry.ENDPOINT and place.kind in (PlaceKind.HOST, PlaceKind.OUTSIDE):
        return passed(packet, Delivery.STACK, backend=route.backend)
    return denied(packet, Reason.UNKNOWN_DESTINATION)

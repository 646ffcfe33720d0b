"""ICMP errors: they pass when they are about a live, allowed flow (docs/design/packets.md, "ICMP errors")."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cloche.model.address import Address
from cloche.model.flow import Decision, Entry, Packet, Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import ICMP
from cloche.model.tracker.decisions import denied
from cloche.model.tracker.entries import Flow, FlowKind, Side, Tracker, flow_key
from cloche.model.tracker.flows import judged_again
from cloche.model.tracker.routes import Route, deliver, sides
from cloche.model.tracker.services import belongs, route_to
from cloche.model.tracker.world import PlaceKind, World

REDIRECT = 5


class Related(NamedTuple):
    """The flow that an error is about, and the error's addresses after translation."""

    flow: Flow
    source: Address
    destination: Address


def relate(world: World, tracker: Tracker, packet: Packet, now_ns: int) -> Decision:
    """The decision about an ICMP error; no state changes."""
    unrelated = denied(packet, Reason.ICMP_UNRELATED)
    quoted = packet.quoted
    if quoted is None or (packet.protocol == ICMP and packet.icmp >> 8 == REDIRECT):
        return unrelated
    if quoted.fragment is not None and quoted.fragment.offset > 0:
        return unrelated
    quoted = msgspec.structs.replace(quoted, network=packet.network)
    if quoted.source != packet.destination:
        return unrelated
    if world.place(packet.network, packet.destination).kind is PlaceKind.SERVICE:
        related = _about_reply(world, tracker, packet, quoted, now_ns)
    else:
        related = _about_sent(world, tracker, packet, quoted, now_ns)
    if related is None or judged_again(world, related.flow).action is not Verdict.ALLOW:
        return unrelated
    if packet.entry is Entry.ENDPOINT:
        other = world.place(packet.network, quoted.destination)
        if other.kind is not PlaceKind.ENDPOINT or other.endpoint != packet.sender:
            return unrelated
    outward = msgspec.structs.replace(packet, source=related.source, destination=related.destination)
    ends = Side(0, related.source, 0), Side(0, related.destination, 0)
    return deliver(world, Route(outward, *ends), related.flow)


def _about_reply(
    world: World, tracker: Tracker, packet: Packet, quoted: Packet, now_ns: int
) -> Related | None:
    """The client complains about what the service answered: the error goes to the backend."""
    front, client = sides(world, quoted)
    key = flow_key(packet.network, client, front, quoted.protocol, FlowKind.TRANSLATION)
    known = tracker.translation(key, now_ns)
    if known is None:
        return None
    sent = msgspec.structs.replace(
        quoted,
        source=quoted.destination,
        destination=quoted.source,
        source_port=quoted.destination_port,
        destination_port=quoted.source_port,
    )
    route = route_to(world, sent, known.backend)
    flow = tracker.flow(route.key, now_ns)
    if flow is None or not belongs(flow, front):
        return None
    source = route.sender.address if route.hairpin else packet.source
    return Related(flow, source, known.backend.address)


def _about_sent(
    world: World, tracker: Tracker, packet: Packet, quoted: Packet, now_ns: int
) -> Related | None:
    """The error is about what its destination sent; behind a service it gets the service's address back."""
    sender, other = sides(world, quoted)
    flow = tracker.flow(flow_key(packet.network, sender, other, quoted.protocol), now_ns)
    if flow is None:
        return None
    front = flow.front
    if front is None or front.side != other:
        return Related(flow, packet.source, packet.destination)
    source = front.address if packet.source == front.side.address else packet.source
    return Related(flow, source, front.side.address if flow.hairpin else packet.destination)

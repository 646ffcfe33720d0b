"""One packet, top to bottom: docs/design/packets.md, "Order", from 5 on (1 and 2 for what comes before)."""

from __future__ import annotations

from cloche.model.flow import Decision, Packet
from cloche.model.tracker.checks import entrance
from cloche.model.tracker.entries import Tracker
from cloche.model.tracker.errors import relate
from cloche.model.tracker.flows import carry
from cloche.model.tracker.fragments import fragment_key, is_fragment, leave, refused, take
from cloche.model.tracker.hops import answered
from cloche.model.tracker.routes import Route, sides
from cloche.model.tracker.services import remember, translate
from cloche.model.tracker.world import PlaceKind, World


def step(world: World, tracker: Tracker, packet: Packet, now_ns: int) -> tuple[Decision, Tracker]:
    """What becomes of a packet, and the tracker after it. ``now_ns`` never goes back."""
    decision = entrance(world, packet)
    if decision is not None:
        return decision, tracker
    decision, tracker = _carried(world, tracker, packet, now_ns)
    return answered(world, tracker, packet, decision, now_ns)


def _carried(world: World, tracker: Tracker, packet: Packet, now_ns: int) -> tuple[Decision, Tracker]:
    """A packet that may come in: a part of one, or a whole one."""
    if packet.fragment is None or not is_fragment(packet):
        return _whole(world, tracker, packet, now_ns)
    key = fragment_key(world, packet, packet.fragment)
    decision = refused(tracker, key, packet, now_ns)
    if decision is not None:
        return decision, tracker
    if packet.fragment.offset > 0:
        return take(world, tracker, key, packet)
    decision, tracker = _whole(world, tracker, packet, now_ns)
    return decision, leave(tracker, key, packet, decision, now_ns)


def _whole(world: World, tracker: Tracker, packet: Packet, now_ns: int) -> tuple[Decision, Tracker]:
    """A packet with its upper header: an ICMP error, one to a service, or any other."""
    if packet.is_error:
        return relate(world, tracker, packet, now_ns), tracker
    if world.place(packet.network, packet.destination).kind is not PlaceKind.SERVICE:
        carried = carry(world, tracker, Route(packet, *sides(world, packet)), now_ns)
        return carried.decision, carried.tracker
    translated = translate(world, tracker, packet, now_ns)
    if isinstance(translated, Decision):
        return translated, tracker
    carried = carry(world, tracker, translated.route, now_ns)
    if carried.flow is None:
        return carried.decision, carried.tracker
    after = remember(carried.tracker, translated, carried.flow, carried.opened, now_ns)
    return carried.decision, after

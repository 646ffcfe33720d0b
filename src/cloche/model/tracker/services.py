"""From a service's address to one of its backends (docs/design/packets.md, "Services")."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cloche.model.address import Address
from cloche.model.flow import Age, Decision, Packet, TcpFlag
from cloche.model.reasons import Reason
from cloche.model.topology import TCP, Backend
from cloche.model.tracker.decisions import denied, refused
from cloche.model.tracker.entries import (
    Affinity,
    AffinityKey,
    Flow,
    FlowKey,
    FlowKind,
    Front,
    Side,
    Tracker,
    Translation,
    flow_key,
    having,
)
from cloche.model.tracker.routes import PORTED, Route, is_plain_syn, sides
from cloche.model.tracker.world import PlaceKind, ServiceView, World

MASK = (1 << 64) - 1
MULTIPLIER = 0x9E3779B97F4A7C15


class Translated(NamedTuple):
    """A route to a backend, and what is to be remembered of the choice."""

    route: Route
    key: FlowKey
    view: ServiceView
    client: Address


def choose_backend(hash_key: tuple[int, int], packet: Packet, count: int) -> int:
    """The index, 0..count-1, of the backend that the program takes for a packet as the client wrote it.

    ``hash_key`` is the configuration entry's, two 64-bit numbers.
    """

    def word(raw: bytes) -> int:
        return int.from_bytes(raw, "little")

    source, destination = packet.source, packet.destination
    ends = packet.source_port | packet.destination_port << 16 | packet.protocol << 32
    h = hash_key[0]
    for w in (
        word(source[:8]),
        word(source[8:]),
        word(destination[:8]),
        word(destination[8:]),
        ends,
        packet.network ^ hash_key[1],
    ):
        h = (h ^ w) * MULTIPLIER & MASK
        h ^= h >> 32
    return (h >> 32) * count >> 32


def translate(world: World, tracker: Tracker, packet: Packet, now_ns: int) -> Translated | Decision:
    """The route of a packet to a service's address, or why it has none."""
    view = None
    if packet.protocol in PORTED:
        view = world.service(packet.network, packet.destination, packet.destination_port, packet.protocol)
    if view is None:
        return denied(packet, Reason.NO_SERVICE)
    client, front = sides(world, packet)
    key = flow_key(packet.network, client, front, packet.protocol, FlowKind.TRANSLATION)
    known = tracker.translation(key, now_ns)
    backend = None
    if known is not None:
        if is_member(known, view):
            route = route_to(world, packet, known.backend)
            if not (is_plain_syn(packet) and _is_over(tracker.flow(route.key, now_ns))):
                backend = known.backend
        elif packet.protocol == TCP and not packet.tcp_flags & TcpFlag.SYN:
            return denied(packet, Reason.BACKEND_GONE)
    if backend is None:
        if not view.backends:
            return refused(packet)
        affinity = AffinityKey(view.number, packet.network, packet.source)
        last = tracker.last_backend(affinity, view.affinity_seconds, now_ns)
        backend = last if last in view.backends else world.choose(packet, view)
    route = route_to(world, packet, backend)
    present = tracker.flow(route.key, now_ns)
    if present is not None and not (belongs(present, front) and stands_before(present, route.receiver)):
        return denied(route.on_wire, Reason.TRANSLATION_CLASH)
    return Translated(route, key, view, packet.source)


def is_member(known: Translation, view: ServiceView) -> bool:
    """True while the service's list is the one last confirmed by, or still holds the backend."""
    return (known.number, known.epoch) == (view.number, view.epoch) or known.backend in view.backends


def _is_over(flow: Flow | None) -> bool:
    return flow is None or flow.age in (Age.TCP_CLOSING, Age.CUT)


def belongs(flow: Flow, front: Side) -> bool:
    """True when the flow was translated from that service's address and port."""
    return flow.front is not None and (flow.front.address, flow.front.port) == (front.address, front.port)


def stands_before(flow: Flow, side: Side) -> bool:
    """True when the flow's service address stands before that side."""
    return flow.front is not None and flow.front.side == side


def route_to(world: World, packet: Packet, backend: Backend) -> Route:
    """The route of a client's packet to a backend; to the client itself it is a hairpin."""
    judged = msgspec.structs.replace(packet, destination=backend.address, destination_port=backend.port)
    sender, receiver = sides(world, judged)
    source = world.place(packet.network, packet.source)
    target = world.place(packet.network, backend.address)
    hairpin = source.kind is PlaceKind.ENDPOINT and source.endpoint == target.endpoint
    if hairpin:
        sender = sender._replace(address=world.hairpin(packet.source))
    front = Front(packet.destination, packet.destination_port, receiver)
    return Route(judged, sender, receiver, front, backend, hairpin)


def remember(tracker: Tracker, translated: Translated, flow: Flow, opened: bool, now_ns: int) -> Tracker:
    """The tracker after the client's packet passed as part of ``flow``; ``opened``: as its first."""
    backend, view = translated.route.backend, translated.view
    assert backend is not None
    known = Translation(backend, view.number, view.epoch, flow.seen_ns, flow.age)
    affinity = tracker.affinity
    if opened and view.affinity_seconds:
        key = AffinityKey(view.number, translated.route.judged.network, translated.client)
        affinity = having(affinity, key, Affinity(backend, now_ns))
    return msgspec.structs.replace(
        tracker,
        translations=having(tracker.translations, translated.key, known),
        affinity=affinity,
    )

"""The gateway as a router: hops, what a receiver's link takes, and who is told (docs/design/hops.md)."""

from __future__ import annotations

import msgspec

from cloche.model.flow import ANSWER_NS, ANSWERS_AT_ONCE, Decision, Delivery, Entry, Packet
from cloche.model.reasons import Reason
from cloche.model.tracker.decisions import denied
from cloche.model.tracker.entries import Tracker, having
from cloche.model.tracker.world import Place, PlaceKind, World


def enter(packet: Packet, receiver: Place) -> Decision | None:
    """The denial of a packet at an open endpoint's door, None when it may enter.

    Delivery BACK: it is of a kind that is answered; whether it is, ``answered`` says.
    """
    later = packet.fragment is not None and packet.fragment.offset > 0
    delivery = Delivery.NOWHERE if later or packet.is_error or packet.for_many else Delivery.BACK
    if packet.entry is Entry.ENDPOINT and packet.ttl <= 1:
        return denied(packet, Reason.TTL, delivery)
    if 0 < receiver.mtu < packet.length:
        return denied(packet, Reason.TOO_BIG, delivery)
    return None


def lowered(packet: Packet) -> Packet:
    """The packet as the gateway passes it on: one hop less when it came from an endpoint."""
    if packet.entry is not Entry.ENDPOINT:
        return packet
    return msgspec.structs.replace(packet, ttl=packet.ttl - 1)


def answered(
    world: World, tracker: Tracker, packet: Packet, decision: Decision, now_ns: int
) -> tuple[Decision, Tracker]:
    """The decision with its answer, or silent when the one it is told on account of has had its share.

    That is the sender, or for what came from the stack the receiver.
    """
    if decision.reason not in (Reason.TTL, Reason.TOO_BIG) or decision.delivery is not Delivery.BACK:
        return decision, tracker
    assert decision.destination is not None
    account = packet.sender
    if packet.entry is not Entry.ENDPOINT:
        place = world.place(packet.network, decision.destination)
        assert place.kind is PlaceKind.ENDPOINT
        account = place.endpoint
    until = tracker.answers.get(account, 0)
    if not now_ns <= until <= now_ns + ANSWER_NS * ANSWERS_AT_ONCE:
        until = now_ns
    if until - now_ns > ANSWER_NS * (ANSWERS_AT_ONCE - 1):
        return msgspec.structs.replace(decision, delivery=Delivery.NOWHERE), tracker
    answers = having(tracker.answers, account, until + ANSWER_NS)
    return decision, msgspec.structs.replace(tracker, answers=answers)

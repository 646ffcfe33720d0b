"""Fragments: later ones take what the first one got (docs/design/packets.md, order 6)."""

from __future__ import annotations

import msgspec

from cloche.model.address import is_ipv4
from cloche.model.flow import FRAGMENTS_EACH, Decision, Delivery, Entry, Fragment, Packet, Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import SCTP, TCP, UDP
from cloche.model.tracker.decisions import DIRECTIONS, denied
from cloche.model.tracker.entries import FragmentKey, Fragments, Tracker, having, without
from cloche.model.tracker.hops import enter, lowered
from cloche.model.tracker.world import World

LONGEST = 65535


def is_fragment(packet: Packet) -> bool:
    """True for a part of a packet; offset 0 with nothing to come is a whole one."""
    return packet.fragment is not None and (packet.fragment.offset > 0 or packet.fragment.more)


def fragment_key(world: World, packet: Packet, fragment: Fragment) -> FragmentKey:
    """Whose part a fragment is."""
    sender = world.sender(packet.sender) if packet.entry is Entry.ENDPOINT else None
    return FragmentKey(
        packet.network,
        sender.incarnation if sender else 0,
        packet.source,
        packet.destination,
        fragment.id,
        packet.protocol if is_ipv4(packet.source) else 0,
    )


def refused(tracker: Tracker, key: FragmentKey, packet: Packet, now_ns: int) -> Decision | None:
    """The denial of a fragment for its own sake, or None: a first one goes on, a later one is taken."""
    part = packet.fragment
    assert part is not None
    if (part.more and part.length % 8) or part.offset + part.length > LONGEST:
        return denied(packet, Reason.MALFORMED)
    entry = tracker.fragment(key, now_ns)
    if part.offset == 0:
        if entry is not None or part.length < upper_header(packet):
            return denied(packet, Reason.FRAGMENT_OVERLAP)
        full = followed(tracker, key, now_ns) >= FRAGMENTS_EACH
        return denied(packet, Reason.FRAGMENT_TABLE_FULL) if full else None
    if entry is None:
        return denied(packet, Reason.FRAGMENT_FIRST_MISSING)
    if entry.seen & bits(part):
        return denied(packet, Reason.FRAGMENT_OVERLAP)
    return None


def followed(tracker: Tracker, key: FragmentKey, now_ns: int) -> int:
    """How many fragmented packets of the same sender are followed now."""
    mine = (other for other in tracker.fragments if other.incarnation == key.incarnation)
    return sum(tracker.fragment(other, now_ns) is not None for other in mine)


def upper_header(packet: Packet) -> int:
    """How many bytes of upper header a first fragment must hold."""
    return 8 if packet.is_icmp else {TCP: 20, UDP: 8, SCTP: 12}.get(packet.protocol, 0)


def bits(part: Fragment) -> int:
    """A bit for each 8 bytes of payload that the fragment covers."""
    first, end = part.offset // 8, -(-(part.offset + part.length) // 8)
    return (1 << end) - (1 << first)


def leave(tracker: Tracker, key: FragmentKey, packet: Packet, decision: Decision, now_ns: int) -> Tracker:
    """The tracker after a first fragment, allowed or not."""
    part = packet.fragment
    assert part is not None
    assert decision.source is not None
    assert decision.destination is not None
    entry = Fragments(
        now_ns,
        decision.verdict,
        decision.reason,
        decision.source,
        decision.destination,
        decision.source_port,
        decision.destination_port,
        decision.delivery if decision.verdict is Verdict.ALLOW else Delivery.NOWHERE,
        decision.endpoint,
        bits(part),
        part.length,
    )
    return msgspec.structs.replace(tracker, fragments=having(tracker.fragments, key, entry))


def take(world: World, tracker: Tracker, key: FragmentKey, packet: Packet) -> tuple[Decision, Tracker]:
    """What a later fragment gets from the first; with the last byte the entry goes."""
    part, entry = packet.fragment, tracker.fragments[key]
    assert part is not None
    decision = _answer(entry)
    if entry.delivery is Delivery.ENDPOINT:
        to = world.place(packet.network, entry.destination)
        if to.endpoint != entry.endpoint or not to.open:
            decision = denied(packet, Reason.CLOSED)
        else:
            decision = enter(packet, to) or msgspec.structs.replace(decision, ttl=lowered(packet).ttl)
    elif entry.delivery is Delivery.STACK:
        decision = msgspec.structs.replace(decision, ttl=packet.ttl)
    have = entry.have + part.length
    last = entry.last if part.more else part.offset + part.length
    if last and have >= last:
        return decision, msgspec.structs.replace(tracker, fragments=without(tracker.fragments, key))
    entry = msgspec.structs.replace(entry, seen=entry.seen | bits(part), have=have, last=last)
    return decision, msgspec.structs.replace(tracker, fragments=having(tracker.fragments, key, entry))


def _answer(entry: Fragments) -> Decision:
    return Decision(
        entry.verdict,
        entry.reason,
        DIRECTIONS.get(entry.reason),
        entry.source,
        entry.destination,
        entry.destination_port,
        source_port=entry.source_port,
        delivery=entry.delivery,
        endpoint=entry.endpoint,
    )

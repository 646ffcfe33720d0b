"""Endpoint entries and links in the next generation. What comes is closed until the flip and opened by a
write right after it; what goes is closed before, and removed when a grace period has passed after the flip.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloche.compiler.held import Draft, Held, Refused
from cloche.compiler.numbers import FullError
from cloche.model.address import Address, is_ipv4
from cloche.model.policy import Direction
from cloche.partition.subjects import SharedSet, Subject
from cloche.tables.schema import EndpointEntry, Put, Remove, Versioned, settled

CLOSED, OPEN = 1, 2
NO_ADDRESS = bytes(16)


def write_endpoints(held: Held, draft: Draft) -> None:
    """Make endpoint entries and links say what the view says. Raises FullError when a number is too high."""
    subjects = held.view.subjects.subjects
    touched = held.view.subjects.touched
    taken = {number: key for key, number in held.keys.items()}
    stale = set(held.tables.endpoints) - set(taken) if held.first else set()
    for key in touched:
        if key in held.keys:
            stale.add(held.keys[key])
            taken.pop(held.keys[key], None)
    for key in sorted(key for key in touched if key in subjects):
        number = subjects[key].attachment.number
        if number in taken:
            draft.refused.append(Refused(key, f"its number {number} is {taken[number]}'s"))
            continue
        taken[number], draft.keys[key] = key, number
        stale.discard(number)
        _check_number(held, number)
        _turn_endpoint(held, draft, number, subjects[key])
    for number in sorted(stale):
        _drop_endpoint(held, draft, number)
    if held.first:
        _drop_orphans(held, draft)


def _drop_orphans(held: Held, draft: Draft) -> None:
    """Remove links whose endpoint is gone: who wrote the tables before was killed between the two."""
    subjects, endpoints = held.view.subjects.subjects, held.tables.endpoints
    wanted = {subjects[key].attachment.ifindex for key in draft.keys}
    for ifindex, number in held.tables.links.items():
        entry = endpoints.get(number)
        if ifindex not in wanted and (entry is None or entry.ifindex != ifindex):
            draft.removes.append(Remove("links", ifindex))


def _check_number(held: Held, number: int) -> None:
    capacity = held.capacity
    if not 0 < number < capacity.endpoints:
        raise FullError("endpoints", number + 1, capacity.endpoints)
    if (number + 1) * capacity.quota > capacity.flow_slots:
        raise FullError("flow slots", (number + 1) * capacity.quota, capacity.flow_slots)


def _drop_endpoint(held: Held, draft: Draft, number: int) -> None:
    """Close an endpoint that goes, and remove it later."""
    old = held.tables.endpoints.get(number)
    if old is None:
        return
    if old.state == OPEN:
        draft.closings.append(Put("endpoints", number, old._replace(state=CLOSED)))
    draft.flips = True
    draft.removes.append(Remove("endpoints", number))
    _drop_link(held, draft, number, old.ifindex)


def _drop_link(held: Held, draft: Draft, number: int, ifindex: int) -> None:
    if held.tables.links.get(ifindex) == number:
        draft.removes.append(Remove("links", ifindex))


def _turn_endpoint(held: Held, draft: Draft, number: int, subject: Subject) -> None:
    """Make one endpoint's entry say what the view says."""
    old = held.tables.endpoints.get(number)
    if old is not None and old.incarnation != subject.attachment.incarnation:
        _replace_endpoint(held, draft, number, subject)
        return
    sets = [_set_number(held, draft, subject.sets[direction]) for direction in Direction]
    words = [
        draft.step.turned(word, target) if old is not None else settled(target)
        for word, target in zip((old.egress, old.ingress) if old else (None, None), sets, strict=True)
    ]
    entry = _entry(held, subject, words)
    opens = entry.state == OPEN and (old is None or old.state != OPEN)
    closed = entry._replace(state=CLOSED) if opens else entry
    if closed != old:
        if old is not None and old.state == OPEN and closed.state != OPEN:
            draft.closings.append(Put("endpoints", number, old._replace(state=CLOSED)))
            draft.flips = True
        draft.change("endpoints", number, closed, *words)
    if opens:
        draft.opens.append(Put("endpoints", number, entry))
        draft.flips = True
    if held.tables.links.get(entry.ifindex) != number:
        draft.changes.append(Put("links", entry.ifindex, number))
    if old is not None and old.ifindex != entry.ifindex:
        _drop_link(held, draft, number, old.ifindex)


def _replace_endpoint(held: Held, draft: Draft, number: int, subject: Subject) -> None:
    """Another endpoint takes a number over: the old one is closed and gone before anything of the new one is
    written, so no packet meets half of each."""
    old = held.tables.endpoints[number]
    if old.state == OPEN:
        draft.closings.append(Put("endpoints", number, old._replace(state=CLOSED)))
    draft.flips = True
    words = [settled(_set_number(held, draft, subject.sets[direction])) for direction in Direction]
    entry = _entry(held, subject, words)
    if old.ifindex != entry.ifindex:
        _drop_link(held, draft, number, old.ifindex)
    draft.late.append(Put("endpoints", number, entry._replace(state=CLOSED)))
    if held.tables.links.get(entry.ifindex) != number:
        draft.late.append(Put("links", entry.ifindex, number))
    if entry.state == OPEN:
        draft.late.append(Put("endpoints", number, entry))


def _set_number(held: Held, draft: Draft, shared: SharedSet | None) -> int:
    if shared is None:
        return 0
    return draft.sets[shared] if shared in draft.sets else held.sets[shared]


def _entry(held: Held, subject: Subject, words: list[Versioned]) -> EndpointEntry:
    """The entry of a subject; open if it is more than attached."""
    attachment, endpoint = subject.attachment, subject.endpoint
    known = endpoint is not None and not endpoint.host_network
    addresses = endpoint.addresses if endpoint is not None and known else ()
    return EndpointEntry(
        egress=words[0],
        ingress=words[1],
        state=OPEN if known else CLOSED,
        ifindex=attachment.ifindex,
        network=endpoint.network if endpoint is not None else 0,
        incarnation=attachment.incarnation,
        mac=attachment.mac,
        gateway_mac=attachment.gateway_mac,
        flags=0,
        address4=_first(addresses, ipv4=True),
        address6=_first(addresses, ipv4=False),
        slot_first=attachment.number * held.capacity.quota,
        slot_count=held.capacity.quota,
        mtu=attachment.mtu,
    )


def _first(addresses: Iterable[Address], *, ipv4: bool) -> bytes:
    """The first address of a family, zeros if there is none."""
    return next((bytes(a) for a in addresses if is_ipv4(a) == ipv4), NO_ADDRESS)

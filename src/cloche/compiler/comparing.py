"""Where two tables differ in what they say, whatever numbers they say it with; in words. Pure.

Classes are matched by who has them, sets by their rules, atoms by their ports: as ``digest`` does, which
says whether two tables are equal; this says where they are not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from cloche.compiler.atoms import overlay, read_atoms
from cloche.model.address import format_address
from cloche.tables.fronts import front_of
from cloche.tables.schema import (
    SLOT_ICMP,
    SLOT_ICMPV6,
    SLOT_OTHER,
    SLOT_SCTP,
    SLOT_TCP,
    SLOT_UDP,
    AddressKey,
    MemberKey,
    PrefixKey,
    RuleOrigin,
    ServiceKey,
    Tables,
    Versioned,
    unpack_cell,
)

Named = Callable[[int], str]
Place = AddressKey | PrefixKey
_SLOTS = {SLOT_TCP: "tcp", SLOT_UDP: "udp", SLOT_SCTP: "sctp", SLOT_ICMP: "icmp", SLOT_ICMPV6: "icmpv6"}


def compare(have: Tables, want: Tables, named: Named) -> Iterator[str]:
    """Every difference, as a sentence: what ``have`` says, and what ``want`` does. ``named`` gives the name
    of the endpoint with a number."""
    classes = Classes(have, want)
    yield from classes.differences(named)
    yield from _endpoints(have, want, named)
    yield from _cells(have, want, classes, named)
    yield from _entries("link", have.links, want.links, lambda ifindex: f"of device {ifindex}")
    yield from _services(have, want)
    yield from _fronts(have)


class Classes:
    """Which class here is which one there: the one that most of its members have."""

    def __init__(self, have: Tables, want: Tables) -> None:
        self._have, self._want = _places(have), _places(want)
        votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for place, (wanted, *_) in self._want.items():
            if place in self._have:
                votes[wanted][self._have[place][0]] += 1
        self.here = {wanted: max(found, key=lambda n: (found[n], -n)) for wanted, found in votes.items()}
        self.example: dict[int, Place] = {}
        for place, (wanted, *_) in self._want.items():
            self.example.setdefault(wanted, place)

    def differences(self, named: Named) -> Iterator[str]:
        """Addresses and blocks that are missing, too many, or have another class, endpoint or flags."""
        for place in self._have.keys() - self._want.keys():
            yield f"{_place(place)}: is there and should not be"
        for place, (wanted, *rest) in self._want.items():
            if place not in self._have:
                yield f"{_place(place)}: is missing"
                continue
            class_, *found = self._have[place]
            if class_ != self.here[wanted]:
                other = _place(self.example[wanted])
                yield f"{_place(place)}: has class {class_}, should have the class of {other}"
            if found != rest:
                yield f"{_place(place)}: is {_owner(found, named)}, should be {_owner(rest, named)}"
        taken: dict[int, int] = {}
        for wanted, class_ in self.here.items():
            if class_ in taken:
                one, other = _place(self.example[taken[class_]]), _place(self.example[wanted])
                yield f"the classes of {one} and {other}: are one, should be two"
            taken[class_] = wanted


def _places(tables: Tables) -> dict[Place, tuple[int, ...]]:
    at = tables.generation
    found: dict[Place, tuple[int, ...]] = {
        key: (entry.class_.at(at), entry.endpoint, int(entry.flags))
        for key, entry in tables.addresses.items()
    }
    found.update((key, (entry.class_.at(at), 0, int(entry.flags))) for key, entry in tables.prefixes.items())
    return found


def _place(place: Place) -> str:
    if isinstance(place, AddressKey):
        return f"address {format_address(place.address)} (network {place.network})"
    return f"block {place.block} (network {place.network})"


def _owner(rest: list[int], named: Named) -> str:
    endpoint, flags = rest
    return (f"of {named(endpoint)}" if endpoint else "of no endpoint here") + f" with flags {flags}"


def _endpoints(have: Tables, want: Tables, named: Named) -> Iterator[str]:
    for number in sorted(have.endpoints.keys() | want.endpoints.keys()):
        who = f"endpoint {named(number)} (number {number})"
        found, wanted = have.endpoints.get(number), want.endpoints.get(number)
        if found is None or wanted is None:
            yield f"{who}: {'is missing' if found is None else 'is there and should not be'}"
            continue
        for side in ("egress", "ingress"):
            if _rules(have, getattr(found, side)) != _rules(want, getattr(wanted, side)):
                yield f"{who}: has another {side} set than it should"
        for field in found._fields[2:]:
            if getattr(found, field) != getattr(wanted, field):
                yield f"{who}: {field} is {getattr(found, field)!r}, should be {getattr(wanted, field)!r}"


def _rules(tables: Tables, word: Versioned) -> tuple[RuleOrigin, ...] | None:
    number = word.at(tables.generation)
    return tables.rules.get(number, (RuleOrigin("?", 0, number),)) if number else None  # type: ignore[arg-type]


def _sets(tables: Tables) -> dict[tuple[RuleOrigin, ...], tuple[int, int, str]]:
    """Each set in use by its rules: its number, and an endpoint with the direction that it is for."""
    found: dict[tuple[RuleOrigin, ...], tuple[int, int, str]] = {}
    for number, entry in sorted(tables.endpoints.items()):
        for side in ("egress", "ingress"):
            rules = _rules(tables, getattr(entry, side))
            if rules is not None:
                found.setdefault(rules, (getattr(entry, side).at(tables.generation), number, side))
    return found


def _cells(have: Tables, want: Tables, classes: Classes, named: Named) -> Iterator[str]:
    cuts = (read_atoms(t.atoms, t.generation).intervals for t in (have, want))
    pieces = list(overlay(*cuts))
    here = _sets(have)
    rows: dict[tuple[int, int], list[str]] = {}
    for rules, (number, endpoint, side) in _sets(want).items():
        if rules not in here:
            continue
        ours = here[rules][0]
        entry = have.sets.get(ours)
        if entry is None or entry.rules != len(rules):
            yield f"{side} set of {named(endpoint)}: its entry does not have its {len(rules)} rules"
        for class_, other in classes.here.items():
            pair = (_row(have, ours, other), _row(want, number, class_))
            if pair not in rows:
                rows[pair] = list(
                    _row_differences(have.cells.get(pair[0], []), want.cells.get(pair[1], []), pieces)
                )
            for difference in rows[pair]:
                whom = _place(classes.example[class_])
                yield f"{side} set of {named(endpoint)}, class of {whom}: {difference}"


def _row(tables: Tables, set_: int, class_: int) -> int:
    word = tables.rows.get((set_, class_))
    return word.at(tables.generation) if word is not None else 0


def _row_differences(
    have: list[int], want: list[int], pieces: Iterable[tuple[int, int, int, int]]
) -> Iterator[str]:
    for first, last, ours, theirs in pieces:
        found = have[ours] if ours < len(have) else 0
        wanted = want[theirs] if theirs < len(want) else 0
        if found != wanted:
            yield f"{_ports(first, last)} is {_cell(found)}, should be {_cell(wanted)}"


def _cell(word: int) -> str:
    cell = unpack_cell(word)
    return f"{cell.verdict.name.lower()} by rule {cell.rule}"


def _ports(first: int, last: int) -> str:
    slot, begin = divmod(first, 65536)
    if slot == SLOT_OTHER:
        return f"protocol {begin}" if first == last else f"protocols {begin} to {last - slot * 65536}"
    name = _SLOTS[slot]
    end = min(last, slot * 65536 + 65535) - slot * 65536
    return f"{begin}/{name}" if begin == end else f"{begin}-{end}/{name}"


def _entries(
    what: str, have: Mapping[Any, Any], want: Mapping[Any, Any], say: Callable[[Any], str]
) -> Iterator[str]:
    for key in have.keys() | want.keys():
        if have.get(key) != want.get(key):
            yield f"{what} {say(key)}: is {have.get(key, 'missing')}, should be {want.get(key, 'absent')}"


def _services(have: Tables, want: Tables) -> Iterator[str]:
    yield from _entries("service", _told(have), _told(want), _service)
    numbers = {entry.number: key for key, entry in have.services.items()}
    places: dict[MemberKey, int] = {}
    for entry in have.services.values():
        for place in range(entry.first, entry.first + entry.backends):
            backend = have.backends.get(place)
            if backend is not None:
                places[MemberKey(entry.number, backend.address, backend.port)] = place
                if backend.service != entry.number:
                    key = numbers[entry.number]
                    yield f"backend {place} of service {_service(key)}: names another service"
    for member in chain(places.keys() - have.members.keys(), have.members.keys() - places.keys()):
        owner = numbers.get(member.service)
        whose = f"service {_service(owner)}" if owner else f"no service (number {member.service})"
        state = "is missing" if member in places else "is there and should not be"
        yield f"member {format_address(member.address)} port {member.port} of {whose}: {state}"


def _fronts(have: Tables) -> Iterator[str]:
    """Fronts follow from the rest of the tables; where each is says nothing."""
    there: set[ServiceKey] = set()
    for front in have.fronts.values():
        if front != front_of(have, front.key):
            yield f"front of service {_service(front.key)}: says something else than its service"
        if front.key in there:
            yield f"front of service {_service(front.key)}: there are two"
        there.add(front.key)


def _service(key: ServiceKey) -> str:
    return f"{format_address(key.address)} port {key.port} protocol {key.protocol}"


def _told(tables: Tables) -> dict[ServiceKey, str]:
    told = {}
    for key, entry in tables.services.items():
        found = (tables.backends.get(place) for place in range(entry.first, entry.first + entry.backends))
        backends = ", ".join(f"{format_address(b.address)} {b.port}" if b else "nothing" for b in found)
        told[key] = f"[{backends}] with affinity {entry.affinity_seconds} s"
    return told

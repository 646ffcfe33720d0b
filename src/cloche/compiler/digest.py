"""A generation's identity: a hash of what the tables say, whatever numbers they say it with.

Classes count by who has them, sets by their rules, rows by their cells, atoms by their first port. So two
tables have the same digest exactly when they differ in numbering and history alone (up to collisions).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from cloche.compiler.atoms import Atoms, read_atoms
from cloche.tables.schema import EndpointEntry, Tables, Versioned

SIZE = 16
MODULO = 1 << 8 * SIZE


def fingerprint(*parts: object) -> int:
    """A number for some values that have a faithful ``repr``."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=SIZE).digest(), "big")


def digest(tables: Tables) -> str:
    """The canonical hash of what counts in ``tables``' active generation, as hexadecimal digits."""
    at = tables.generation
    atoms = read_atoms(tables.atoms, at)
    members = _members(tables)
    sets = _sets(tables)
    total = fingerprint("atoms", [(first, last) for first, last, _ in _canonical(atoms)])
    order = [number for _, _, number in _canonical(atoms)]
    rows: dict[int, int] = {}
    for class_, identity in members.items():
        behaviour = 0
        for set_, key in sets.items():
            row = _number(tables.rows.get((set_, class_)), at)
            if row not in rows:
                held = tables.cells.get(row, [])
                rows[row] = fingerprint("row", [held[n] if n < len(held) else 0 for n in order])
            behaviour += fingerprint(key, rows[row])
        total += fingerprint("class", identity, behaviour % MODULO)
    total += _endpoints(tables, sets) + _services(tables)
    return f"{total % MODULO:0{2 * SIZE}x}"


def _number(word: Versioned | None, generation: int) -> int:
    return 0 if word is None else word.at(generation)


def _canonical(atoms: Atoms) -> Iterable[tuple[int, int, int]]:
    """Each interval with its atom's number. (An atom is known by its first interval.)"""
    return atoms.intervals


def _members(tables: Tables) -> dict[int, int]:
    """A number for each class: who has it. Entries without a class are class 0."""
    members: defaultdict[int, int] = defaultdict(int)
    for at, entry in tables.addresses.items():
        class_ = entry.class_.at(tables.generation)
        members[class_] += fingerprint("address", tuple(at), entry.endpoint, int(entry.flags))
    for prefix, piece in tables.prefixes.items():
        class_ = piece.class_.at(tables.generation)
        block = (prefix.network, prefix.block.address, prefix.block.length)
        members[class_] += fingerprint("prefix", block, int(piece.flags))
    return {class_: number % MODULO for class_, number in members.items()}


def _sets(tables: Tables) -> dict[int, int]:
    """A number for each set in use: its rules."""
    at = tables.generation
    used = {word.at(at) for e in tables.endpoints.values() for word in (e.egress, e.ingress)} - {0}
    return {number: fingerprint("set", tables.rules.get(number, ())) for number in used}


def _endpoints(tables: Tables, sets: dict[int, int]) -> int:
    total = sum(fingerprint("link", ifindex, number) for ifindex, number in tables.links.items())
    for number, entry in tables.endpoints.items():
        sides = [sets.get(word.at(tables.generation), 0) for word in (entry.egress, entry.ingress)]
        total += fingerprint("endpoint", number, *sides, *_rest(entry))
    return total


def _rest(entry: EndpointEntry) -> tuple[object, ...]:
    return entry[2:]


def _services(tables: Tables) -> int:
    total = 0
    for key, entry in tables.services.items():
        places = range(entry.first, entry.first + entry.backends)
        backends = [tables.backends[place][:2] for place in places if place in tables.backends]
        total += fingerprint("service", tuple(key), entry.affinity_seconds, backends)
    return total

"""A generation's identity: a hash of what the tables say, whatever numbers they say it with.

Classes count by who has them, sets by their rules, rows by what they decide for which port. So two tables
have the same digest exactly when they differ in numbering and history alone (up to collisions). It is a sum
of fingerprints, so a change costs what it touches: docs/design/digest.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import product
from typing import cast

from cloche.compiler.atoms import Atoms, overlay, read_atoms
from cloche.tables.mirror import apply_write
from cloche.tables.schema import (
    AddressEntry,
    AddressKey,
    PrefixEntry,
    PrefixKey,
    Put,
    Remove,
    Tables,
    Versioned,
    Write,
)

SIZE = 16
MODULO = 1 << 8 * SIZE
Place = tuple[str, object]
"""A map's name and a key in it."""

Pair = tuple[int, int]
"""Set and class number."""


def digest(tables: Tables) -> str:
    """The canonical hash of what counts in ``tables``' active generation, as hexadecimal digits."""
    return Digest(tables, read_atoms(tables.atoms, tables.generation)).text


def fingerprint(*parts: object) -> int:
    """A number for some values that have a faithful ``repr``."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=SIZE).digest(), "big")


@lru_cache(maxsize=1 << 16)
def _decides(set_: int, row: int) -> int:
    """What a set says to a class for which it has this row."""
    return fingerprint(set_, row)


def _address(at: AddressKey, entry: AddressEntry) -> int:
    """An address and what is said of it, its class aside. (Most of a digest's time is spent here.)"""
    said = b"address %b %d %d %d" % (at[1], at[0], entry.endpoint, entry.flags)
    return int.from_bytes(blake2b(said, digest_size=SIZE).digest(), "big")


def _prefix(at: PrefixKey, entry: PrefixEntry) -> int:
    return fingerprint("prefix", at.network, at.block.address, at.block.length, int(entry.flags))


def _cell(held: Sequence[int], number: int) -> int:
    return held[number] if number < len(held) else 0


class Digest:
    """The digest of some tables, kept up to date by ``carry_out``."""

    def __init__(self, tables: Tables, atoms: Atoms) -> None:
        self._tables, self._atoms, self._at = tables, atoms, tables.generation
        self._members: defaultdict[int, int] = defaultdict(int)
        """How many addresses and blocks have each class."""
        self._identity: defaultdict[int, int] = defaultdict(int)
        """Who has each class: the sum of their fingerprints."""
        self._behaviour: dict[int, int] = {}
        """What all sets say to each class: the sum of their fingerprints."""
        self._named: dict[int, tuple[int, ...]] = {}
        """The sets of each endpoint."""
        self._uses: Counter[int] = Counter()
        """How often endpoints name each set."""
        self._sets: dict[int, int] = {}
        """The fingerprints of the sets in use, by number."""
        self._rows: dict[int, int] = {}
        """Rows' fingerprints, as they were asked for."""
        self._terms: dict[Place, int] = {}
        """What was summed up, and by what it goes."""
        self._total = 0
        self._classes: set[int] = set()
        self._pairs: dict[Pair, int] = {}
        self._places: set[Place] = set()
        self._noted: tuple[Atoms, Collection[int]] | None = None
        """Of a change whose writes are done and which is not in the sum yet: its atoms and rows."""
        self._read()

    @property
    def text(self) -> str:
        """The digest, as hexadecimal digits; what was noted is summed up only when it is asked for."""
        self._catch_up()
        return f"{self._total % MODULO:0{2 * SIZE}x}"

    def carry_out(
        self, writes: Iterable[Write], generation: int, atoms: Atoms, rows: Collection[int]
    ) -> None:
        """Do a change's writes, which are for ``generation``. After them ``atoms`` count. ``rows``: those in
        use, as they are when the digest is asked for, at the latest when the next change is carried out."""
        self._catch_up()
        self._at = generation
        for write in writes:
            self._take(write)
            apply_write(self._tables, write)
        self._noted = atoms, rows

    def _catch_up(self) -> None:
        """Bring the sum up to date with the last change."""
        if self._noted is None:
            return
        (atoms, rows), self._noted = self._noted, None
        came = self._turn_sets()
        if atoms is not self._atoms:
            self._recut(atoms, rows)
        self._settle(came)

    def _read(self) -> None:
        """Take in all that the tables hold."""
        members, identity = self._members, self._identity
        for at, entry in self._tables.addresses.items():
            class_ = entry.class_.at(self._at)
            members[class_] += 1
            identity[class_] += _address(at, entry)
        for block, piece in self._tables.prefixes.items():
            self._count(piece.class_, _prefix(block, piece), 1)
        for map_ in ("links", "endpoints", "services"):
            self._places.update((map_, key) for key in getattr(self._tables, map_))
        self._classes.update(members)
        self._sum_up_cut()
        self._settle(self._turn_sets())

    def _take(self, write: Write) -> None:
        """Note what a write will change; the tables are still as they were before it."""
        match write:
            case Put("addresses", key) | Remove("addresses", key):
                at = cast(AddressKey, key)
                if (entry := self._tables.addresses.get(at)) is not None:
                    self._count(entry.class_, _address(at, entry), -1)
                if isinstance(write, Put):
                    entry = cast(AddressEntry, write.value)
                    self._count(entry.class_, _address(at, entry), 1)
            case Put("prefixes", key) | Remove("prefixes", key):
                block = cast(PrefixKey, key)
                if (piece := self._tables.prefixes.get(block)) is not None:
                    self._count(piece.class_, _prefix(block, piece), -1)
                if isinstance(write, Put):
                    piece = cast(PrefixEntry, write.value)
                    self._count(piece.class_, _prefix(block, piece), 1)
            case Put("rows", key):
                pair = cast(Pair, key)
                if pair[0] in self._sets and pair not in self._pairs:
                    self._pairs[pair] = self._row(pair, self._tables.generation)
            case Put("heads"):
                pass
            case Put("cells", key):
                row, first = cast(Pair, key)
                written = (1 << len(cast(tuple[int, ...], write.value))) - 1 << first
                if written & self._atoms.everything:
                    self._rows.pop(row, None)  # a new row; cells of new atoms alone come behind a live one's
            case Put(map_, key) | Remove(map_, key):
                self._places.add((map_, key))

    def _count(self, word: Versioned, number: int, step: int) -> None:
        """An address or block comes (1) into its class or leaves it (-1)."""
        class_ = word.at(self._at)
        self._members[class_] += step
        self._identity[class_] += step * number
        self._classes.add(class_)

    def _recut(self, atoms: Atoms, rows: Collection[int]) -> None:
        """The ports are cut anew: rows may decide otherwise under their old numbers."""
        pieces = overlay(self._atoms.intervals, atoms.intervals)
        turned = {(old, new) for _, _, old, new in pieces if old != new}
        self._atoms = atoms
        self._sum_up_cut()
        known = {row: self._rows[row] for row in rows if row in self._rows}
        changed = {row: number for row, number in known.items() if self._differs(row, turned)}
        self._rows = {row: number for row, number in known.items() if row not in changed}
        if not changed:
            return
        for pair in product(self._sets, self._behaviour):
            word = self._tables.rows.get(pair)
            row = 0 if word is None else word.at(self._at)
            if row in changed:
                self._pairs.setdefault(pair, changed[row])

    def _differs(self, row: int, turned: Iterable[tuple[int, int]]) -> bool:
        """True when ports that had one atom's number and have another's are decided otherwise by a row."""
        held = self._tables.cells.get(row, [])
        size = len(held)
        for old, new in turned:
            if (held[old] if old < size else 0) != (held[new] if new < size else 0):
                return True
        return False

    def _sum_up_cut(self) -> None:
        intervals = [(first, last) for first, last, _ in self._atoms.intervals]
        self._sum_up(("atoms", 0), fingerprint("atoms", intervals))

    def _settle(self, came: Iterable[int]) -> None:
        """Bring the sum up to date with all that was noted; these sets came."""
        for (set_, class_), row in self._pairs.items():
            if set_ in self._sets and class_ in self._behaviour:
                self._say(set_, class_, row, -1)
                self._say(set_, class_, self._row((set_, class_), self._at), 1)
        for set_ in came:
            self._sets[set_] = fingerprint("set", self._tables.rules.get(set_, ()))
            for class_ in self._behaviour:
                self._say(set_, class_, self._row((set_, class_), self._at), 1)
        for class_ in self._classes:
            self._sum_up(("classes", class_), self._class_term(class_))
        for place in self._places:
            self._sum_up(place, self._term(*place))
        self._classes.clear()
        self._pairs.clear()
        self._places.clear()

    def _say(self, set_: int, class_: int, row: int, step: int) -> None:
        """A set says this to a class from now on (1) or no longer (-1)."""
        self._behaviour[class_] += step * _decides(self._sets[set_], row)
        self._classes.add(class_)

    def _row(self, pair: Pair, generation: int) -> int:
        """The fingerprint of a pair's row: from which port on it has which cell."""
        word = self._tables.rows.get(pair)
        row = 0 if word is None else word.at(generation)
        if row not in self._rows:
            held = self._tables.cells.get(row, [])
            steps: list[tuple[int, int]] = []
            for first, _, number in self._atoms.intervals:
                cell = _cell(held, number)
                if not steps or steps[-1][1] != cell:
                    steps.append((first, cell))
            self._rows[row] = fingerprint("row", steps)
        return self._rows[row]

    def _turn_sets(self) -> list[int]:
        """Find the sets that endpoints came to name, and leave out those that none names any more."""
        looked: set[int] = set()
        for map_, key in self._places:
            if map_ == "endpoints":
                number = cast(int, key)
                entry = self._tables.endpoints.get(number)
                words = () if entry is None else (entry.egress, entry.ingress)
                old, new = self._named.pop(number, ()), tuple(word.at(self._at) for word in words)
                self._uses.subtract(old)
                self._uses.update(new)
                looked.update(old, new)
                if new:
                    self._named[number] = new
        looked.discard(0)
        for set_ in looked:
            if not self._uses[set_] and set_ in self._sets:
                for class_ in self._behaviour:
                    pair = (set_, class_)
                    row = self._pairs[pair] if pair in self._pairs else self._row(pair, self._at)
                    self._say(set_, class_, row, -1)
                del self._sets[set_]
        return [set_ for set_ in looked if self._uses[set_] and set_ not in self._sets]

    def _class_term(self, class_: int) -> int:
        """Who has a class, and what all sets say to it; 0 when nobody has it."""
        if not self._members[class_]:
            del self._members[class_], self._identity[class_]
            self._behaviour.pop(class_, None)
            return 0
        if class_ not in self._behaviour:
            said = (_decides(key, self._row((set_, class_), self._at)) for set_, key in self._sets.items())
            self._behaviour[class_] = sum(said)
        return fingerprint("class", self._identity[class_] % MODULO, self._behaviour[class_] % MODULO)

    def _term(self, map_: str, key: object) -> int:
        """What an entry of another map adds; 0 when it is not there or says nothing by itself."""
        held = getattr(self._tables, map_).get(key) if map_ in ("links", "endpoints", "services") else None
        if held is None:
            return 0
        match map_:
            case "endpoints":
                sides = [self._sets.get(word.at(self._at), 0) for word in (held.egress, held.ingress)]
                return fingerprint("endpoint", key, *sides, *held[2:])
            case "services":
                places = range(held.first, held.first + held.backends)
                found = (self._tables.backends.get(place) for place in places)
                backends = [backend[:2] for backend in found if backend is not None]
                return fingerprint("service", tuple(key), held.affinity_seconds, backends)  # type: ignore[arg-type]
        return fingerprint("link", key, held)

    def _sum_up(self, place: Place, term: int) -> None:
        """The term of a place is this now."""
        self._total += term - self._terms.pop(place, 0)
        if term:
            self._terms[place] = term

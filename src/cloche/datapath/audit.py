"""Compares the maps with what was written to them, a little at a time, and says how to put them right.

Whoever asks holds the tables exactly as written and lets nobody write during a step. What a packet reads and
no program writes is compared: every map of the tables, and the active generation.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cloche.datapath import encode
from cloche.datapath.arrays import Arrays
from cloche.datapath.fronts import Fronts, block_of
from cloche.datapath.layout import CONFIG_OFFSETS
from cloche.datapath.nearby import Nearby
from cloche.datapath.pins import Maps
from cloche.datapath.prefixes import Standing
from cloche.datapath.rows import non_zero
from cloche.model.address import format_address
from cloche.tables.fronts import front_of
from cloche.tables.schema import (
    AddressKey,
    Flip,
    MemberKey,
    PrefixEntry,
    PrefixKey,
    Put,
    Remove,
    ServiceKey,
    Tables,
    Versioned,
    Write,
    unpack,
)

AT_ONCE = 128
NODES_AT_ONCE = 32
WALKS = 4
WORDS_AT_ONCE = 8192


class Altered(NamedTuple):
    """An entry that is not as it was written: which, what befell it, and the write that mends it."""

    what: str
    write: Write


class Auditor:
    """Goes through the maps of one instance. Writes nothing."""

    def __init__(self, maps: Maps) -> None:
        self._maps, self._arrays, self._fronts = maps, Arrays(maps), Fronts(maps)

    def steps(self, tables: Tables) -> Iterator[list[Altered]]:
        """Once through everything, each step some 100 us long; what each found. ``tables`` may be written
        to between two steps, together with the maps."""
        yield list(self._generation(tables))
        for name in encode.HASHES:
            yield from self._hash(tables, name)
        yield from self._nearby(tables)
        yield from self._prefixes(tables)
        for name in encode.RECORDS:
            yield from self._records(tables, name)
        yield from self._fronts_of(tables)
        yield from self._atoms(tables)
        yield from self._rows(tables)
        yield from self._cells(tables)

    def _generation(self, tables: Tables) -> Iterator[Altered]:
        active = self._arrays.config[CONFIG_OFFSETS["generation"] // 8]
        if active != tables.generation:
            yield Altered(f"the active generation was set to {active}", Flip(tables.generation))

    def _hash(self, tables: Tables, name: str) -> Iterator[list[Altered]]:
        handle, codec = getattr(self._maps, name), encode.HASHES[name]
        for entries in handle.chunks(AT_ONCE):
            found, held = [], getattr(tables, name)
            for raw, value in entries:
                key = codec.read_key(raw)
                if key not in held:
                    found.append(Altered(f"{say(name, key)} was added", Remove(name, key)))
                elif codec.value(held[key]) != value:
                    found.append(Altered(f"{say(name, key)} was altered", Put(name, key, held[key])))
            yield found
        for keys in pieces(list(getattr(tables, name))):
            held = getattr(tables, name)
            yield [
                Altered(f"{say(name, key)} was removed", Put(name, key, held[key]))
                for key in keys
                if key in held and handle.get(codec.key(key)) is None
            ]

    def _nearby(self, tables: Tables) -> Iterator[list[Altered]]:
        nearby = Nearby(self._maps.address_blocks)
        for keys in pieces(list(tables.addresses)):
            yield [
                Altered(f"{say('address_blocks', key)} was altered", Put("addresses", key, held))
                for key in keys
                if (held := tables.addresses.get(key)) is not None and not nearby.has(key)
            ]

    def _prefixes(self, tables: Tables) -> Iterator[list[Altered]]:
        """A walk is begun anew when the tables were written to meanwhile, and the last one is not left."""
        for left in range(WALKS, 0, -1):
            standing, begun = Standing(self._maps), tables.generation
            for count, _ in enumerate(standing.walk(), 1):
                if count % NODES_AT_ONCE == 0 and left > 1:
                    yield []
                if tables.generation != begun:
                    break
            else:
                yield list(_told(standing, tables.prefixes))
                return

    def _records(self, tables: Tables, name: str) -> Iterator[list[Altered]]:
        source, codec = self._arrays.records[name], encode.RECORDS[name]
        for keys in pieces(list(getattr(tables, name))):
            held = getattr(tables, name)
            yield [
                Altered(f"{say(name, key)} was altered", Put(name, key, held[key]))
                for key in keys
                if key in held and source.read(key)[: codec.size] != codec.value(held[key])
            ]
        held = getattr(tables, name)
        yield [
            Altered(f"{say(name, key)} was added", Remove(name, key))
            for key in source.used()
            if key not in held
        ]

    def _fronts_of(self, tables: Tables) -> Iterator[list[Altered]]:
        fronts = self._fronts
        for places in pieces(fronts.used()):
            found, uncounted = [], set[int]()
            for place in filter(fronts.is_used, places):
                front = fronts.read(place)
                if front.key not in tables.services or fronts.find(front.key) != place:
                    found.append(Altered(f"{say('fronts', place)} was added", Remove("fronts", place)))
                elif front != front_of(tables, front.key):
                    put = Put("services", front.key, tables.services[front.key])
                    found.append(Altered(f"{say('fronts', front.key)} was altered", put))
                elif not fronts.is_counted(front.key):
                    uncounted.add(block_of(front.key))
            counts = fronts.true_counts() if uncounted else {}
            for block in sorted(uncounted):
                mend = Put("front_blocks", block, counts[block])
                found.append(Altered(f"{say('front_blocks', block)} was altered", mend))
            yield found
        for keys in pieces(list(tables.services)):
            yield [
                Altered(f"{say('fronts', key)} was removed", Put("services", key, tables.services[key]))
                for key in keys
                if key in tables.services and fronts.find(key) is None and fronts.has_room(key)
            ]

    def _atoms(self, tables: Tables) -> Iterator[list[Altered]]:
        view = self._arrays.atoms.view
        for first in range(0, len(view), WORDS_AT_ONCE):
            there = view[first : first + WORDS_AT_ONCE].tobytes()
            wanted = tables.atoms[first : first + WORDS_AT_ONCE]
            if there == wanted.tobytes():
                yield []
                continue
            yield [
                Altered(f"{say('atoms', at)} was altered", Put("atoms", (at, at), unpack(word)))
                for at, word in enumerate(wanted, first)
                if view[at] != word
            ]

    def _rows(self, tables: Tables) -> Iterator[list[Altered]]:
        view, classes = self._arrays.rows.view, self._arrays.classes
        for keys in pieces(list(tables.rows)):
            yield [
                Altered(f"{say('rows', key)} was altered", Put("rows", key, tables.rows[key]))
                for key in keys
                if key in tables.rows
                and self._is_altered(view[self._arrays.row_index(key[0], key[1])], tables.rows[key])
            ]
        for first in range(0, len(view), WORDS_AT_ONCE):
            found = non_zero(view[first : first + WORDS_AT_ONCE])
            keyed = (divmod(first + at, classes) for at, _ in found)
            yield [
                Altered(f"{say('rows', key)} was added", Put("rows", key, unpack(0)))
                for key in keyed
                if key not in tables.rows
            ]

    def _is_altered(self, word: int, wanted: Versioned) -> bool:
        find = self._arrays.cells.find
        return word != Versioned(find(wanted.old), find(wanted.new), wanted.since).pack()

    def _cells(self, tables: Tables) -> Iterator[list[Altered]]:
        for rows in pieces(list(tables.cells)):
            found = []
            for row in rows:
                wanted = array("I", tables.cells.get(row, []))
                cells = self._arrays.cells
                if any(array("I", look(row, len(wanted))) != wanted for look in (cells.read, cells.written)):
                    put = Put("cells", (row, 0), tuple(wanted))
                    found.append(Altered(f"{say('cells', row)} was altered", put))
            yield found


def _told(standing: Standing, wanted: Mapping[PrefixKey, PrefixEntry]) -> Iterator[Altered]:
    there = standing.entries()
    if standing.altered:
        yield Altered("the map prefix_nodes was altered", Put("prefix_nodes", 0, tuple(wanted.items())))
    for key, entry in wanted.items():
        if there.get(key) != entry:
            befell = "altered" if key in there else "removed"
            yield Altered(f"{say('prefixes', key)} was {befell}", Put("prefixes", key, entry))
    for key in there.keys() - wanted.keys():
        yield Altered(f"{say('prefixes', key)} was added", Remove("prefixes", key))


def pieces(keys: list[Any]) -> Iterator[list[Any]]:
    """The keys, some at once."""
    for first in range(0, len(keys), AT_ONCE):
        yield keys[first : first + AT_ONCE]


def say(name: str, key: object) -> str:
    """An entry of a map in words."""
    match key:
        case AddressKey(network, address):
            text = f"{format_address(address)} of network {network}"
        case PrefixKey(network, block):
            text = f"{block} of network {network}"
        case ServiceKey(_, address, port, protocol):
            text = f"{format_address(address)} port {port} protocol {protocol}"
        case MemberKey(service, address, port):
            text = f"{format_address(address)} port {port} of service {service}"
        case _:
            text = str(key)
    return f"the entry {text} of the map {name}"

"""Reads the tables back out of the maps, and says which writes would make them what they should be.

``Tables.rules`` is user space's own and is not in the maps; rows' cells are read up to the highest
atom that the atoms map names.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from cloche.datapath import encode
from cloche.datapath.arrays import Arrays
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import CONFIG_OFFSETS, EndpointState
from cloche.datapath.nearby import Nearby
from cloche.datapath.pins import Maps
from cloche.datapath.prefixes import standing
from cloche.datapath.rows import non_zero
from cloche.tables.fronts import near_places
from cloche.tables.schema import (
    NUMBER_BITS,
    AddressKey,
    Capacity,
    EndpointEntry,
    Put,
    Remove,
    Tables,
    Write,
    unpack,
)

_NUMBER = (1 << NUMBER_BITS) - 1


def read_back(maps: Maps) -> Tables:
    """What the maps hold now, as tables of the active generation."""
    arrays = Arrays(maps)
    tables = Tables(arrays.config[CONFIG_OFFSETS["generation"] // 8])
    tables.atoms = array("Q", arrays.atoms.view.tobytes())
    for index, word in non_zero(arrays.rows.view):
        tables.rows[divmod(index, arrays.classes)] = arrays.cells.rows(word)
    _read_cells(tables, arrays)
    for name, codec in encode.HASHES.items():
        entries = getattr(maps, name).items()
        getattr(tables, name).update((codec.read_key(k), codec.read_value(v)) for k, v in entries)
    nearby = Nearby(maps.address_blocks)
    tables.addresses = {at: entry for at, entry in tables.addresses.items() if nearby.has(at)}
    tables.prefixes = standing(maps).entries()
    for name, record in encode.RECORDS.items():
        source = arrays.records[name]
        held = ((index, source.read(index)[: record.size]) for index in source.used())
        getattr(tables, name).update((index, record.read_value(raw)) for index, raw in held)
    fronts = Fronts(maps)
    tables.fronts = {place: fronts.read(place) for place in fronts.used()}
    return tables


def read_services(maps: Maps) -> Tables:
    """Of all that, what the fronts follow from: services, backends and the services' addresses."""
    tables, source = Tables(), Arrays(maps).records["backends"]
    codec, record, at = encode.HASHES["services"], encode.RECORDS["backends"], encode.HASHES["addresses"]
    tables.services = {codec.read_key(k): codec.read_value(v) for k, v in maps.services.items()}
    for key, entry in tables.services.items():
        for place in near_places(entry):
            tables.backends[place] = record.read_value(source.read(place)[: record.size])
        address = AddressKey(key.network, key.address)
        raw = maps.addresses.get(at.key(address))
        if raw is not None:
            tables.addresses[address] = at.read_value(raw)
    return tables


def read_endpoints(maps: Maps) -> dict[int, EndpointEntry]:
    """Of all that, the endpoints alone."""
    source, codec = Arrays(maps).records["endpoints"], encode.RECORDS["endpoints"]
    held = ((index, source.read(index)[: codec.size]) for index in source.used())
    return {index: codec.read_value(raw) for index, raw in held}


def _read_cells(tables: Tables, arrays: Arrays) -> None:
    named = 1 + max(max(word & _NUMBER, word >> NUMBER_BITS & _NUMBER) for word in set(tables.atoms))
    width = min(named, Capacity().atoms)  # a word altered from outside may name any atom
    numbers = {number for word in tables.rows.values() for number in (word.old, word.new)} - {0}
    for row in numbers:
        tables.cells[row] = arrays.cells.read(row, width)


def difference(have: Tables, want: Tables) -> list[Write]:
    """The writes that turn what the maps have into what they should hold, the generation apart.

    Ordered so that nothing opens early: endpoints that must go or change are closed first, what is
    pointed to is written before what points to it, extra entries go last.
    """
    writes: list[Write] = list(_closings(have.endpoints, want.endpoints))
    for row, cells in want.cells.items():
        if have.cells.get(row, [])[: len(cells)] != list(cells):
            writes.append(Put("cells", (row, 0), tuple(cells)))
    writes += _atoms(have.atoms, want.atoms)
    for name in ("rows", "sets", "addresses", "prefixes", "backends", "members", "services"):
        writes += _changed(name, getattr(have, name), getattr(want, name))
    writes += _changed("endpoints", have.endpoints, want.endpoints)
    writes += _changed("links", have.links, want.links)
    for name in (
        "links",
        "endpoints",
        "services",
        "members",
        "backends",
        "addresses",
        "prefixes",
        "sets",
        "rows",
    ):
        wanted = getattr(want, name)
        writes += [Remove(name, key) for key in getattr(have, name) if key not in wanted]
    return writes


def _closings(have: Mapping[int, Any], want: Mapping[int, Any]) -> Iterator[Write]:
    for number, entry in have.items():
        if entry.state == EndpointState.OPEN and want.get(number) != entry:
            yield Put("endpoints", number, entry._replace(state=int(EndpointState.CLOSED)))


def _changed(name: str, have: Mapping[Any, Any], want: Mapping[Any, Any]) -> list[Write]:
    return [Put(name, key, value) for key, value in want.items() if have.get(key) != value]


def _atoms(have: array[int], want: array[int]) -> Iterator[Write]:
    if have == want:
        return
    differing = (i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
    runs = groupby(enumerate(differing), key=lambda pair: (pair[1] - pair[0], want[pair[1]]))
    for (_, word), run in runs:
        indexes = [index for _, index in run]
        yield Put("atoms", (indexes[0], indexes[-1]), unpack(word))

"""Applies ordered writes to the maps, in steps short enough for the agent's loop.

The order is the caller's and is kept: a change is "write, flip, grace". Hash entries that follow one
another in one map go to the kernel in one batch, each entry still one step for a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from cloche.datapath import bpf, encode, faults
from cloche.datapath.arrays import Arrays
from cloche.datapath.faults import Point
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import CONFIG_OFFSETS, ROW_UNIT
from cloche.datapath.maps import Map
from cloche.datapath.nearby import Nearby
from cloche.datapath.pins import Maps
from cloche.datapath.prefixes import Prefixes
from cloche.tables.fronts import front_of, is_served, near_places
from cloche.tables.schema import (
    AddressEntry,
    AddressKey,
    Flip,
    FrontEntry,
    Grace,
    Put,
    Remove,
    ServiceEntry,
    ServiceKey,
    Tables,
    Versioned,
    Write,
)

CHUNK = 256
_GENERATION_AT = CONFIG_OFFSETS["generation"] // 8


class Step(Enum):
    """What ``apply`` has to say between two pieces of work."""

    WROTE = "wrote"
    """A chunk is in the maps; there is more."""
    WAITS = "waits"
    """The next piece waits for a grace period, some 10 ms: advance it in a thread."""


class _Batch:
    """Entries of one hash map that are still to be written. ``served``: addresses that it makes services'."""

    def __init__(self, fronts: Fronts) -> None:
        self.fronts = fronts
        self.served: dict[AddressKey, None] = {}
        self.target: Map | None = None
        self.keys: list[bytes] = []
        self.values: list[bytes] = []

    def add(self, target: Map, key: bytes, value: bytes) -> None:
        if target is not self.target:
            self.flush()
            self.target = target
        self.keys.append(key)
        self.values.append(value)

    def flush(self) -> None:
        if self.target is not None and self.keys:
            self.target.put_many(self.keys, self.values)
        self.target, self.keys, self.values = None, [], []
        for at in self.served:
            self.fronts.show(at, True)
        self.served.clear()


class Writer:
    """Writes to one instance's maps."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self.arrays = Arrays(maps)
        self._prefixes = Prefixes(maps)
        codec = encode.HASHES["addresses"]
        self._nearby = Nearby(maps.address_blocks)
        self._nearby.begin(codec.read_key(key) for key, _ in maps.addresses.items())
        self._fronts = Fronts(maps)

    def apply(self, writes: Iterable[Write], chunk: int = CHUNK) -> Iterator[Step]:
        """Apply in order, yielding after every ``chunk`` writes (1: after each single one).

        Writes of ``rules`` are user space's own and are passed over. OSError from the kernel, IndexError
        for a number that does not fit; what came before is written.
        """
        if faults.is_armed(Point.WRITE):
            chunk = 1
        batch = _Batch(self._fronts)
        kept_here = (w for w in writes if not isinstance(w, Put | Remove) or w.map != "rules")
        for count, write in enumerate(kept_here, 1):
            if isinstance(write, Grace):
                batch.flush()
                yield Step.WAITS
                bpf.wait_grace()
                self._prefixes.settle()
                continue
            self._one(write, batch)
            if count % chunk == 0:
                batch.flush()
                faults.passing(Point.WRITE)
                yield Step.WROTE
        batch.flush()

    def settle(self, held: Tables) -> None:
        """Make the fronts what follows from what the maps hold."""
        wanted = (front_of(held, key) for key in held.services)
        self._fronts.settle(entry for entry in wanted if entry is not None)

    def _one(self, write: Put | Remove | Flip, batch: _Batch) -> None:
        if isinstance(write, Put) and write.map in encode.HASHES:
            codec = encode.HASHES[write.map]
            if isinstance(write.key, AddressKey):
                self._nearby.add(write.key)
            self._put_front(write, batch)
            batch.add(getattr(self._maps, write.map), codec.key(write.key), codec.value(write.value))
            return
        batch.flush()
        if isinstance(write, Remove):
            self._remove_front(write)
        match write:
            case Flip(generation):
                faults.passing(Point.BEFORE_FLIP)
                self.arrays.config[_GENERATION_AT] = generation
                faults.passing(Point.AFTER_FLIP)
            case Put(name, key, value):
                self._put(name, key, value)
            case Remove(name, key) if name in encode.HASHES:
                getattr(self._maps, name).remove(encode.HASHES[name].key(key))
            case Remove(name, key):
                self._zero(name, key)

    def _put_front(self, write: Put, batch: _Batch) -> None:
        """What an entry of a hash that is about to be written means for the fronts."""
        match write:
            case Put("services", ServiceKey() as key, ServiceEntry() as entry):
                if batch.target is not self._maps.services:
                    batch.flush()
                source, codec = self.arrays.records["backends"], encode.RECORDS["backends"]
                found = [codec.read_value(source.read(n)[: codec.size]) for n in near_places(entry)]
                near = tuple((backend.address, backend.port) for backend in found)
                shown = is_served(self._address(AddressKey(key.network, key.address)))
                self._fronts.put(FrontEntry(key, entry, near, shown))
            case Put("addresses", AddressKey() as at, AddressEntry() as entry):
                if is_served(entry):
                    batch.served[at] = None
                else:
                    batch.served.pop(at, None)
                    self._fronts.show(at, False)

    def _remove_front(self, write: Remove) -> None:
        """What an entry that is about to be removed means for the fronts."""
        match write:
            case Remove("services", ServiceKey() as key):
                self._fronts.remove(key)
            case Remove("addresses", AddressKey() as at):
                self._fronts.show(at, False)

    def _address(self, at: AddressKey) -> AddressEntry | None:
        codec = encode.HASHES["addresses"]
        raw = self._maps.addresses.get(codec.key(at))
        return None if raw is None else codec.read_value(raw)

    def _put(self, name: str, key: Any, value: Any) -> None:
        match name:
            case "prefixes":
                self._prefixes.put(key, value)
            case "prefix_nodes":
                self._prefixes.rebuild(value)
            case "endpoints":
                self.arrays.endpoints.write(key, value)
            case "atoms":
                self.arrays.atoms.fill(key[0], key[1], word_of(value))
            case "rows":
                index = self.arrays.row_index(key[0], key[1])
                self.arrays.rows.fill(index, index, self.arrays.cells.word(value))
            case "cells":
                self.arrays.cells.write(key[0], key[1], value)
            case "heads":
                self.arrays.cells.begin(key, value)
            case "front_blocks":
                self._fronts.count(key, value)
            case _:
                self.arrays.records[name].write(key, encode.RECORDS[name].value(value))

    def _zero(self, name: str, key: Any) -> None:
        match name:
            case "prefixes":
                self._prefixes.remove(key)
            case "endpoints":
                self.arrays.endpoints.remove(key)
            case "atoms" | "rows":
                self._put(name, key, 0)
            case "cells":
                self._put(name, key, (0,) * ROW_UNIT)
            case "fronts":
                self._fronts.clear(key)
            case _:
                self.arrays.records[name].write(key, bytes(encode.RECORDS[name].size))


def word_of(value: Versioned | int) -> int:
    """The 64-bit word of a versioned number, packed already or not."""
    return value if isinstance(value, int) else value.pack()

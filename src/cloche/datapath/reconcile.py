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
from cloche.datapath.layout import CONFIG_OFFSETS, ROW_UNIT
from cloche.datapath.maps import Map
from cloche.datapath.nearby import Nearby
from cloche.datapath.pins import Maps
from cloche.datapath.prefixes import Prefixes
from cloche.tables.schema import AddressKey, Flip, Grace, Put, Remove, Versioned, Write

CHUNK = 256
_GENERATION_AT = CONFIG_OFFSETS["generation"] // 8


class Step(Enum):
    """What ``apply`` has to say between two pieces of work."""

    WROTE = "wrote"
    """A chunk is in the maps; there is more."""
    WAITS = "waits"
    """The next piece waits for a grace period, some 10 ms: advance it in a thread."""


class _Batch:
    """Entries of one hash map that are still to be written."""

    def __init__(self) -> None:
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


class Writer:
    """Writes to one instance's maps."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self.arrays = Arrays(maps)
        self._prefixes = Prefixes(maps)
        codec = encode.HASHES["addresses"]
        self._nearby = Nearby(maps.address_blocks)
        self._nearby.begin(codec.read_key(key) for key, _ in maps.addresses.items())

    def apply(self, writes: Iterable[Write], chunk: int = CHUNK) -> Iterator[Step]:
        """Apply in order, yielding after every ``chunk`` writes (1: after each single one).

        Writes of ``rules`` are user space's own and are passed over. OSError from the kernel, IndexError
        for a number that does not fit; what came before is written.
        """
        if faults.is_armed(Point.WRITE):
            chunk = 1
        batch = _Batch()
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

    def _one(self, write: Put | Remove | Flip, batch: _Batch) -> None:
        if isinstance(write, Put) and write.map in encode.HASHES:
            codec = encode.HASHES[write.map]
            if isinstance(write.key, AddressKey):
                self._nearby.add(write.key)
            batch.add(getattr(self._maps, write.map), codec.key(write.key), codec.value(write.value))
            return
        batch.flush()
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
            case _:
                self.arrays.records[name].write(key, bytes(encode.RECORDS[name].size))


def word_of(value: Versioned | int) -> int:
    """The 64-bit word of a versioned number, packed already or not."""
    return value if isinstance(value, int) else value.pack()

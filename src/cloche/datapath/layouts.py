"""Two layouts of the maps, told apart and converted by the names of fields, as BTF has them.

A field keeps its name as long as it keeps its meaning, and zero in a new field means what was before; so what
both layouts name is carried over and the rest is zero, whichever of the two is the newer one.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cloche.datapath.bpf import Attr, Command, address_of, call, info_bytes, open_id
from cloche.datapath.btf import Btf, Member, StructType
from cloche.datapath.maps import Map
from cloche.errors import MachineError

STRUCTS: dict[str, tuple[str, str]] = {
    "config": ("", "config"),
    "endpoints": ("", "endpoint"),
    "addresses": ("address_key", "address"),
    "prefixes": ("", "prefix"),
    "prefix_keys": ("", "prefix_key"),
    "heads": ("", "head"),
    "cells": ("", "unit"),
    "sets": ("", "set"),
    "names": ("name_key", "name_entry"),
    "services": ("service_key", "service"),
    "backends": ("", "backend"),
    "fronts": ("", "front"),
    "members": ("member_key", ""),
    "affinity": ("affinity_key", "affinity"),
    "flows": ("flow_key", "flow"),
    "flow_slots": ("", "flow_key"),
    "owners": ("", "owner"),
    "fragments": ("fragment_key", "fragment"),
    "fragment_slots": ("", "fragment_key"),
    "counters": ("", "counter"),
    "events": ("", "event"),
}
"""The structs of each map's keys and values; empty: a number, which stays as it is."""

NAMES = frozenset(part for parts in STRUCTS.values() for part in parts if part)
_BTF_ID_AT = 64
Structs = Mapping[str, StructType]


class Run(NamedTuple):
    """Bytes that lie side by side in both layouts."""

    old: int
    new: int
    size: int


def kernel_structs(handle: Map) -> Structs:
    """The structs of the object that a map came from; empty when the kernel knows no types of it."""
    (number,) = struct.unpack_from("<I", info_bytes(handle.fd), _BTF_ID_AT)
    if not number:
        return {}
    fd = open_id(Command.BTF_BY_ID, number)
    try:
        (size,) = struct.unpack_from("<I", info_bytes(fd, 16), 8)
        types, info = ctypes.create_string_buffer(size), ctypes.create_string_buffer(16)
        struct.pack_into("<QI", info, 0, address_of(types), size)
        call(Command.OBJ_INFO, Attr("<IIQ", fd, 16, address_of(info)), "BTF")
    finally:
        os.close(fd)
    return Btf(types.raw).structs(NAMES)


def shape(kind: StructType) -> tuple[object, ...]:
    """What tells a layout from another: its size and its fields, padding left out."""
    return kind.size, tuple((m.name, m.offset, m.element.size, m.length) for m in fields(kind))


def fields(kind: StructType) -> Iterator[Member]:
    """The fields that mean something: those called pad, pad0, ... do not."""
    return (member for member in kind.members if member.name.rstrip("0123456789") != "pad")


def is_changed(name: str, old: Structs, new: Structs) -> bool:
    """True when both know the map's structs and they differ."""
    known = [part for part in STRUCTS.get(name, ()) if part in old and part in new]
    return any(shape(old[part]) != shape(new[part]) for part in known)


def runs(old: StructType, new: StructType) -> list[Run]:
    """Which bytes are carried over. MachineError when a field of one name is of another kind."""
    there = {member.name: member for member in fields(old)}
    found = []
    for member in fields(new):
        before = there.get(member.name)
        if before is None:
            continue
        found.append(Run(before.offset, member.offset, _common(new.name, before, member)))
    return found


def _common(owner: str, old: Member, new: Member) -> int:
    """How many bytes two fields of one name share; the upper ones of a wider number are zero."""
    if bool(old.length) != bool(new.length) or (new.length and old.element.size != new.element.size):
        raise MachineError(f"{owner}.{new.name} is of another kind: another version made what is pinned")
    return min(old.element.size * max(old.length, 1), new.element.size * max(new.length, 1))


def places(old: StructType, new: StructType) -> bytes:
    """For each byte of the new layout its place in the old one + 1; 0: nowhere."""
    found = bytearray(new.size)
    for run in runs(old, new):
        found[run.new : run.new + run.size] = range(run.old + 1, run.old + run.size + 1)
    return bytes(found)


class Converter:
    """Keys or values of one map, from one layout to another."""

    def __init__(self, name: str, old: Structs, new: Structs, size: int) -> None:
        """``name``: of the struct, empty or unknown where there is none: ``size`` bytes stay as they are."""
        known = name in old and name in new
        self._runs = runs(old[name], new[name]) if known else [Run(0, 0, size)]
        self._size = new[name].size if known else size

    def __call__(self, raw: bytes) -> bytes:
        """The same in the new layout."""
        made = bytearray(self._size)
        for run in self._runs:
            made[run.new : run.new + run.size] = raw[run.old : run.old + run.size]
        return bytes(made)

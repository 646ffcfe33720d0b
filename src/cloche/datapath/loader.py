"""Loads the object file: maps with the sizes asked for, or those that are there already, and programs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloche.datapath.layout import ATOMS_SIZE, NETWORKS, NODE_SLOTS, ROW_UNIT
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.maps import Map
from cloche.datapath.pins import Maps, Programs
from cloche.errors import MachineError
from cloche.model.flow import FRAGMENTS_EACH
from cloche.tables.schema import NODES_EACH, Capacity

SLOTS_A_WORD = 64
FRONTS_A_SERVICE = 2
"""Places for each service there is room for, so that nearly every one stands where it is first looked for."""

OBJECT = Path(__file__).parent / "cloche.bpf.o"


class Loaded(NamedTuple):
    """Maps and programs of one instance; ``adopted`` when its maps were pinned before."""

    maps: Maps
    programs: Programs
    capacity: Capacity
    adopted: bool


def sizes(capacity: Capacity) -> dict[str, int]:
    """How many entries each map has; maps left out keep what the object says."""
    return {
        "links": capacity.endpoints,
        "endpoints": capacity.endpoints,
        "owners": capacity.endpoints,
        "addresses": capacity.addresses,
        "prefixes": capacity.prefixes,
        "prefix_keys": capacity.prefixes,
        "prefix_nodes": (2 * NETWORKS + NODES_EACH * capacity.prefixes) * NODE_SLOTS,
        "atoms": ATOMS_SIZE,
        "rows": capacity.sets * capacity.classes,
        "cells": -(-capacity.cells // ROW_UNIT),
        "heads": -(-capacity.cells // ROW_UNIT),
        "sets": capacity.sets,
        "names": capacity.names,
        "services": capacity.services,
        "backends": capacity.backends,
        "fronts": FRONTS_A_SERVICE * capacity.services,
        "members": capacity.backends,
        "affinity": capacity.affinity,
        "flows": capacity.flows,
        "flow_slots": capacity.flow_slots,
        "flow_words": -(-capacity.flow_slots // SLOTS_A_WORD),
        "fragments": capacity.fragments,
        "fragment_slots": capacity.endpoints * FRAGMENTS_EACH,
        "events": capacity.ring_bytes,
        "counters": capacity.counters,
    }


def constants_of(capacity: Capacity, reused: Mapping[str, Map]) -> dict[str, int]:
    """The program's constants that follow from the sizes, and from those of the maps that are there."""
    fronts = reused["fronts"].info.max_entries if "fronts" in reused else sizes(capacity)["fronts"]
    return {"max_classes": capacity.classes, "front_places": fronts}


def capacity_of(maps: Mapping[str, Map]) -> Capacity:
    """The capacity that existing maps have, by their names; of one that is not there, what the default is."""
    entries = sizes(Capacity()) | {name: handle.info.max_entries for name, handle in maps.items()}
    same = ("endpoints", "addresses", "prefixes", "sets", "services", "backends", "flows")
    more = ("flow_slots", "fragments", "affinity", "counters", "names")
    return Capacity(
        classes=entries["rows"] // entries["sets"],
        cells=entries["cells"] * ROW_UNIT,
        ring_bytes=entries["events"],
        quota=entries["flow_slots"] // entries["endpoints"],
        atoms=Capacity().atoms,
        **{name: entries[name] for name in same + more},
    )


def load_unpinned(capacity: Capacity, path: Path = OBJECT) -> Loaded:
    """A second instance with maps of its own that vanish with their handles (tests, replay)."""
    return load(path, capacity, {})


def digest(path: Path) -> str:
    """What an object file is told by: the beginning of its SHA-256. MachineError when it is missing."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        message = f"{path} is missing: the package was installed without its BPF object"
        raise MachineError(message) from None


def load(
    path: Path, capacity: Capacity, reused: Mapping[str, Map], constants: Mapping[str, int] | None = None
) -> Loaded:
    """Load an object with maps of these sizes, ``reused`` ones in place of its own, its constants set.

    MachineError with the verifier's words, or when a map that is reused has another shape.
    """
    digest(path)
    with ObjectFile(path) as opened:
        missing = set(Maps._fields) - set(opened.map_names())
        if missing:
            raise MachineError(f"{path} lacks the maps {', '.join(sorted(missing))}")
        for name, entries in sizes(capacity).items():
            opened.resize(name, entries)
        for name, handle in reused.items():
            shape = (handle.info.key_size, handle.info.value_size)
            if name in Maps._fields and opened.shape(name) != shape:
                raise MachineError(f"the pinned map {name} has another layout: another version made it")
            opened.reuse(name, handle.fd)
        opened.set_constants({**constants_of(capacity, reused), **(constants or {})})
        try:
            opened.load()
        except OSError as error:
            raise MachineError(str(error)) from error
        maps, programs = opened.maps(Maps._fields), opened.programs(Programs._fields)
    handles = Maps(*(Map(maps[name]) for name in Maps._fields))
    return Loaded(handles, Programs(**programs), capacity, False)

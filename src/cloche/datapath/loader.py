"""Brings one instance's maps and programs into being, or adopts those that are pinned (``pins``).

Adopted maps keep their contents and sizes; programs take the place of the pinned ones in one step each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from cloche.datapath import bpf, machine
from cloche.datapath.layout import ATOMS_SIZE
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.maps import Map
from cloche.datapath.pins import Maps, Programs, pin_directory, pinned_maps, pinned_programs, take_over
from cloche.errors import MachineError
from cloche.model.flow import FRAGMENTS_EACH
from cloche.tables.schema import Capacity

SLOTS_A_WORD = 64
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
        "atoms": ATOMS_SIZE,
        "rows": capacity.sets * capacity.classes,
        "cells": capacity.cells,
        "sets": capacity.sets,
        "names": capacity.names,
        "services": capacity.services,
        "backends": capacity.backends,
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


def capacity_of(maps: Maps) -> Capacity:
    """The capacity that existing maps have."""
    entries = {name: handle.info.max_entries for name, handle in maps._asdict().items()}
    same = ("endpoints", "addresses", "prefixes", "sets", "cells", "services", "backends", "flows")
    more = ("flow_slots", "fragments", "affinity", "counters", "names")
    return Capacity(
        classes=entries["rows"] // entries["sets"],
        ring_bytes=entries["events"],
        quota=entries["flow_slots"] // entries["endpoints"],
        atoms=Capacity().atoms,
        **{name: entries[name] for name in same + more},
    )


def load_unpinned(capacity: Capacity, path: Path = OBJECT) -> Loaded:
    """A second instance with maps of its own that vanish with their handles (tests, replay)."""
    return _load(path, capacity, None)


def open_instance(instance: str, capacity: Capacity, path: Path = OBJECT) -> Loaded:
    """Adopt what the instance has pinned, or make it and pin it.

    Programs are loaded only where those pinned came from another object file. Pinned maps keep their
    own capacity. Raises MachineError naming what this machine lacks, or when what is pinned has another
    layout.
    """
    machine.require()
    machine.mount_bpffs()
    directory = pin_directory(instance)
    for part in ("maps", "programs", "links"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    maps = pinned_maps(directory)
    if maps is not None and (programs := pinned_programs(directory, digest(path))) is not None:
        return Loaded(maps, programs, capacity_of(maps), True)
    loaded = _load(path, capacity_of(maps) if maps else capacity, maps)
    if maps is None:
        for name, handle in loaded.maps._asdict().items():
            bpf.pin(handle.fd, str(directory / "maps" / name))
    else:
        maps.close()
    take_over(loaded.programs, directory, digest(path))
    return loaded._replace(adopted=maps is not None)


def digest(path: Path) -> str:
    """What an object file is told by: the beginning of its SHA-256. MachineError when it is missing."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        message = f"{path} is missing: the package was installed without its BPF object"
        raise MachineError(message) from None


def _load(path: Path, capacity: Capacity, existing: Maps | None) -> Loaded:
    digest(path)
    with ObjectFile(path) as opened:
        missing = set(Maps._fields) - set(opened.map_names())
        if missing:
            raise MachineError(f"{path} lacks the maps {', '.join(sorted(missing))}")
        for name, entries in sizes(capacity).items():
            opened.resize(name, entries)
        for name, handle in existing._asdict().items() if existing else ():
            if opened.shape(name) != (handle.info.key_size, handle.info.value_size):
                raise MachineError(f"the pinned map {name} has another layout: another version made it")
            opened.reuse(name, handle.fd)
        opened.set_constants({"max_classes": capacity.classes})
        try:
            opened.load()
        except OSError as error:
            raise MachineError(str(error)) from error
        maps, programs = opened.maps(Maps._fields), opened.programs(Programs._fields)
    handles = Maps(*(Map(maps[name]) for name in Maps._fields))
    return Loaded(handles, Programs(**programs), capacity, False)

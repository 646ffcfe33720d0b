"""Brings one instance's maps and programs into being, or adopts those that are pinned.

Pins: /sys/fs/bpf/cloche/<instance>/{maps,programs,links}/NAME. Adopted maps keep their contents and
sizes; programs are loaded anew and take the place of the pinned ones only where they differ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloche.datapath import bpf, links, machine
from cloche.datapath.layout import ATOMS_SIZE
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.maps import Map, open_map
from cloche.errors import MachineError
from cloche.tables.schema import Capacity

OBJECT = Path(__file__).parent / "cloche.bpf.o"
PINS = machine.BPFFS / "cloche"


class Maps(NamedTuple):
    """The handles of every map, by the names of ``bpf/types.h``."""

    config: Map
    links: Map
    endpoints: Map
    addresses: Map
    prefixes: Map
    atoms: Map
    rows: Map
    cells: Map
    sets: Map
    names: Map
    services: Map
    backends: Map
    members: Map
    affinity: Map
    flows: Map
    flow_slots: Map
    owners: Map
    fragments: Map
    events: Map
    counters: Map
    reasons: Map

    def close(self) -> None:
        """Close every handle."""
        for handle in self:
            handle.close()


class Programs(NamedTuple):
    """File descriptors of the programs, by their names in the object."""

    from_endpoint: int
    from_stack: int
    mark_host: int
    from_uplink: int

    def close(self) -> None:
        """Close every file descriptor."""
        for fd in self:
            os.close(fd)


class Loaded(NamedTuple):
    """Maps and programs of one instance; ``adopted`` when its maps were pinned before."""

    maps: Maps
    programs: Programs
    capacity: Capacity
    adopted: bool


def pin_directory(instance: str) -> Path:
    """Where everything of the instance is pinned."""
    return PINS / instance


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
        "fragments": capacity.fragments,
        "events": capacity.ring_bytes,
        "counters": capacity.counters,
    }


def capacity_of(maps: Mapping[str, Map]) -> Capacity:
    """The capacity that existing maps have."""
    entries = {name: handle.info.max_entries for name, handle in maps.items()}
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
    return _load(path, capacity, {})


def open_instance(instance: str, capacity: Capacity, path: Path = OBJECT) -> Loaded:
    """Adopt the instance's pinned maps or make them, pin everything, load the programs.

    Pinned maps keep their own capacity. Raises MachineError naming what this machine lacks, or when
    what is pinned has another layout.
    """
    machine.require()
    machine.mount_bpffs()
    directory = pin_directory(instance)
    for part in ("maps", "programs", "links"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    pinned = _pinned_maps(directory)
    loaded = _load(path, capacity_of(pinned) if pinned else capacity, pinned)
    if not pinned:
        for name, handle in loaded.maps._asdict().items():
            bpf.pin(handle.fd, str(directory / "maps" / name))
    programs = _take_over(loaded.programs, directory)
    for handle in pinned.values():
        handle.close()
    return loaded._replace(adopted=bool(pinned), programs=programs)


def _pinned_maps(directory: Path) -> dict[str, Map]:
    """The pinned maps, or none. Maps are pinned before programs, so where there are no programs, maps
    are those of a start that was killed half-way: they are swept away."""
    names = {entry.name for entry in (directory / "maps").iterdir()}
    if names == set(Maps._fields):
        return {name: open_map(str(directory / "maps" / name)) for name in Maps._fields}
    if any((directory / "programs").iterdir()):
        raise MachineError(
            f"what is pinned at {directory} has other maps: another version made it; remove it"
        )
    for name in names:
        (directory / "maps" / name).unlink()
    return {}


def _take_over(programs: Programs, directory: Path) -> Programs:
    """Pin the programs. A pinned one with the same instructions stays; another one is replaced, in
    its links too, each in one step."""
    chosen = []
    for name, fd in programs._asdict().items():
        path = str(directory / "programs" / name)
        if not os.path.exists(path):
            bpf.pin(fd, path)
        else:
            old = bpf.get_pinned(path)
            fd, unused = (old, fd) if _same(old, fd) else (fd, old)
            if fd != old:
                _swap(bpf.program_info(old).id, fd, directory)
            os.close(unused)
        chosen.append(fd)
    return Programs(*chosen)


def _same(one: int, other: int) -> bool:
    return bpf.program_info(one).tag == bpf.program_info(other).tag


def _swap(old_id: int, fd: int, directory: Path) -> None:
    for pin in (directory / "links").iterdir():
        link = bpf.get_pinned(str(pin))
        if links.info(link).program_id == old_id:
            links.replace_program(link, fd)
        os.close(link)
    name = bpf.program_info(fd).name
    fresh = directory / "programs" / f"{name}_new"
    fresh.unlink(missing_ok=True)
    bpf.pin(fd, str(fresh))
    fresh.rename(directory / "programs" / name)


def _load(path: Path, capacity: Capacity, existing: Mapping[str, Map]) -> Loaded:
    if not path.exists():
        raise MachineError(f"{path} is missing: the package was installed without its BPF object")
    with ObjectFile(path) as opened:
        missing = set(Maps._fields) - set(opened.map_names())
        if missing:
            raise MachineError(f"{path} lacks the maps {', '.join(sorted(missing))}")
        for name, entries in sizes(capacity).items():
            opened.resize(name, entries)
        for name, handle in existing.items():
            if opened.shape(name) != (handle.info.key_size, handle.info.value_size):
                raise MachineError(f"the pinned map {name} has another layout: another version made it")
            opened.reuse(name, handle.fd)
        opened.set_constants({"max_classes": capacity.classes})
        try:
            opened.load()
        except OSError as error:
            raise MachineError(str(error)) from error
        maps, programs = opened.maps(), opened.programs()
    return Loaded(
        Maps(*(Map(maps[name]) for name in Maps._fields)),
        Programs(*(programs[name] for name in Programs._fields)),
        capacity,
        False,
    )

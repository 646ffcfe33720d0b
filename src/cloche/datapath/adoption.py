"""Brings one instance's maps and programs into being, or adopts those that are pinned (``pins``).

Adopted maps keep their contents and sizes; programs take the place of the pinned ones in one step each, or
all in one step where the layout of the maps is another (``upgrade``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cloche.config import Loader
from cloche.datapath import bpf, faults, hooks, machine, upgrade
from cloche.datapath.faults import Point
from cloche.datapath.loader import OBJECT, Loaded, capacity_of, digest, load
from cloche.datapath.maps import Map
from cloche.datapath.pins import MARK, Maps, Programs, pin_directory, pinned_maps, pinned_programs, unmark
from cloche.tables.schema import Capacity


def open_instance(
    instance: str, capacity: Capacity, path: Path = OBJECT, loader: Loader = Loader.AUTO
) -> Loaded:
    """Adopt what the instance has pinned, or make it and pin it.

    Programs are loaded only where those pinned came from another object file. Pinned maps keep their
    own capacity. Raises MachineError naming what this machine lacks, or when what is pinned cannot be
    brought into this layout.
    """
    machine.require()
    machine.mount_bpffs()
    directory = pin_directory(instance)
    for part in ("maps", "programs", "links"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    hooks.settle(instance, loader)
    upgrade.recover(instance)
    maps = pinned_maps(directory)
    if not maps:
        loaded = load(path, capacity, {})
        for name, handle in loaded.maps._asdict().items():
            bpf.pin(handle.fd, str(directory / "maps" / name))
            faults.passing(Point.MAP_PINNED)
        take_over(instance, loaded.programs, digest(path))
        return loaded
    programs = pinned_programs(directory, digest(path))
    if programs is not None and maps.keys() == set(Maps._fields):
        return Loaded(Maps(**maps), programs, capacity_of(maps), True)
    return _adopt(instance, path, maps)


def _adopt(instance: str, path: Path, maps: Mapping[str, Map]) -> Loaded:
    """What is pinned, run by the programs of another object file, in its layout."""
    directory = pin_directory(instance)
    if upgrade.is_needed(path, maps):
        upgrade.move(instance, path, maps)
        for handle in maps.values():
            handle.close()
        maps = pinned_maps(directory)
    own = {name: handle for name, handle in maps.items() if name in Maps._fields}
    loaded = load(path, capacity_of(own), own)
    take_over(instance, loaded.programs, digest(path))
    for name, handle in maps.items():
        handle.close()
        if name not in own:
            (directory / "maps" / name).unlink()
    return loaded._replace(adopted=True)


def take_over(instance: str, programs: Programs, digest: str) -> None:
    """Put the programs in the place of those of the same name, each in one step, and pin them.

    Killed anywhere in between, the next start finds no mark and does it again.
    """
    directory = pin_directory(instance)
    unmark(directory)
    for name, fd in programs._asdict().items():
        hooks.swap(instance, name, fd)
        fresh = directory / "programs" / f"{name}_new"
        fresh.unlink(missing_ok=True)
        bpf.pin(fd, str(fresh))
        fresh.rename(directory / "programs" / name)
        faults.passing(Point.PROGRAM_PINNED)
    (directory / f"{MARK}{digest}").mkdir()

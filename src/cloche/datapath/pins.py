"""What outlives the agent: pinned maps, programs and links, and how a restart finds them again.

They stand at /sys/fs/bpf/cloche/<instance>/{maps,programs,links}/NAME; the empty folder
``object-<digest>`` beside them tells which object file the programs came from, and those in ``namespaces``
which network namespaces the instance made (``ownership``). ``next/`` holds what is to take over while a
layout changes (``upgrade``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cloche.datapath import bpf, machine
from cloche.datapath.maps import Map, open_map

PINS = machine.BPFFS / "cloche"
NEXT = "next"
MARK = "object-"


class Maps(NamedTuple):
    """The handles of every map, by the names of ``bpf/types.h``."""

    config: Map
    links: Map
    endpoints: Map
    addresses: Map
    address_blocks: Map
    prefixes: Map
    prefix_keys: Map
    prefix_nodes: Map
    atoms: Map
    rows: Map
    cells: Map
    heads: Map
    sets: Map
    names: Map
    services: Map
    backends: Map
    fronts: Map
    front_blocks: Map
    members: Map
    affinity: Map
    flows: Map
    flow_slots: Map
    flow_words: Map
    owners: Map
    fragments: Map
    fragment_slots: Map
    events: Map
    counters: Map
    reasons: Map
    hints: Map

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


def pin_directory(instance: str) -> Path:
    """Where everything of the instance is pinned."""
    return PINS / instance


def pinned_maps(directory: Path) -> dict[str, Map]:
    """The pinned maps by name, none when there is no instance yet; those of another version may be fewer or
    more. Maps are pinned before programs, so where there are no programs, maps are those of a start that
    was killed half-way: they are swept away.
    """
    pins = sorted((directory / "maps").iterdir())
    if any((directory / "programs").iterdir()):
        return {pin.name: open_map(str(pin)) for pin in pins}
    for pin in pins:
        pin.unlink()
    return {}


def opened_maps(directory: Path) -> Maps | None:
    """The maps of an instance, for whoever is not its agent; None when they are not all there."""
    paths = {name: directory / "maps" / name for name in Maps._fields}
    if not all(path.exists() for path in paths.values()):
        return None
    return Maps(**{name: open_map(str(path)) for name, path in paths.items()})


def pinned_programs(directory: Path, digest: str) -> Programs | None:
    """The pinned programs when all are there and came from the object file of this digest."""
    paths = {name: directory / "programs" / name for name in Programs._fields}
    if not (directory / f"{MARK}{digest}").is_dir() or not all(path.exists() for path in paths.values()):
        return None
    return Programs(**{name: bpf.get_pinned(str(path)) for name, path in paths.items()})


def unmark(directory: Path) -> None:
    """Forget which object file the programs came from: the next start loads them anew."""
    for mark in directory.glob(f"{MARK}*"):
        mark.rmdir()


def remove_pins(instance: str) -> bool:
    """Remove every pin of the instance; False when there were none. Links are to be undone before."""
    directory = pin_directory(instance)
    if not machine.is_bpffs(machine.BPFFS) or not directory.is_dir():
        return False
    sweep(directory)
    if not any(PINS.iterdir()):
        PINS.rmdir()
    return True


def sweep(directory: Path) -> None:
    """Remove a folder of pins with all that is in it; nothing when there is none."""
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        if entry.is_dir():
            sweep(entry)
        else:
            entry.unlink()
    directory.rmdir()

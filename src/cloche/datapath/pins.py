"""What outlives the agent: pinned maps, programs and links, and how a restart finds them again.

They stand at /sys/fs/bpf/cloche/<instance>/{maps,programs,links}/NAME; the empty folder
``object-<digest>`` beside them tells which object file the programs came from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cloche.datapath import bpf, links, machine
from cloche.datapath.maps import Map, open_map
from cloche.errors import MachineError

PINS = machine.BPFFS / "cloche"
_MARK = "object-"


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
    flow_words: Map
    owners: Map
    fragments: Map
    fragment_slots: Map
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


def pin_directory(instance: str) -> Path:
    """Where everything of the instance is pinned."""
    return PINS / instance


def pinned_maps(directory: Path) -> Maps | None:
    """The pinned maps, or None. Maps are pinned before programs, so where there are no programs, maps
    are those of a start that was killed half-way: they are swept away.

    Raises MachineError when another version's maps are pinned.
    """
    names = {entry.name for entry in (directory / "maps").iterdir()}
    if any((directory / "programs").iterdir()):
        if names == set(Maps._fields):
            return Maps(**{name: open_map(str(directory / "maps" / name)) for name in names})
        raise MachineError(f"what is pinned at {directory} has other maps: another version made it")
    for name in names:
        (directory / "maps" / name).unlink()
    return None


def pinned_programs(directory: Path, digest: str) -> Programs | None:
    """The pinned programs when all are there and came from the object file of this digest."""
    paths = {name: directory / "programs" / name for name in Programs._fields}
    if not (directory / f"{_MARK}{digest}").is_dir() or not all(path.exists() for path in paths.values()):
        return None
    return Programs(**{name: bpf.get_pinned(str(path)) for name, path in paths.items()})


def take_over(programs: Programs, directory: Path, digest: str) -> None:
    """Put the programs into every link that runs another of the same name, each in one step; pin them.

    Killed anywhere in between, the next start finds no mark and does it again.
    """
    _unmark(directory)
    for name, fd in programs._asdict().items():
        _swap(name, fd, directory / "links")
        fresh = directory / "programs" / f"{name}_new"
        fresh.unlink(missing_ok=True)
        bpf.pin(fd, str(fresh))
        fresh.rename(directory / "programs" / name)
    (directory / f"{_MARK}{digest}").mkdir()


def _unmark(directory: Path) -> None:
    for mark in directory.glob(f"{_MARK}*"):
        mark.rmdir()


def _swap(name: str, fd: int, directory: Path) -> None:
    for pin in directory.iterdir():
        link = bpf.get_pinned(str(pin))
        running = bpf.open_id(bpf.Command.PROG_BY_ID, links.info(link).program_id)
        if bpf.program_info(running).name == name:
            links.replace_program(link, fd)
        os.close(running)
        os.close(link)


def remove_pins(instance: str) -> bool:
    """Remove every pin of the instance; False when there were none. Links are to be undone before."""
    directory = pin_directory(instance)
    if not machine.is_bpffs(machine.BPFFS) or not directory.is_dir():
        return False
    for part in ("links", "programs", "maps"):
        if (directory / part).is_dir():
            for pin in (directory / part).iterdir():
                pin.unlink()
            (directory / part).rmdir()
    _unmark(directory)
    directory.rmdir()
    if not any(PINS.iterdir()):
        PINS.rmdir()
    return True

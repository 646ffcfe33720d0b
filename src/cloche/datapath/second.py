"""The second instance of the program: judges by a generation that is not active yet, and leaves no trace.

It is the same object, loaded once and attached to nothing, with the maps that the program only reads shared
with the first. Every map that the program writes is its own and has next to no room, so no flow is ever
remembered: each packet is judged as the first of its flow. Its one-entry configuration is the first's but for
the generation and the events, which are off. Nothing of it is pinned: it is gone with the process.
"""

from __future__ import annotations

import os
from pathlib import Path

from cloche.datapath import bpf
from cloche.datapath.layout import CONFIG_EVENTS_OFF, CONFIG_SIZE, Config
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.loader import OBJECT, capacity_of, constants_of
from cloche.datapath.maps import Map, possible_cpus
from cloche.datapath.pins import Maps, Programs
from cloche.datapath.testrun import Result, decode
from cloche.errors import MachineError

SHARED = (
    "links",
    "endpoints",
    "addresses",
    "address_blocks",
    "prefixes",
    "prefix_nodes",
    "atoms",
    "rows",
    "cells",
    "heads",
    "sets",
    "names",
    "services",
    "backends",
    "fronts",
    "front_blocks",
    "members",
)
"""What the program only reads. All other maps are the second instance's own."""

OWN_ENTRIES = 1
RING_BYTES = 4096
PROGRAMS = ("from_endpoint", "from_stack")


class Second:
    """Runs the program on frames by another generation than the active one. One thread at a time."""

    def __init__(self, first: Maps, path: Path = OBJECT) -> None:
        """``first``: the maps of the instance whose tables are read. Raises MachineError."""
        capacity = capacity_of(first._asdict())
        with ObjectFile(path) as opened:
            for name in opened.map_names():
                if name in SHARED:
                    opened.reuse(name, getattr(first, name).fd)
                elif name in Maps._fields and name not in ("config", "reasons"):
                    opened.resize(name, _entries(name))
            opened.set_constants(constants_of(capacity, first._asdict()))
            try:
                opened.load()
            except OSError as error:
                raise MachineError(str(error)) from error
            maps, programs = opened.maps(Maps._fields), opened.programs(Programs._fields)
        self._first = first.config.mapped()
        self._handles = {name: Map(fd) for name, fd in maps.items() if name not in SHARED}
        for name in SHARED:
            os.close(maps[name])
        self._programs = Programs(**programs)
        self._config = self._handles["config"].mapped()
        self._runners = {name: bpf.Runner(getattr(self._programs, name)) for name in PROGRAMS}

    def judge_by(self, generation: int) -> int:
        """From now on judge by this generation (0: the active one), which is returned; everything else is as
        the first instance is set."""
        active = Config.unpack(bytes(self._first[:CONFIG_SIZE]))
        chosen = generation or active.generation
        self._config[:CONFIG_SIZE] = active._replace(
            generation=chosen, flags=active.flags | CONFIG_EVENTS_OFF
        ).pack()
        return chosen

    @property
    def host_mark(self) -> int:
        """The mark of what the host itself sends."""
        return Config.unpack(bytes(self._config[:CONFIG_SIZE])).host_mark

    def run(self, program: str, frame: bytes, ifindex: int, mark: int = 0) -> Result:
        """Run one of ``PROGRAMS`` on a frame that came in on a device of this namespace. Raises OSError."""
        return decode(self._runners[program].run(frame, bpf.SkbContext(ifindex, mark)))

    def memory(self) -> dict[str, int]:
        """Of each map of its own: how many entries it has room for."""
        return {name: handle.info.max_entries for name, handle in self._handles.items()}

    def flows(self) -> int:
        """How many flows it remembers: none, whatever it was asked."""
        return sum(1 for _ in self._handles["flows"].items())

    def map_ids(self) -> dict[str, int]:
        """The kernel's ids of the maps that are its own."""
        return {name: handle.info.id for name, handle in self._handles.items()}

    def close(self) -> None:
        """Let it go."""
        self._config.release()
        self._first.release()
        for handle in self._handles.values():
            handle.close()
        self._programs.close()


def _entries(name: str) -> int:
    """A ring buffer is whole pages, an LRU needs an entry for each CPU."""
    if name == "events":
        return RING_BYTES
    return possible_cpus() if name == "affinity" else OWN_ENTRIES

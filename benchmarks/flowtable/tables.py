"""The candidates as loaded BPF objects: run an operation so many times, and say what it cost and did."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from benchmarks.building import HERE, bpf_object
from cloche.datapath.bpf import Runner, SkbContext
from cloche.datapath.layout import FLOW_KEY_SIZE, FLOW_SIZE
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.maps import Map, MapInfo, MapType, create_map

OWNERS, QUOTA = 110, 1024
ENTRIES = OWNERS * QUOTA
TABLES = ("hash", "lazy", "lru", "own_by_hash", "own_by_array")
PROGRAMS = (
    "empty_random",
    "empty_in_turn",
    *(f"{t}_{does}" for t in TABLES for does in ("find", "see", "put")),
)
STATE = struct.Struct("<4Q2I")
LOOPBACK = 1
FRAME = bytes(64)


class Age(StrEnum):
    """What entries are put in as: open TCP flows are spared as long as others can give way."""

    OPEN = "open"
    CLOSING = "closing"

    @property
    def number(self) -> int:
        """As ``enum age`` in bpf/types.h."""
        return 1 if self is Age.OPEN else 2


class Done(NamedTuple):
    """What a run did: ns for each operation, and how many of them succeeded."""

    ns: float
    succeeded: int


class Candidates:
    """All candidates, freshly made and empty."""

    def __init__(self, maps: dict[str, Map], runners: dict[str, Runner], inner: dict[str, list[Map]]) -> None:
        self._maps, self._runners, self._inner = maps, runners, inner

    def run(
        self, program: str, first: int, count: int, repeat: int, only: int = 0, age: Age = Age.OPEN
    ) -> Done:
        """Run ``program`` on entries ``first`` to ``first + count`` (of owner ``only - 1`` when not 0)."""
        state = self._maps["state"]
        state.put(bytes(4), STATE.pack(0, 0, first, count, only, age.number))
        run = self._runners[program].run(FRAME, SkbContext(LOOPBACK), repeat)
        return Done(float(run.duration_ns), STATE.unpack(state.get(bytes(4)) or b"")[1])

    def memory(self, table: str) -> int:
        """Bytes that the candidate has taken, with what it needs beside it."""
        maps = [self._maps[table], *self._inner.get(table, [])]
        if table in ("hash", "lazy"):
            maps += [self._maps["slots"], self._maps["hands"]]
        return sum(_memory(handle.fd) for handle in maps)

    def close(self) -> None:
        """Let all go."""
        inner = {id(handle): handle for handles in self._inner.values() for handle in handles}
        for handle in (*self._maps.values(), *inner.values()):
            handle.close()


def _memory(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("memlock"))


def _inner_maps(outer: Map) -> list[Map]:
    made = []
    for number in range(OWNERS):
        made.append(create_map(MapInfo(MapType.LRU_HASH, 0, FLOW_KEY_SIZE, FLOW_SIZE, QUOTA, 0, "own")))
        outer.put(struct.pack("<I", number), struct.pack("<I", made[-1].fd))
    return made


@contextmanager
def candidates() -> Iterator[Candidates]:
    """Compile where need be, load, and yield the candidates, empty."""
    headers = [HERE.parent / "bpf" / name for name in ("helpers.h", "types.h")]
    path = bpf_object(HERE / "flowtable" / "flowtable.bpf.c", headers)
    with ObjectFile(path) as opened:
        opened.load()
        maps = {name: Map(fd) for name, fd in opened.maps(opened.map_names()).items()}
        programs = opened.programs(PROGRAMS)
    inner = {name: _inner_maps(maps[name]) for name in ("own_by_hash", "own_by_array")}
    made = Candidates(maps, {name: Runner(fd) for name, fd in programs.items()}, inner)
    try:
        yield made
    finally:
        made.close()
        for fd in programs.values():
            os.close(fd)

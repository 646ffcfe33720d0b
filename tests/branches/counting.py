"""A pytest plugin: sums up the branch counters of every instance of the instrumented program.

Programs of test runs are counted when their engine is closed, those that judged real packets when the session
ends. Used by ``tests/branches/run.py`` alone; ``CLOCHE_BRANCHES`` names the folder that the sums are left in.
"""

from __future__ import annotations

import ctypes
import os
import struct
from array import array
from pathlib import Path

from cloche.datapath import adoption, bpf, loader, upgrade
from cloche.datapath.maps import Map
from cloche.datapath.testrun import Engine

FOLDER = Path(os.environ["CLOCHE_BRANCHES"])
MAP_NAME_AT, PROGRAM_MAPS_AT, MOST_MAPS = 24, 52, 64
"""Where the kernel's ``struct bpf_map_info`` has the name and ``struct bpf_prog_info`` its maps' ids."""
_load = loader.load
_left: dict[tuple[int, int], Map] = {}
"""Counters not summed up yet, by the process that loaded the program and the program's descriptor."""


def _maps_of(program: int) -> tuple[int, ...]:
    """The ids of the maps that a program uses."""
    ids = ctypes.create_string_buffer(4 * MOST_MAPS)
    info = ctypes.create_string_buffer(256)
    struct.pack_into("<IQ", info, PROGRAM_MAPS_AT, MOST_MAPS, bpf.address_of(ids))
    bpf.call(bpf.Command.OBJ_INFO, bpf.Attr("<IIQ", program, len(info), bpf.address_of(info)))
    (count,) = struct.unpack_from("<I", info, PROGRAM_MAPS_AT)
    return struct.unpack_from(f"<{count}I", ids)


def _counters_of(program: int) -> Map | None:
    """A program's counters; None: it is another one, which does not count its branches."""
    for number in _maps_of(program):
        fd = bpf.open_id(bpf.Command.MAP_BY_ID, number)
        if bpf.c_text(bpf.info_bytes(fd)[MAP_NAME_AT : MAP_NAME_AT + 16]).endswith(".bss"):
            return Map(fd)
        os.close(fd)
    return None


def loaded(*arguments: object, **named: object) -> loader.Loaded:
    """As ``load``, and its counters are found."""
    made = _load(*arguments, **named)  # type: ignore[arg-type]
    counters = _counters_of(made.programs.from_endpoint)
    if counters:
        key = os.getpid(), made.programs.from_endpoint
        if key in _left:
            add(_left.pop(key))
        _left[key] = counters
    return made


_close = Engine.close


def add(counters: Map) -> None:
    """Add counters to those of this process."""
    (_, raw), *_ = counters.items()
    counts = array("I", raw)
    path = FOLDER / f"{os.getpid()}.counts"
    if path.exists():
        counts = array("I", (a + b for a, b in zip(counts, array("I", path.read_bytes()), strict=True)))
    path.write_bytes(struct.pack(f"<{len(counts)}I", *(min(n, 1 << 31) for n in counts)))
    counters.close()


def closed(self: Engine) -> None:
    """As ``Engine.close``, its counters added to those of this process."""
    counters = _left.pop((os.getpid(), self.loaded.programs.from_endpoint), None)
    if counters:
        add(counters)
    _close(self)


def pytest_sessionfinish() -> None:
    """What is left is added up."""
    for process, program in list(_left):
        if process == os.getpid():
            add(_left.pop((process, program)))


Engine.close = closed  # type: ignore[method-assign]
for module in (loader, adoption, upgrade):
    module.load = loaded  # type: ignore[attr-defined]

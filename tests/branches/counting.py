"""A pytest plugin: sums up the branch counters of every instance of the instrumented program.

Used by ``tests/branches/run.py`` alone; ``CLOCHE_BRANCHES`` names the folder that the sums are left in.
"""

from __future__ import annotations

import ctypes
import os
import struct
from array import array
from pathlib import Path

from cloche.datapath import bpf
from cloche.datapath.maps import Map
from cloche.datapath.testrun import Engine

FOLDER = Path(os.environ["CLOCHE_BRANCHES"])
MAP_NAME_AT, PROGRAM_MAPS_AT, MOST_MAPS = 24, 52, 64
"""Where the kernel's ``struct bpf_map_info`` has the name and ``struct bpf_prog_info`` its maps' ids."""
_make, _close = Engine.__init__, Engine.close
_counters: dict[int, int] = {}


def _maps_of(program: int) -> tuple[int, ...]:
    """The ids of the maps that a program uses."""
    ids = ctypes.create_string_buffer(4 * MOST_MAPS)
    info = ctypes.create_string_buffer(256)
    struct.pack_into("<IQ", info, PROGRAM_MAPS_AT, MOST_MAPS, bpf.address_of(ids))
    bpf.call(bpf.Command.OBJ_INFO, bpf.Attr("<IIQ", program, len(info), bpf.address_of(info)))
    (count,) = struct.unpack_from("<I", info, PROGRAM_MAPS_AT)
    return struct.unpack_from(f"<{count}I", ids)


def _counters_of(program: int) -> int:
    """A descriptor of a program's counters."""
    for number in _maps_of(program):
        fd = bpf.open_id(bpf.Command.MAP_BY_ID, number)
        if bpf.c_text(bpf.info_bytes(fd)[MAP_NAME_AT : MAP_NAME_AT + 16]).endswith(".bss"):
            return fd
        os.close(fd)
    raise LookupError("the program does not count its branches")


def made(self: Engine, *arguments: object, **named: object) -> None:
    """As ``Engine()``, and its counters are found."""
    _make(self, *arguments, **named)  # type: ignore[arg-type]
    _counters[id(self)] = _counters_of(self.loaded.programs.from_endpoint)


def closed(self: Engine) -> None:
    """As ``Engine.close``, its counters added to those of this process."""
    table = Map(_counters.pop(id(self)))
    (_, raw), *_ = table.items()
    counts = array("I", raw)
    path = FOLDER / f"{os.getpid()}.counts"
    if path.exists():
        counts = array("I", (a + b for a, b in zip(counts, array("I", path.read_bytes()), strict=True)))
    path.write_bytes(struct.pack(f"<{len(counts)}I", *(min(n, 1 << 31) for n in counts)))
    _close(self)


Engine.__init__, Engine.close = made, closed  # type: ignore[method-assign, assignment]

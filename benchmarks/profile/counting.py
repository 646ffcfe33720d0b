"""Builds of the program that count what they do: look-ups by map, and how often each basic block runs.

Neither touches the sources. Look-ups are counted by macros in front of the helpers, included before the
program. Blocks are counted by the compiler (SanitizerCoverage, inline counters, none pruned); the assembly
that it makes is also where the instructions of each block are counted, those of the counters left out.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.building import HERE, OUTPUT, bpf_object
from benchmarks.profile.assembly import Block, blocks
from cloche.datapath import bpf
from cloche.datapath.btf import read_elf
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.loader import OBJECT
from cloche.datapath.maps import Map, MapType

SOURCES = HERE.parent / "bpf"
PROGRAM = SOURCES / "cloche.bpf.c"
LOOKUP = 1
"""The number of the helper that looks up."""

CALLS = ("map_lookup_elem", "map_update_elem", "map_delete_elem")
OTHER = "other"
PROGRAM_MAPS_AT, MOST_MAPS = 52, 64
"""Where the kernel's ``struct bpf_prog_info`` has its maps' ids."""

ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)


def _headers() -> list[Path]:
    return sorted(path for path in SOURCES.iterdir() if path != PROGRAM)


def maps_of(program: int) -> Iterator[Map]:
    """The maps that a program uses; whoever takes one closes it."""
    numbers = ctypes.create_string_buffer(4 * MOST_MAPS)
    info = ctypes.create_string_buffer(256)
    struct.pack_into("<IQ", info, PROGRAM_MAPS_AT, MOST_MAPS, bpf.address_of(numbers))
    bpf.call(bpf.Command.OBJ_INFO, bpf.Attr("<IIQ", program, len(info), bpf.address_of(info)))
    (count,) = struct.unpack_from("<I", info, PROGRAM_MAPS_AT)
    for number in struct.unpack_from(f"<{count}I", numbers):
        yield Map(bpf.open_id(bpf.Command.MAP_BY_ID, number))


def counters_of(program: int, section: str) -> Map:
    """The map that holds an object's section of counters. Raises LookupError when there is none."""
    found = None
    for one in maps_of(program):
        if found is None and one.info.name.endswith(section):
            found = one
        else:
            one.close()
    if found is None:
        raise LookupError(f"the program has no {section}")
    return found


def array_names(program: int) -> set[str]:
    """Those of a program's maps that are arrays, as far as the kernel keeps their names."""
    found = set()
    for one in maps_of(program):
        if one.info.type in ARRAYS:
            found.add(one.info.name)
        one.close()
    return found


# --- look-ups ---


def map_names() -> list[str]:
    """Every map of the program, and at the end whatever is none of them."""
    with ObjectFile(OBJECT) as opened:
        return [*sorted(opened.map_names()), OTHER]


def lookups_object(names: list[str]) -> Path:
    """The program that counts its calls to maps in ``calls``: for each of ``CALLS`` each of the maps."""
    lines = [f'#include "{SOURCES / "helpers.h"}"', f"volatile __u64 calls[{len(CALLS) * len(names)}];"]
    place = str(len(names) - 1)
    for number, name in enumerate(names[:-1]):
        place = f"__builtin_types_compatible_p(__typeof__(map), __typeof__(&{name})) ? {number} : {place}"
    lines.append(f"#define PLACE(map) ({place})")
    for number, call in enumerate(CALLS):
        lines += [
            f"#define bpf_{call}(map, ...) \\",
            f"\t({{ calls[{number * len(names)} + PLACE(map)]++; (bpf_{call})(map, __VA_ARGS__); }})",
        ]
    header = OUTPUT / "calls.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text("\n".join(lines) + "\n")
    options = ("-c", "-Wno-address-of-packed-member", "-include", str(header))
    return bpf_object(PROGRAM, [header, *_headers()], options, ".calls.o")


class Calls:
    """Counts the calls of a loaded program that was built so."""

    def __init__(self, program: int, names: list[str]) -> None:
        self._table, self._names = counters_of(program, ".bss"), names
        self._size = self._table.info.value_size

    def clear(self) -> None:
        """Begin anew."""
        self._table.put(bytes(4), bytes(self._size))

    def read(self) -> dict[str, dict[str, int]]:
        """For each of ``CALLS`` how often each map was called, those that were not left out."""
        count = len(self._names)
        values = struct.unpack_from(f"<{len(CALLS) * count}Q", self._table.get(bytes(4)) or b"")
        pairs = {call: zip(self._names, values[n * count :], strict=False) for n, call in enumerate(CALLS)}
        return {call: {name: value for name, value in found if value} for call, found in pairs.items()}

    def close(self) -> None:
        """Let go of the counters."""
        self._table.close()


# --- instructions ---

SECTION = ".data.blocks"


def _plain(text: str) -> str:
    """The compiler's own form of the program (LLVM's), its counters in a section of their own, without what
    only a process could use and without groups, which an object of BPF has none of."""
    text = re.sub(r"^\$.* = comdat .*\n", "", text, flags=re.M)
    text = re.sub(r",? comdat(\(\$[^)]*\))?(?=[ ,\n])", "", text)
    text = re.sub(r"^define internal void @sancov\.module_ctor.*?^}\n", "", text, flags=re.M | re.S)
    text = re.sub(r"^(@llvm\.global_ctors|@llvm\.used|@__st\w+___sancov).*\n", "", text, flags=re.M)
    text = text.replace('section "__sancov_cntrs"', f'section "{SECTION}"')
    return re.sub(r"^(@__sancov_gen_\S* =) private", r"\1 internal", text, flags=re.M)


class Counted(NamedTuple):
    """What one run of the program came to. ``unsure``: instructions of blocks that go by no counter, each as
    often as the block before it; part of ``instructions``."""

    instructions: int
    unsure: int
    lookups: int


class Blocks:
    """Counts the blocks of a loaded program that was built so."""

    def __init__(self, program: int, path: Path, found: list[Block]) -> None:
        self._table, self._blocks = counters_of(program, SECTION.removeprefix(".data")), found
        symbols = read_elf(path.read_bytes()).symbols
        self._at = {name: place.offset for name, place in symbols.items() if name.startswith("__sancov_gen_")}
        self._size = self._table.info.value_size

    def clear(self) -> None:
        """Begin anew."""
        self._table.put(bytes(4), bytes(self._size))

    def read(self) -> Counted:
        """What was done since. Right for a run in which no block runs more than 255 times."""
        counts = self._table.get(bytes(4)) or b""
        instructions = unsure = lookups = last = 0
        for block in self._blocks:
            if block.counter is not None:
                last = counts[self._at[block.counter[0]] + block.counter[1]]
            elif last:
                unsure += last * block.instructions
            instructions += last * block.instructions
            lookups += last * block.calls[LOOKUP]
        return Counted(instructions, unsure, lookups)

    def close(self) -> None:
        """Let go of the counters."""
        self._table.close()


def blocks_object() -> tuple[Path, list[Block]]:
    """The program that counts its blocks, and those blocks. Raises ValueError, CalledProcessError."""
    options = ("-S", "-emit-llvm", "-fsanitize-coverage=inline-8bit-counters,no-prune")
    plain = OUTPUT / "blocks.ll"
    plain.write_text(_plain(bpf_object(PROGRAM, _headers(), options, ".ll").read_text()))
    as_it_is = ("-Xclang", "-disable-llvm-passes", "-Wno-override-module")
    assembly = bpf_object(plain, [], ("-S", *as_it_is), ".s").read_text()
    return bpf_object(plain, [], ("-c", *as_it_is), ".o"), blocks(assembly)

"""The basic blocks of a program's assembly that counts them (SanitizerCoverage, inline counters). Pure.

Blocks that the compiler made after it had put the counters in have none. Where such a block runs as often as
a counted one, whatever way is taken, it goes by that one's counter.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

FUNCTION = re.compile(r"^([A-Za-z_]\w*):\s+# @")
BLOCK = re.compile(r"^(?:(LBB\d+_\d+):|# %bb\.\d+:)")
INSTRUCTION = re.compile(r"^\t(?![.#])(\S.*?)(\s+#.*)?$")
LOAD = re.compile(r"^(w\d+) = \*\(u8 \*\)\((r\d+) \+ (\d+)\)$")
OURS = re.compile(r"^r\d+ = (__sancov_gen_[.\d]*) ll$")
JUMP = re.compile(r"goto (LBB\d+_\d+)$")

Place = tuple[str, int]
"""A counter: its function's array, and where it is in that."""


class Block(NamedTuple):
    """A basic block: the counter that it goes by (None: there is none), how many instructions it has without
    those of counters, and how many calls of each helper by number."""

    counter: Place | None
    instructions: int
    calls: Counter[int]


class _Part(NamedTuple):
    """A block as it is written."""

    label: str
    lines: list[str]


def blocks(text: str) -> list[Block]:
    """All blocks, in order. ValueError where the assembly is not understood."""
    found: list[Block] = []
    parts: list[_Part] = []
    inside = False
    for line in text.split("\n"):
        if FUNCTION.match(line):
            inside = True
        elif inside and line.startswith(".Lfunc_end"):
            found += _function([part for part in parts if part.lines])
            parts, inside = [], False
        elif inside and (begins := BLOCK.match(line)):
            parts.append(_Part(begins.group(1) or "", []))
        elif inside and parts and (match := INSTRUCTION.match(line)):
            parts[-1].lines.append(match.group(1))
    return found


def _function(parts: list[_Part]) -> list[Block]:
    """The blocks of one function."""
    made: list[Block] = []
    array = ""
    for part in parts:
        block, array = _block(part.lines, array)
        made.append(block)
    counters = _go_by([block.counter for block in made], _ways(parts))
    return [block._replace(counter=counter) for block, counter in zip(made, counters, strict=True)]


def _block(lines: list[str], array: str) -> tuple[Block, str]:
    """One block, and the counters of its function as far as they are known."""
    counter, skipped = None, 0
    for number, line in enumerate(lines):
        ours, load = OURS.match(line), LOAD.match(line)
        if ours:
            array, skipped = ours.group(1), skipped + 1
        elif load and lines[number + 1 : number + 3] == [
            f"{load.group(1)} += 1",
            f"*(u8 *)({load.group(2)} + {load.group(3)}) = {load.group(1)}",
        ]:
            if counter is not None:
                raise ValueError(f"a block with two counters: {lines}")
            counter, skipped = (array, int(load.group(3))), skipped + 3
    calls = Counter(int(line.removeprefix("call ")) for line in lines if re.fullmatch(r"call \d+", line))
    return Block(counter, len(lines) - skipped, calls), array


def _ways(parts: list[_Part]) -> list[set[int]]:
    """For each block those that may follow it."""
    at = {part.label: number for number, part in enumerate(parts) if part.label}
    ways = []
    for number, part in enumerate(parts):
        after = {at[jump.group(1)] for line in part.lines if (jump := JUMP.search(line))}
        if not part.lines[-1].startswith("goto ") and part.lines[-1] != "exit":
            after.add(number + 1)
        ways.append(after)
    return ways


def _go_by(counters: list[Place | None], after: list[set[int]]) -> list[Place | None]:
    """The counters, and for blocks without: that of the block from which every way leads to them, by a detour
    of one block at most, and no other way does."""
    before: list[set[int]] = [set() for _ in after]
    for number, ways in enumerate(after):
        for way in ways:
            before[way].add(number)
    known, changed = list(counters), True
    while changed:
        changed = False
        for number, counter in enumerate(known):
            end = _end(number, after, before)
            if counter is not None and end is not None and known[end] is None:
                known[end], changed = counter, True
    return known


def _end(number: int, after: list[set[int]], before: list[set[int]]) -> int | None:
    """The block that always follows this one, and only this one; None where there is none."""
    ways = after[number]
    if len(ways) == 1:
        (end,) = ways
        return end if before[end] == {number} else None
    detours = {way for way in ways if before[way] == {number} and len(after[way]) == 1}
    ends = (ways - detours) | {end for way in detours for end in after[way]}
    if len(ends) != 1:
        return None
    (end,) = ends
    return end if end != number and before[end] == (detours | ({number} if end in ways else set())) else None

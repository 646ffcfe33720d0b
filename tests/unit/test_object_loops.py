"""What kernel 6.1's verifier asks of loops and newer ones do not: the way back is a jump (its check_cfg)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.datapath.btf import read_elf
from cloche.datapath.loader import OBJECT

JUMPS, EXIT, CALL, GOTO, WIDE = (5, 6), 0x95, 0x85, 0x05, 0x18


class Step(NamedTuple):
    """Where an instruction leads, and whether by a jump."""

    to: int
    jumps: bool


def steps(code: list[tuple[int, int]], at: int) -> list[Step]:
    """What follows an instruction (opcode, offset), in the order in which the verifier looks."""
    opcode, offset = code[at]
    if opcode == EXIT:
        return []
    if opcode == GOTO:
        return [Step(at + 1 + offset, True)]
    if opcode & 7 in JUMPS and opcode != CALL:
        return [Step(at + 1, True), Step(at + 1 + offset, True)]
    return [Step(at + (2 if opcode == WIDE else 1), False)]


def falls_back(code: list[tuple[int, int]]) -> list[int]:
    """The instructions that fall through into one that is still being followed: a loop without a jump."""
    unseen, open_, done = range(3)
    state, following, path, found = [unseen] * len(code), [0] * len(code), [0], []
    while path:
        at = path[-1]
        state[at] = open_
        left = steps(code, at)[following[at] :]
        if not left:
            state[at] = done
            path.pop()
            continue
        following[at] += 1
        to, jumps = left[0]
        if state[to] == unseen:
            path.append(to)
        elif state[to] == open_ and not jumps:
            found.append(at)
    return found


def functions() -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Every function of the object: its name, and opcode and offset of each instruction."""
    elf = read_elf(OBJECT.read_bytes())
    for name, symbol in elf.symbols.items():
        if symbol.section in ("tc", ".text") and symbol.size:
            code = elf.sections[symbol.section][symbol.offset : symbol.offset + symbol.size]
            yield name, [(op, offset) for op, _, offset, _ in struct.iter_unpack("<BBhi", code)]


@pytest.mark.parametrize("function", list(functions()), ids=lambda function: function[0])
def test_loops_go_back_by_a_jump(function: tuple[str, list[tuple[int, int]]]) -> None:
    """No loop of the object is entered again by falling through."""
    assert falls_back(function[1]) == []


def test_a_loop_that_falls_back_is_seen() -> None:
    """goto 2; 1: nop; 2: if ... goto 1 falls from 1 into 2; a loop that ends in a jump does not."""
    nop, jump_if, leave = (0xB7, 0), 0x15, (EXIT, 0)
    assert falls_back([(GOTO, 1), nop, (jump_if, -2), leave]) == [1]
    assert falls_back([nop, nop, (jump_if, -2), leave]) == []

"""Atoms' numbers: the cut of the ports with a number for each atom, kept from one generation to the next."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from cloche.compiler.numbers import Numbers, take_over
from cloche.partition.ports import Cut, PortSet
from cloche.tables.schema import Versioned, unpack

Interval = tuple[int, int, int]
"""First and last index, atom number."""


class Atoms(NamedTuple):
    """A cut in numbers. ``masks``: which atoms each port set is made of, bit by number; ``everything``: all
    that are in use; ``size``: one more than the highest."""

    intervals: tuple[Interval, ...]
    masks: dict[PortSet, int]
    everything: int

    @property
    def size(self) -> int:
        """How many cells a row needs."""
        return self.everything.bit_length()

    def numbers(self) -> list[int]:
        """The numbers in use, ascending."""
        return [n for n in range(self.size) if self.everything >> n & 1]


def read_atoms(words: array[int], generation: int) -> Atoms:
    """The atoms that count in a generation; their port sets are not known."""
    intervals: list[Interval] = []
    for first, last, word in runs(words, 0, len(words) - 1):
        number = word.at(generation)
        if intervals and intervals[-1][2] == number:
            first = intervals.pop()[0]
        intervals.append((first, last, number))
    everything = 0
    for _, _, number in intervals:
        everything |= 1 << number
    return Atoms(tuple(intervals), {}, everything)


def renumber(old: Atoms, cut: Cut, numbers: Numbers) -> Atoms:
    """The cut in numbers: each atom keeps the number that most of its ports have now.

    Raises FullError when there are too many atoms.
    """
    votes: dict[int, dict[int, int]] = {mask: {} for _, _, mask in cut.intervals}
    for first, last, number, mask in overlay(old.intervals, cut.intervals):
        votes[mask][number] = votes[mask].get(number, 0) + last - first + 1
    number_of = take_over(votes, {number for _, _, number in old.intervals})
    new = [mask for mask in votes if mask not in number_of]
    number_of.update(zip(new, numbers.take(len(new)), strict=True))
    masks = dict.fromkeys(cut.sets, 0)
    everything = 0
    for mask, number in number_of.items():
        everything |= 1 << number
        left = mask
        while left:
            lowest = left & -left
            masks[cut.sets[lowest.bit_length() - 1]] |= 1 << number
            left ^= lowest
    return Atoms(tuple((f, la, number_of[m]) for f, la, m in cut.intervals), masks, everything)


def overlay(one: tuple[Interval, ...], other: tuple[Interval, ...]) -> Iterator[tuple[int, int, int, int]]:
    """First, last and both values of the pieces that two cuts of the same indexes make together."""
    i = j = 0
    while i < len(one) and j < len(other):
        first = max(one[i][0], other[j][0])
        last = min(one[i][1], other[j][1])
        yield first, last, one[i][2], other[j][2]
        if one[i][1] == last:
            i += 1
        if other[j][1] == last:
            j += 1


def runs(words: array[int], first: int, last: int) -> Iterator[tuple[int, int, Versioned]]:
    """First, last and value of the equal words among some indexes."""
    at = first
    while at <= last:
        end = _run_end(words, at, last)
        yield at, end, unpack(words[at])
        at = end + 1


def _run_end(words: array[int], at: int, last: int) -> int:
    """Where the run of equal words at an index ends: ever longer pieces are compared, then shorter ones."""
    end, length = at, 1
    while length:
        piece = words[end + 1 : end + 1 + length]
        if end + length <= last and piece == array("Q", words[at : at + 1]) * length:
            end += length
            length *= 2
        else:
            length //= 2
    return end

"""Rows in the kernel: their cells, and the head of each, which says where they are and what most are.

The tables call a row by the number of its first unit of cells. In the kernel it is called by the number of
its head, so that heads lie side by side; a row at the same place has the same head for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cloche.datapath.layout import GROUP_CELLS, GROUPS, HEAD_OFFSETS, HEAD_SIZE, ROW_UNIT
from cloche.datapath.maps import Map
from cloche.tables.schema import Versioned, unpack

_WORDS, _HALVES = HEAD_SIZE // 8, HEAD_SIZE // 4
_COMMON_AT, _FIRST_AT = HEAD_OFFSETS["common"] // 4, HEAD_OFFSETS["first"] // 4


def non_zero(words: memoryview) -> Iterator[tuple[int, int]]:
    """Index and value of each word that is not zero, quick over long empty stretches."""
    block = 4096
    empty = bytes(block * 8)
    for start in range(0, len(words), block):
        piece = words[start : start + block]
        if piece.tobytes() != empty[: len(piece) * 8]:
            yield from ((start + i, word) for i, word in enumerate(piece) if word)


class Cells:
    """The rows of one instance: cells of 4 bytes, and heads.

    A head has a bit for each group of a row's cells: where it is not set all that were written are the common
    one, and what lies in the cells is not looked at.
    """

    def __init__(self, cells: Map, heads: Map) -> None:
        self._view = cells.mapped().cast("I")
        self._groups, self._fields = heads.mapped().cast("Q"), heads.mapped().cast("I")
        self.count = len(self._view)
        self._heads: dict[int, int] = {}
        self._learn()

    def _learn(self) -> None:
        """Which rows have which heads."""
        used = {at // _WORDS for at, _ in non_zero(self._groups)}
        firsts = {number: self._fields[number * _HALVES + _FIRST_AT] for number in used}
        self._heads = {first: number for number, first in sorted(firsts.items()) if first}
        self._last = max(used, default=0)

    def find(self, row: int) -> int:
        """The number of a row's head; 0: it has none."""
        if row not in self._heads:
            self._learn()
        return self._heads.get(row, 0)

    def _head(self, row: int) -> int:
        """The same, and it has one from now on. IndexError past the end."""
        if not 0 < row < self.count // ROW_UNIT:
            raise IndexError(f"row {row} of {self.count // ROW_UNIT}")
        if row not in self._heads:
            self._last += 1
            self._heads[row] = self._last
        number = self._heads[row]
        self._fields[number * _HALVES + _FIRST_AT] = row
        return number

    def word(self, value: Versioned | int) -> int:
        """The word of rows that leads to these rows."""
        rows = unpack(value) if isinstance(value, int) else value
        old, new = (self._head(row) if row else 0 for row in rows[:2])
        return Versioned(old, new, rows.since).pack()

    def rows(self, word: int) -> Versioned:
        """The rows that a word of rows leads to."""
        old, new, since = unpack(word)
        return Versioned(self._row(old), self._row(new), since)

    def _row(self, number: int) -> int:
        at = number * _HALVES + _FIRST_AT
        return int(self._fields[at]) if at < len(self._fields) else 0

    def write(self, row: int, first: int, cells: Sequence[int]) -> None:
        """Write packed cells from atom ``first`` of a row on, then its head. IndexError past the end."""
        at = row * ROW_UNIT + first
        if at < 0 or at + len(cells) > self.count:
            raise IndexError(f"cell {at + len(cells) - 1} of {self.count}")
        for index, cell in enumerate(cells, at):
            self._view[index] = cell
        number = self._head(row)
        common = self._fields[number * _HALVES + _COMMON_AT]
        self._groups[number * _WORDS] |= uncommon(common, first, cells)

    def begin(self, row: int, common: int) -> None:
        """A row that no packet reads yet begins anew: all of it is the common cell until another is written.
        IndexError past the end."""
        number = self._head(row)
        self._fields[number * _HALVES + _COMMON_AT] = common
        self._groups[number * _WORDS] = 0

    def read(self, row: int, count: int) -> list[int]:
        """The first cells of a row, packed, as packets find them; zeroes where its head is another's."""
        number = self.find(row)
        if self._row(number) != row:
            return [0] * count
        cells = self.written(row, count)
        common = self._fields[number * _HALVES + _COMMON_AT]
        groups = self._groups[number * _WORDS]
        for group in range(min(-(-count // GROUP_CELLS), GROUPS)):
            if not groups >> group & 1:
                first = group * GROUP_CELLS
                last = min(first + GROUP_CELLS, count)
                cells[first:last] = [common] * (last - first)
        return cells

    def written(self, row: int, count: int) -> list[int]:
        """The same as they lie there, whatever the head says."""
        at = row * ROW_UNIT
        return self._view[at : at + count].tolist()


def uncommon(common: int, first: int, cells: Sequence[int]) -> int:
    """Which groups of a row hold another cell than the common one, bit by bit; cells begin at ``first``."""
    groups = 0
    for group in range(first // GROUP_CELLS, min((first + len(cells) - 1) // GROUP_CELLS + 1, GROUPS)):
        begin = group * GROUP_CELLS - first
        some = cells[max(begin, 0) : begin + GROUP_CELLS]
        if some.count(common) != len(some):
            groups |= 1 << group
    return groups

"""From one cut of the ports to the next: cells by the old numbers of atoms, and by the new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

from cloche.compiler.atoms import Atoms, overlay
from cloche.tables.schema import Put

Content = tuple[int, ...]
"""Packed cells by atom number, 0 where no atom has the number."""


class Recut:
    """From one cut of the ports to the next, which may be the same."""

    def __init__(self, old: Atoms, new: Atoms) -> None:
        self.old, self.new = old, new
        pieces = [] if old is new else overlay(old.intervals, new.intervals)
        self._pieces = [(before, after) for _, _, before, after in pieces]
        self._source = {after: before for before, after in self._pieces}

    @cached_property
    def bring(self) -> Callable[[Content], Content]:
        """What makes, of a content by the old numbers, the one by the new numbers that decides the same."""
        source, size, kept = self._source, self.new.size, self.old.size
        others = [(n, source.get(n)) for n in range(size) if source.get(n) != n and (n < kept or n in source)]

        if size > kept and others == [(n, source[n]) for n in range(kept, size)]:
            behind = [old for _, old in self.added]
            return lambda content: content + tuple([content[old] for old in behind])

        def brought(content: Content) -> Content:
            cells = list(content[:size])
            cells += [0] * (size - len(cells))
            for number, old in others:
                cells[number] = 0 if old is None else content[old]
            return tuple(cells)

        return brought

    def back(self, content: Content) -> Content | None:
        """The content by the old numbers that decides every port as this one does; None: there is none."""
        cells = [0] * self.old.size
        for old, new in self._pieces:
            cells[old] = content[new]
        same = all(cells[old] == content[new] for old, new in self._pieces)
        return tuple(cells) if same else None

    @cached_property
    def common(self) -> list[int]:
        """The numbers of the atoms that stay."""
        return Atoms((), {}, self.old.everything & self.new.everything).numbers()

    @cached_property
    def added(self) -> list[tuple[int, int]]:
        """The numbers that are new, ascending, each with one of the old numbers that its ports had."""
        new = Atoms((), {}, self.new.everything & ~self.old.everything)
        return [(number, self._source[number]) for number in new.numbers()]


def additions(row: int, cells: Iterable[tuple[int, int]], held: Sequence[int]) -> Iterator[Put]:
    """The writes of a row's cells by ascending number where ``held`` has others, those that follow each other
    in one."""
    first, run = 0, list[int]()
    for number, cell in cells:
        if number < len(held) and held[number] == cell:
            continue
        if run and number != first + len(run):
            yield Put("cells", (row, first), tuple(run))
            run = []
        first = first if run else number
        run.append(cell)
    if run:
        yield Put("cells", (row, first), tuple(run))

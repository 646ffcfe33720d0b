"""Rows: a set's cells for one class, equal ones kept once, copy-on-write.

A row number counts units of ROW_UNIT cells and has some room to spare, so that the cells of new atoms can be
written behind the others while the active generation goes on reading those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from cloche.compiler.atoms import Atoms, overlay
from cloche.compiler.numbers import Ranges
from cloche.tables.schema import ROW_UNIT, Put, Tables, Write

Content = tuple[int, ...]
"""Packed cells by atom number, 0 where no atom has the number."""

SAMPLES = 15

Pair = tuple[int, int]
"""Set and class number."""


class Gone(NamedTuple):
    """Sets and classes, by number, that are no more after a change."""

    sets: Collection[int]
    classes: Collection[int]

    def has(self, set_: int, class_: int) -> bool:
        """True when a pair is no more."""
        return set_ in self.sets or class_ in self.classes


class Recut:
    """From one cut of the ports to the next, which may be the same."""

    def __init__(self, old: Atoms, new: Atoms) -> None:
        self.old, self.new = old, new

    def bring(self) -> Callable[[Content], Content]:
        """What makes, of a content by the old numbers, the one by the new numbers that decides the same."""
        source = {new: old for _, _, old, new in overlay(self.old.intervals, self.new.intervals)}
        size, kept = self.new.size, self.old.size
        others = [(n, source.get(n)) for n in range(size) if source.get(n) != n and (n < kept or n in source)]

        def brought(content: Content) -> Content:
            cells = list(content[:size])
            cells += [0] * (size - len(cells))
            for number, old in others:
                cells[number] = 0 if old is None else content[old]
            return tuple(cells)

        return brought

    @cached_property
    def common(self) -> list[int]:
        """The numbers of the atoms that stay."""
        return Atoms((), {}, self.old.everything & self.new.everything).numbers()

    @cached_property
    def added(self) -> list[int]:
        """The numbers that are new."""
        return Atoms((), {}, self.new.everything & ~self.old.everything).numbers()


class RowPlan:
    """What a change of rows comes to: new numbers by pair, the writes of cells, rows given up."""

    def __init__(self) -> None:
        self.rows: dict[Pair, int] = {}
        self.writes: list[Write] = []
        self.content: dict[int, Content] = {}
        self.units: dict[int, int] = {}
        self.by_content: dict[Content, int] | None = None
        """After another cut of the ports: all rows by what they are then."""


class Rows:
    """The rows that the active generation uses, by pair and by content."""

    def __init__(self, cells: int) -> None:
        self.of: dict[int, dict[int, int]] = {}
        """Row number by set and class."""
        self._content: dict[int, Content] = {}
        self._by_content: dict[Content, int] = {}
        self._units: dict[int, int] = {}
        self._uses: Counter[int] = Counter()
        self._ranges = Ranges("cells", 1, cells // ROW_UNIT)

    def adopt(self, tables: Tables, pairs: Iterable[Pair], atoms: Atoms) -> None:
        """Take over the rows of these pairs as ``tables`` have them."""
        live = atoms.numbers()
        for set_, class_ in pairs:
            word = tables.rows.get((set_, class_))
            row = word.at(tables.generation) if word is not None else 0
            if row:
                self.of.setdefault(set_, {})[class_] = row
                self._uses[row] += 1
        order = sorted(self._uses)
        for row, following in zip(order, [*order[1:], None], strict=False):
            held = tables.cells.get(row, [])
            room = max(len(held), atoms.size, 1)
            units = -(-room // ROW_UNIT)
            self._units[row] = units if following is None else min(units, following - row)
            content = [0] * atoms.size
            for number in live:
                content[number] = held[number] if number < len(held) else 0
            self._content[row] = tuple(content)
            self._by_content.setdefault(tuple(content), row)
        self._ranges.occupy(self._units.items())

    def plan(self, wanted: dict[Pair, Content], gone: Gone, cut: Recut, tables: Tables) -> RowPlan:
        """Rows for what these pairs want; every other pair that is not gone goes on deciding as it does.

        Raises FullError when the cells do not fit.
        """
        plan = RowPlan()
        chosen = self._by_content if cut.old is cut.new else self._recut(wanted, gone, cut, plan, tables)
        fresh: dict[Content, int] = {}
        for pair, content in wanted.items():
            row = chosen.get(content) or fresh.get(content)
            if row is None:
                row = fresh[content] = self._new(content, plan)
            plan.rows[pair] = row
        if chosen is not self._by_content:
            plan.by_content = chosen | fresh
        return plan

    def _new(self, content: Content, plan: RowPlan) -> int:
        """A new row of this content, with some room."""
        units = -(-(len(content) * 5 // 4 + 4) // ROW_UNIT)
        row = self._ranges.take(units)
        plan.writes += (Put("heads", row, common(content)), Put("cells", (row, 0), content))
        plan.content[row], plan.units[row] = content, units
        return row

    def _recut(
        self, wanted: dict[Pair, Content], gone: Gone, cut: Recut, plan: RowPlan, tables: Tables
    ) -> dict[Content, int]:
        """Bring rows to another cut of the ports. Returns which rows have which content then.

        Whoever is not in ``wanted`` decides each port as before, so their rows only get the cells of new
        atoms (or move, if those do not fit behind); no two of them become equal.
        """
        leaving = Counter(self._rows_left(wanted, gone))
        brought = cut.bring()
        chosen: dict[Content, int] = {}
        moved: dict[int, int] = {}
        size, leave = cut.new.size, leaving.get
        for row, content in self._content.items():
            if self._uses[row] > leave(row, 0):
                stays = brought(content)
                if self._units[row] * ROW_UNIT < size:
                    chosen[stays] = moved[row] = self._new(stays, plan)
                else:
                    self._extend(row, stays, cut, plan, tables)
                    chosen[stays] = row
        if moved:
            pairs = ((set_, class_, row) for set_, rows in self.of.items() for class_, row in rows.items())
            for set_, class_, row in pairs:
                if row in moved and (set_, class_) not in wanted and not gone.has(set_, class_):
                    plan.rows[set_, class_] = moved[row]
        self._match(wanted, cut, plan, chosen, tables)
        return chosen

    def _rows_left(self, wanted: Iterable[Pair], gone: Gone) -> Iterator[int]:
        """The rows of pairs that want another or go, once for each."""
        for set_, class_ in wanted:
            row = self.of.get(set_, {}).get(class_)
            if row is not None:
                yield row
        for set_, rows in self.of.items():
            if set_ in gone.sets:
                yield from rows.values()
            else:
                yield from (rows[class_] for class_ in gone.classes if class_ in rows)

    def _extend(self, row: int, content: Content, cut: Recut, plan: RowPlan, tables: Tables) -> None:
        """A row goes on under its number: the cells of new atoms are written behind the others."""
        plan.content[row], plan.units[row] = content, self._units[row]
        plan.writes += _additions(row, content, cut.added, tables)

    def _match(
        self,
        wanted: dict[Pair, Content],
        cut: Recut,
        plan: RowPlan,
        chosen: dict[Content, int],
        tables: Tables,
    ) -> None:
        """Which other rows can go on with which wanted content: the cells of atoms that stay must stay."""
        votes: Counter[tuple[Content, int]] = Counter()
        for (set_, class_), content in wanted.items():
            row = self.of.get(set_, {}).get(class_)
            if row is not None and row not in plan.content:
                votes[content, row] += 1
        for (content, row), _ in sorted(votes.items(), key=lambda item: (-item[1], item[0][1])):
            if content in chosen or row in plan.content or self._units[row] * ROW_UNIT < cut.new.size:
                continue
            if all(_cell(self._content[row], n) == content[n] for n in cut.common):
                chosen[content] = row
                self._extend(row, content, cut, plan, tables)

    def undo(self) -> None:
        """The plan is not carried out."""
        self._ranges.undo()

    def keep(self, plan: RowPlan, sets: Iterable[int], classes: Iterable[int]) -> None:
        """The plan is carried out; these sets' and classes' other rows are given up."""
        left = [row for set_ in sets for row in self.of.pop(set_, {}).values()]
        for class_ in classes:
            left += [rows.pop(class_) for rows in self.of.values() if class_ in rows]
        for (set_, class_), row in plan.rows.items():
            rows = self.of.setdefault(set_, {})
            before = rows.get(class_)
            if before != row:
                if before is not None:
                    left.append(before)
                self._uses[row] += 1
                rows[class_] = row
        self._uses.subtract(left)
        if plan.by_content is not None:
            self._by_content = plan.by_content
            self._content.update(plan.content)
        else:
            for row, content in plan.content.items():
                self._forget(row)
                self._content[row] = content
                self._by_content[content] = row
        self._units.update(plan.units)
        gone = sorted({row for row in left if not self._uses[row]})
        self._ranges.keep([(row, self._units.pop(row)) for row in gone])
        for row in gone:
            self._forget(row)
            del self._uses[row]

    def _forget(self, row: int) -> None:
        """A row has its content no more."""
        content = self._content.pop(row, None)
        if content is not None and self._by_content.get(content) == row:
            del self._by_content[content]

    def settle(self) -> None:
        """A grace period has passed."""
        self._ranges.settle()

    @property
    def count(self) -> int:
        """How many rows are in use."""
        return len(self._content)


def common(content: Content) -> int:
    """The cell that most are, by some of them: whichever it is, a row decides the same."""
    some = content[:: max(len(content) // SAMPLES, 1)]
    return max(some, key=some.count, default=0)


def _cell(content: Content, number: int) -> int:
    return content[number] if number < len(content) else 0


def _additions(row: int, content: Content, added: list[int], tables: Tables) -> list[Write]:
    """The writes of a row's cells for new atoms, those that follow each other in one."""
    held = tables.cells.get(row, [])
    writes: list[Write] = []
    start: list[int] = []
    for number in [*added, None]:
        differs = number is not None and (number >= len(held) or held[number] != content[number])
        if start and (number is None or not differs or number != start[-1] + 1):
            writes.append(Put("cells", (row, start[0]), content[start[0] : start[-1] + 1]))
            start = []
        if number is not None and differs:
            start.append(number)
    return writes

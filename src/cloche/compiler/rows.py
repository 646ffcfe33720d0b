"""Rows: a set's cells for one class, equal ones kept once, copy-on-write.

A row number counts units of ROW_UNIT cells and has some room to spare, so that the cells of new atoms can be
written behind the others while the active generation goes on reading those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from cloche.compiler.atoms import Atoms
from cloche.compiler.numbers import Ranges
from cloche.compiler.recut import Content, Recut, additions
from cloche.tables.schema import ROW_UNIT, Put, Tables, Write

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


class Wish(NamedTuple):
    """What a set decides for these classes, by number, from now on."""

    set_: int
    content: Content
    classes: list[int]


class RowPlan:
    """What a change of rows comes to: numbers by pair where they are others than before, the writes of cells,
    the contents that are not as before, with how much room they have."""

    def __init__(self) -> None:
        self.rows: dict[Pair, int] = {}
        self.writes: list[Write] = []
        self.content: dict[int, Content] = {}
        self.units: dict[int, int] = {}
        self.recut: Recut | None = None
        """Another cut of the ports: all other rows decide as before, under the numbers of this one."""


class Rows:
    """The rows that the active generation uses, by pair and by content."""

    def __init__(self, cells: int) -> None:
        self.of: dict[int, dict[int, int]] = {}
        """Row number by set and class."""
        self._content: dict[int, Content] = {}
        self._by_content: dict[Content, int] = {}
        self._late: RowPlan | None = None
        """A plan with another cut that is carried out; the contents that it left alone are still by the
        numbers of the cut before."""
        self._adopted = True
        """Words were found, and may say something else in a generation that never became active."""
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

    def plan(self, wishes: Sequence[Wish], gone: Gone, cut: Recut, tables: Tables) -> RowPlan:
        """Rows for what is wished; every other pair that is not gone goes on deciding as it does.

        Raises FullError when the cells do not fit.
        """
        self.catch_up()
        plan, chosen = RowPlan(), self._by_content
        if cut.old is not cut.new:
            plan.recut = cut
            chosen = self._recut(wishes, gone, cut, plan, tables)
        fresh: dict[Content, int] = {}
        for set_, content, classes in wishes:
            row = chosen.get(content) or fresh.get(content)
            if row is None:
                row = fresh[content] = self._new(content, plan)
            before: Mapping[int, int] = {} if self._adopted else self.of.get(set_, {})
            plan.rows.update(((set_, class_), row) for class_ in classes if before.get(class_) != row)
        return plan

    def _new(self, content: Content, plan: RowPlan) -> int:
        """A new row of this content, with some room."""
        units = -(-(len(content) * 5 // 4 + 4) // ROW_UNIT)
        row = self._ranges.take(units)
        plan.writes += (Put("heads", row, common(content)), Put("cells", (row, 0), content))
        plan.content[row], plan.units[row] = content, units
        return row

    def _recut(
        self, wishes: Sequence[Wish], gone: Gone, cut: Recut, plan: RowPlan, tables: Tables
    ) -> dict[Content, int]:
        """Bring rows to another cut of the ports. Returns which rows can be had for wished contents.

        Rows with pairs that are neither wished for nor gone decide each port as before, so they only get the
        cells of new atoms (or move, if those do not fit behind); no two of them become equal.
        """
        leaving = self._leaving(wishes, gone)
        staying = self._content.keys() - (row for row, count in leaving.items() if self._uses[row] == count)
        moved = self._bring(staying, cut, plan, tables)
        chosen: dict[Content, int] = {}
        for content in dict.fromkeys(wish.content for wish in wishes):
            old = cut.back(content)
            row = 0 if old is None else self._by_content.get(old, 0)
            if row in staying:
                chosen[content] = moved.get(row, row)
        if moved:
            wished = {(wish.set_, class_) for wish in wishes for class_ in wish.classes}
            pairs = ((set_, class_, row) for set_, rows in self.of.items() for class_, row in rows.items())
            for set_, class_, row in pairs:
                if row in moved and (set_, class_) not in wished and not gone.has(set_, class_):
                    plan.rows[set_, class_] = moved[row]
        others = [wish for wish in wishes if wish.content not in chosen]
        chosen.update(self._match(others, staying, cut, plan, tables))
        return chosen

    def _leaving(self, wishes: Sequence[Wish], gone: Gone) -> Counter[int]:
        """How many pairs of each row are wished for or go."""
        leaving: Counter[int] = Counter()
        for set_, _, classes in wishes:
            leaving.update(filter(None, map(self.of.get(set_, {}).get, classes)))
        for set_, rows in self.of.items():
            if set_ in gone.sets:
                leaving.update(rows.values())
            else:
                leaving.update(rows[class_] for class_ in gone.classes if class_ in rows)
        return leaving

    def _bring(self, staying: set[int], cut: Recut, plan: RowPlan, tables: Tables) -> dict[int, int]:
        """Give the rows that stay the cells of new atoms. Returns which had no room for them, and where they
        are from now on."""
        moved: dict[int, int] = {}
        if not cut.added:
            return moved
        size, (numbers, sources) = cut.new.size, zip(*cut.added, strict=True)
        theirs, ours, last = itemgetter(*numbers), itemgetter(*sources), numbers[-1]
        for row in staying:
            content, held = self._content[row], tables.cells.get(row, [])
            if self._units[row] * ROW_UNIT < size:
                moved[row] = self._new(cut.bring(content), plan)
            elif last >= len(held) or theirs(held) != ours(content):
                plan.writes += additions(row, ((n, content[source]) for n, source in cut.added), held)
        return moved

    def _match(
        self, wishes: Sequence[Wish], staying: set[int], cut: Recut, plan: RowPlan, tables: Tables
    ) -> dict[Content, int]:
        """Which of the rows that do not stay can go on with which wished content: the cells of atoms that
        stay must stay."""
        votes: Counter[tuple[Content, int]] = Counter()
        for set_, content, classes in wishes:
            before = Counter(filter(None, map(self.of.get(set_, {}).get, classes)))
            for row, count in before.items():
                if row not in staying:
                    votes[content, row] += count
        chosen: dict[Content, int] = {}
        for (content, row), _ in sorted(votes.items(), key=lambda item: (-item[1], item[0][1])):
            if content in chosen or row in plan.content or self._units[row] * ROW_UNIT < cut.new.size:
                continue
            if all(_cell(self._content[row], n) == content[n] for n in cut.common):
                chosen[content] = row
                plan.content[row], plan.units[row] = content, self._units[row]
                cells = ((number, content[number]) for number, _ in cut.added)
                plan.writes += additions(row, cells, tables.cells.get(row, []))
        return chosen

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
        for row, content in plan.content.items():
            self._forget(row)
            self._content[row] = content
            self._by_content[content] = row
        self._late = plan if plan.recut is not None else None
        self._adopted = False
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

    def catch_up(self) -> None:
        """Bring the contents that another cut left alone to its numbers, if that is still to be done: nobody
        waits for it before a change is written."""
        late, self._late = self._late, None
        if late is None or late.recut is None:
            return
        bring = late.recut.bring
        for row, content in self._content.items():
            if row not in late.content:
                self._content[row] = bring(content)
        self._by_content = {content: row for row, content in self._content.items()}

    def settle(self) -> None:
        """A grace period has passed."""
        self._ranges.settle()

    @property
    def count(self) -> int:
        """How many rows are in use."""
        return len(self._content)

    @property
    def in_use(self) -> Collection[int]:
        """Their numbers, as they are at any time."""
        return self._content.keys()


def common(content: Content) -> int:
    """The cell that most are, by some of them: whichever it is, a row decides the same."""
    some = content[:: max(len(content) // SAMPLES, 1)]
    return max(some, key=some.count, default=0)


def _cell(content: Content, number: int) -> int:
    return content[number] if number < len(content) else 0

"""Cells from one cut of the ports to another and back."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloche.compiler.atoms import Atoms, renumber
from cloche.compiler.numbers import Numbers
from cloche.compiler.recut import Content, Recut, additions
from cloche.partition.ports import PortSet, cut
from cloche.tables.mirror import apply_write
from cloche.tables.schema import Put, Tables

TOP = 24
RANGES = st.tuples(st.integers(0, TOP), st.integers(0, TOP)).map(lambda ends: ((min(ends), max(ends)),))
SETS = st.sets(RANGES, max_size=4)
CELLS = st.lists(st.integers(1, 9), min_size=1, max_size=16)


def numbered(all_sets: list[set[PortSet]]) -> list[Atoms]:
    """The cut of each of these, with the numbers that it has after the one before."""
    numbers = Numbers("atoms", 1, 1000)
    (number,) = numbers.take(1)
    made = [Atoms(((0, cut(()).intervals[-1][1], number),), {}, 1 << number)]
    for sets in all_sets:
        made.append(renumber(made[-1], cut(sets), numbers))
        numbers.keep(set(made[-2].numbers()) - set(made[-1].numbers()))
        numbers.settle()
    return made[1:]


def content(atoms: Atoms, sets: set[PortSet], cells: list[int]) -> Content:
    """A content that tells ports apart by these sets alone."""
    made = [0] * atoms.size
    for first, _, number in atoms.intervals:
        inside = sum(1 << at for at, ((low, high),) in enumerate(sorted(sets)) if low <= first <= high)
        made[number] = cells[inside % len(cells)]
    return tuple(made)


@given(st.lists(SETS, min_size=2, max_size=5), CELLS)
def test_rows_that_stay_decide_the_same_under_another_cut(
    all_sets: list[set[PortSet]], cells: list[int]
) -> None:
    """A row that tells ports apart only by sets that both cuts have is brought to the one that does so under
    the new numbers, it is found again from that, and the cells of new atoms alone are to be written."""
    for (old, before), (new, after) in pairwise(zip(numbered(all_sets), all_sets, strict=True)):
        recut, stays = Recut(old, new), before & after
        row, wanted = content(old, stays, cells), content(new, stays, cells)
        assert recut.bring(row) == wanted
        assert recut.back(wanted) == row
        tables = Tables()
        apply_write(tables, Put("cells", (1, 0), row))
        for write in additions(1, [(n, row[source]) for n, source in recut.added], tables.cells[1]):
            apply_write(tables, write)
        assert [tables.cells[1][number] for number in new.numbers()] == [wanted[n] for n in new.numbers()]


@given(st.lists(SETS, min_size=2, max_size=5), CELLS)
def test_only_what_decides_every_port_alike_is_found(all_sets: list[set[PortSet]], cells: list[int]) -> None:
    """Of a row under the new cut the old cells are found exactly if cells by the old numbers can decide every
    port as it does, and bringing them makes this row."""
    for old, (new, after) in pairwise(zip(numbered(all_sets), all_sets, strict=True)):
        recut, wanted = Recut(old[0], new), content(new, after, cells)
        said: dict[int, set[int]] = {}
        for at in range(TOP + 2):
            under, above = (
                next(n for first, last, n in atoms.intervals if first <= at <= last)
                for atoms in (old[0], new)
            )
            said.setdefault(under, set()).add(wanted[above])
        found = recut.back(wanted)
        assert (found is not None) == all(len(cells) == 1 for cells in said.values())
        if found is not None:
            assert recut.bring(found) == wanted

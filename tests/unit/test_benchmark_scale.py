"""The benchmark of the compiler at scale, run small: it measures what it says."""

from __future__ import annotations

import io

import pytest
from benchmarks import crowd, scale
from benchmarks.crowd import Crowd
from benchmarks.figures import Conclusion, Figure
from rich.console import Console

from cloche.compiler import Compiler
from cloche.model.state import State
from cloche.tables.schema import Capacity

SMALL = Crowd(6, 4)


@pytest.mark.parametrize("of", [SMALL, Crowd(120, 3)])
def test_a_world_has_what_it_says(of: Crowd) -> None:
    """A world has as many namespaces, pods and policies as it says, and its endpoints here are open."""
    events = crowd.events(of)
    state = State(events)
    compiler = Compiler(crowd.HERE, Capacity())
    counts = compiler.update(events).counts
    assert (len(state.namespaces), len(state.endpoints), len(state.policies)) == (
        of.namespaces,
        of.pods,
        of.policies,
    )
    assert counts.endpoints == min(of.namespaces, crowd.ENDPOINTS)
    assert {entry.state for entry in compiler.tables.endpoints.values()} == {2}


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("what", crowd.CHANGES)
def test_every_change_is_one_and_its_undoing_undoes_it(what: str, here: bool) -> None:
    """A change that this host must see changes the digest, and each is undone by the one after it."""
    compiler = Compiler(crowd.HERE, Capacity())
    before = compiler.update(crowd.events(SMALL))
    objects = list(compiler.state.objects())
    change, undo = crowd.changes(SMALL, what, 1, here=here)
    changed = compiler.update((change,))
    assert changed.digest != before.digest
    assert compiler.update((undo,)).digest == before.digest
    assert sorted(map(repr, compiler.state.objects())) == sorted(map(repr, objects))


def test_a_small_run_reports_every_change() -> None:
    """Processes of their own compile a world to the same tables, and every kind of change has its figures."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    made = scale.run((SMALL,), 2, 2, console)
    scale.show(made, console)
    (line,) = made.lines
    assert line.seconds.low > 0 and line.peak_bytes.low > 1e7
    assert {(one.what, one.here) for one in line.changes} == {
        (what, here) for what in crowd.CHANGES for here in (False, True)
    }
    assert all(one.count == 8 and 0 < one.p50 <= one.p99 for one in line.changes)
    assert all(what in out.getvalue() for what in crowd.CHANGES)


def test_a_goal_is_met_when_the_whole_interval_is_below_it() -> None:
    """An interval below the goal meets it, one above misses it, one around it leaves it open."""
    assert scale.at_most(Figure(5, 4, 6, 3), 6) is Conclusion.MET
    assert scale.at_most(Figure(7, 6.1, 8, 3), 6) is Conclusion.MISSED
    assert scale.at_most(Figure(6, 5, 7, 3), 6) is Conclusion.UNDECIDED

"""The list of seeded wrong programs: each can still be made."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutation"))

import oracle_mutants  # noqa: E402
import program_mutants  # noqa: E402
import table_mutants  # noqa: E402

ALL = (*program_mutants.MUTANTS, *table_mutants.MUTANTS, *oracle_mutants.MUTANTS)


def test_every_mutant_applies() -> None:
    """Each finds its text exactly once in the sources, changes it, and names tests that are there."""
    stale = [f"{one.file}: {one.fact}" for one in ALL if not one.applies(ROOT)]
    assert not stale
    assert all(one.before != one.after for one in ALL)
    assert all((ROOT / test).is_file() for one in ALL for test in one.tests)


def test_there_are_enough_of_every_sort() -> None:
    """Program, compiler and oracle each have many, and no two are the same."""
    assert min(map(len, (program_mutants.MUTANTS, table_mutants.MUTANTS, oracle_mutants.MUTANTS))) >= 20
    assert max(Counter((one.file, one.before, one.after) for one in ALL).values()) == 1

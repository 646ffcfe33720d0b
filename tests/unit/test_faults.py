"""Fault points: off unless asked for, and a word that names none is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cloche.datapath import faults
from cloche.datapath.faults import VARIABLE, Point
from cloche.errors import InputError

PASSING = """
from cloche.datapath import faults
faults.arm()
for number in range(1, 6):
    faults.passing(faults.Point.READY)
    faults.passing(faults.Point.WRITE)
    print(number, flush=True)
"""


@pytest.mark.parametrize("text", ["nowhere", "write:0", "write:-1", "write:x", ":3", "WRITE"])
def test_a_word_that_names_no_point_is_refused(text: str) -> None:
    """Whether the name or the number is wrong."""
    with pytest.raises(InputError, match="is no fault point"):
        faults.arm({VARIABLE: text})


@pytest.mark.parametrize(
    ("text", "passed"), [("write:3", 2), ("write", 0), ("ready:5", 4), ("kept", 5), ("", 5)]
)
def test_the_process_ends_at_the_named_passing(text: str, passed: int) -> None:
    """By SIGKILL, at the N-th passing of that point and of no other; without the variable never."""
    environment = os.environ | {VARIABLE: text}
    command = [sys.executable, "-c", PASSING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(number + 1) for number in range(passed)]
    assert done.returncode == (0 if passed == 5 else -signal.SIGKILL)


def test_names_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every point can be named in the variable, and arms that point and no other."""
    monkeypatch.setattr(faults, "_armed", None)
    for point in Point:
        faults.arm({VARIABLE: f"{point.word}:7"})
        assert [found for found in Point if faults.is_armed(found)] == [point]
    faults.arm({})
    assert not any(map(faults.is_armed, Point))

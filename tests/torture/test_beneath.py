"""What an agent stands on fails under traffic: room, disk, store, clock, its own processes."""

from __future__ import annotations

import random
from pathlib import Path

from e2e.agent_lab import Machine
from torture.clock import Clock, Jumps
from torture.deaths import Deaths
from torture.killing import Killing
from torture.outcome import Outcome, complaints
from torture.running import ROOMY
from torture.store import ALL, Damaged, DiskFull, small_disk
from torture.too_big import FEW_CELLS, TooBig

DAMAGES = 2


def nothing() -> None:
    """Nobody watches."""


def assert_busy(outcomes: list[Outcome]) -> None:
    """Traffic ran through all of them."""
    for outcome in outcomes:
        assert outcome.rounds and min(outcome.sent, outcome.tried, outcome.forbidden) > 100, outcome


def test_what_does_not_fit(host: Machine) -> None:
    """A change that does not fit loses nothing of what is in force; who goes is closed at once, who comes
    is closed, says why, and is opened by the next change that fits, over a restart."""
    killing = Killing(host.instance(capacity=FEW_CELLS))
    part = TooBig(killing, "cells")
    totals = killing.run(part.rounds(1), nothing)
    assert complaints([part.outcome], totals.wrong) == []
    assert_busy([part.outcome])


def test_full_disk_and_damaged_store(host: Machine, tmp_path: Path, random_seed: int) -> None:
    """A full disk and a damaged file of the store are said, changes that need them are refused, traffic is
    judged as before, over a restart too."""
    killing = Killing(host.instance(capacity=ROOMY))
    with small_disk(killing.instance, tmp_path) as disk:
        full, damaged = DiskFull(killing, disk), Damaged(killing)
        damages = random.Random(random_seed).sample(ALL, DAMAGES)
        totals = killing.run([*full.rounds(2), *damaged.rounds(damages)], nothing)
    assert complaints([full.outcome, damaged.outcome], totals.wrong) == []
    assert_busy([full.outcome, damaged.outcome])


def test_clock_jumps_and_processes_die(host: Machine, tmp_path: Path, random_seed: int) -> None:
    """A clock that jumps by years decides nothing; a worker or a responder that is killed is replaced while
    changes go on, and no change is refused for it."""
    killing = Killing(host.instance(capacity=ROOMY))
    jumps = Jumps(killing, Clock(tmp_path))
    deaths = Deaths(killing, random.Random(random_seed))
    totals = killing.run([*jumps.rounds(1), *deaths.rounds(1)], nothing)
    outcomes = [jumps.outcome, deaths.worker, deaths.responder]
    assert complaints(outcomes, totals.wrong) == []
    assert_busy(outcomes)

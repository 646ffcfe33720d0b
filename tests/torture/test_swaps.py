"""Upgrades and roll-backs under traffic: nothing lost, passed, leaked or different."""

from __future__ import annotations

from pathlib import Path

from e2e.agent_lab import Machine
from torture.killing import Killing
from torture.outcome import complaints
from torture.running import ROOMY
from torture.swaps import Rollbacks, Upgrades, another_object


def test_upgraded_and_rolled_back(host: Machine, tmp_path: Path) -> None:
    """To another object of the same layout and back, then policies back and forth."""
    killing = Killing(host.instance(capacity=ROOMY))
    upgrades = Upgrades(killing, "the same layout", another_object(tmp_path))
    rollbacks = Rollbacks(killing)
    totals = killing.run([*upgrades.rounds(1), *rollbacks.rounds(1)], lambda: None)
    assert complaints([upgrades.outcome, rollbacks.outcome], totals.wrong) == []
    assert upgrades.outcome.restarts == rollbacks.outcome.restarts - 1 == 1

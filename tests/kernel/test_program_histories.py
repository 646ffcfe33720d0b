"""The program and the reference tracker on random histories, judged by the same tables."""

from __future__ import annotations

import pytest
from program_histories import History
from program_lab import Lab

from worlds import TIMES


@pytest.mark.parametrize("long_way", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("seed", range(6 * TIMES))
def test_program_and_tracker_agree(lab: Lab, seed: int, long_way: bool) -> None:
    """Every packet of a history with flips, services, closings and time gets the same answer from both,
    whether common packets go the short way or not."""
    lab.engine.take_long_way(long_way)
    History(lab, seed).run(400)

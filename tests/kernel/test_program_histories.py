"""The program and the reference tracker on random histories, judged by the same tables."""

from __future__ import annotations

import pytest
from program_histories import History
from program_lab import Lab

from worlds import TIMES


@pytest.mark.parametrize("seed", range(8 * TIMES))
def test_program_and_tracker_agree(lab: Lab, seed: int) -> None:
    """Every packet of a history with flips, services, closings and time gets the same answer from both."""
    History(lab, seed).run(400)

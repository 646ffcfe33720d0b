"""Medians, their 95 % intervals, and when a goal counts as met. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum
from statistics import median

import msgspec

RESAMPLES = 2000
SEED = 20240229
MARGIN = 0.05
"""An interval of ratios wider than this decides nothing."""

LEAST_ROUNDS = 6
"""Fewer have no 95 % interval: all of them are on one side of the true median by chance too often."""


class Conclusion(StrEnum):
    """What an interval says about a goal."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"


class Figure(msgspec.Struct, frozen=True):
    """A median with its 95 % interval, from so many rounds."""

    median: float
    low: float
    high: float
    rounds: int

    def against(self, goal: float, margin: float = MARGIN) -> Conclusion:
        """Met when the whole interval is at or above the goal, missed when it is below.

        Undecided when the goal lies inside, the interval is wider than ``margin``, or the rounds are few.
        """
        if self.high - self.low > margin or self.rounds < LEAST_ROUNDS:
            return Conclusion.UNDECIDED
        if self.low >= goal:
            return Conclusion.MET
        return Conclusion.MISSED if self.high < goal else Conclusion.UNDECIDED


def figure(values: Sequence[float]) -> Figure:
    """The median of ``values``, its interval by the percentile bootstrap: same values, same answer."""
    chance = random.Random(SEED)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975) - 1]
    return Figure(median(values), low, high, len(values))


def ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Round by round, so that what slows a whole round down drops out."""
    return [value / base for value, base in zip(values, reference, strict=True)]

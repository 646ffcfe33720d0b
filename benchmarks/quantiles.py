"""Quantiles of what is measured one by one, with their 95 % intervals. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from benchmarks.figures import RESAMPLES, SEED, Figure


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that at least this share of them (0 to 1) does not exceed.

    Raises ValueError when there are none.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def quantile_figure(values: Sequence[float], share: float) -> Figure:
    """A quantile, its interval by the percentile bootstrap: same values, same answer."""
    chance, ordered = random.Random(SEED), sorted(values)
    at = max(0, math.ceil(share * len(ordered)) - 1)
    found = sorted(
        ordered[sorted(chance.choices(range(len(ordered)), k=len(ordered)))[at]] for _ in range(RESAMPLES)
    )
    low, high = found[int(RESAMPLES * 0.025)], found[int(RESAMPLES * 0.975) - 1]
    return Figure(quantile(values, share), low, high, len(values))


class Spread(msgspec.Struct, frozen=True):
    """The median and the 99th percentile of so many values."""

    p50: Figure
    p99: Figure


def spread(values: Sequence[float]) -> Spread:
    """Both, with their intervals."""
    return Spread(quantile_figure(values, 0.5), quantile_figure(values, 0.99))


def shown(found: Figure, digits: int = 0) -> str:
    """A figure and its interval, in words."""
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}..{found.high:.{digits}f})"

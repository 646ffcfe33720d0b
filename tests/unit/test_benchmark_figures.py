"""Figures of the benchmarks: medians, intervals, when a goal is met; and the world they are taken in."""

from __future__ import annotations

import pytest
from benchmarks import world
from benchmarks.figures import Conclusion, Figure, figure, ratios
from hypothesis import given
from hypothesis import strategies as st

from cloche.model.policy import Policy
from cloche.model.state import State

RATES = st.lists(st.floats(0.1, 10, allow_nan=False), min_size=1, max_size=30)


@given(RATES)
def test_the_interval_holds_the_median(values: list[float]) -> None:
    """The interval is ordered, holds the median, stays within what was measured, and does not change."""
    found = figure(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found == figure(values)


def test_the_interval_narrows_with_rounds() -> None:
    """More rounds of the same spread give a narrower interval."""
    few, many = figure([0.9, 1.0, 1.1] * 3), figure([0.9, 1.0, 1.1] * 100)
    assert many.high - many.low < few.high - few.low


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which both were slow does not move the ratio."""
    assert ratios([9.0, 4.5], [10.0, 5.0]) == [0.9, 0.9]


CONCLUSIONS = [
    (0.96, 0.98, Conclusion.MET),
    (0.95, 0.95, Conclusion.MET),
    (0.90, 0.94, Conclusion.MISSED),
    (0.93, 0.97, Conclusion.UNDECIDED),
    (0.96, 1.10, Conclusion.UNDECIDED),
    (0.70, 0.80, Conclusion.UNDECIDED),
]


@pytest.mark.parametrize(("low", "high", "expected"), CONCLUSIONS)
def test_a_goal_is_met_by_the_whole_interval(low: float, high: float, expected: Conclusion) -> None:
    """Met or missed when the whole interval says so; where it is wide or holds the goal, undecided."""
    assert Figure((low + high) / 2, low, high, 10).against(0.95) is expected


@pytest.mark.parametrize("count", [1, 2, 11, 1000])
def test_the_world_has_the_rules_it_says(count: int) -> None:
    """Both sides together have exactly so many rules, and each side that has any allows what is measured."""
    client, server = world.endpoint("client", 1, world.HOST), world.endpoint("server", 2, world.HOST)
    state = State(world.events(client, server, count, 5201))
    policies: list[Policy] = list(state.policies.values())
    rules = [rule for policy in policies for rule in (*(policy.egress or ()), *(policy.ingress or ()))]
    assert len(rules) == count
    assert sum(rule.ports is not None and rule.ports[0].first == 5201 for rule in rules) == min(count, 2)

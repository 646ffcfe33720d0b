"""The goals that bear on paths, and the ratios between ways. Pure."""

from __future__ import annotations

import msgspec

from benchmarks.figures import LEAST_ROUNDS, Conclusion, Figure, figure, ratios
from benchmarks.rounds import Rates, Traffic

REFERENCE = "veth"
GOAL, GOAL_RULES = 0.95, 1000
COST, COST_MARGIN = 1.02, 0.02
COST_RULES = (1, 10_000)


class Ratio(msgspec.Struct, frozen=True):
    """How much faster one way is than another, with one kind of traffic, round by round."""

    way: str
    other: str
    traffic: Traffic
    ratio: Figure


class Goal(msgspec.Struct, frozen=True):
    """A goal and what was found. ``least``: the figure must be at least the goal; else at most."""

    what: str
    traffic: Traffic
    goal: float
    least: bool
    found: Figure
    conclusion: Conclusion


def name(rules: int) -> str:
    """What Cloche's way with so many rules is called."""
    return f"cloche {rules}"


def comparisons(rates: Rates) -> tuple[Ratio, ...]:
    """Every way of Cloche against every other way."""
    found = []
    for way, kind in rates:
        for other, other_kind in rates:
            if kind is other_kind and is_ours(way) and not is_ours(other):
                ratio = figure(ratios(rates[way, kind], rates[other, kind]))
                found.append(Ratio(way, other, kind, ratio))
    return tuple(found)


def is_ours(way: str) -> bool:
    """True for Cloche's own ways."""
    return way.startswith("cloche ")


def goals(rates: Rates) -> tuple[Goal, ...]:
    """The goals whose ways were measured."""
    made = []
    few, many = (name(rules) for rules in COST_RULES)
    for kind in Traffic:
        if (name(GOAL_RULES), kind) in rates:
            found = figure(ratios(rates[name(GOAL_RULES), kind], rates[REFERENCE, kind]))
            what = f"{GOAL_RULES:,} rules, rate against a bare veth pair"
            made.append(Goal(what, kind, GOAL, True, found, found.against(GOAL)))
    for kind in Traffic:
        if (few, kind) in rates and (many, kind) in rates:
            found = figure(ratios(rates[few, kind], rates[many, kind]))
            what = f"{COST_RULES[1]:,} rules, time against {COST_RULES[0]} rule"
            made.append(Goal(what, kind, COST, False, found, at_most(found)))
    return tuple(made)


def at_most(found: Figure, goal: float = COST, margin: float = COST_MARGIN) -> Conclusion:
    """Met when the whole interval is at or below the goal, missed when it is above.

    Undecided when the goal lies inside, the interval is wider than ``margin``, or the rounds are few.
    """
    if found.high - found.low > margin or found.rounds < LEAST_ROUNDS:
        return Conclusion.UNDECIDED
    if found.high <= goal:
        return Conclusion.MET
    return Conclusion.MISSED if found.low > goal else Conclusion.UNDECIDED

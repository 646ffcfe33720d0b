"""The agent killed at fault points and at random moments: nothing lost, passed, leaked or different."""

from __future__ import annotations

import random

import pytest

from cloche.datapath.faults import Point
from cloche.errors import NotRunningError
from e2e.agent_lab import Machine, replace
from torture.census import census_of_kernel, leaked, left_over, settled
from torture.killing import Killing, worlds
from torture.moments import Moments
from torture.outcome import complaints
from torture.points import AT_BIRTH, Fault, Points, born, schedule
from torture.running import ROOMY, armed

KILLS = 5
ALWAYS = (Point.WRITE, Point.BEFORE_FLIP, Point.AFTER_FLIP, Point.DEVICE_UP)


def nothing() -> None:
    """Nobody watches."""


def shortened(choice: random.Random) -> list[Point]:
    """A third of the points, others in each run; some always."""
    others = [point for point in Point if point not in (*AT_BIRTH, *ALWAYS)]
    return [*ALWAYS, *choice.sample(others, len(others) // 3)]


def test_killed_at_each_point(host: Machine, random_seed: int) -> None:
    """At many of the fault points once: allowed packets and new connections go on without an agent,
    forbidden ones never arrive, the next agent has the tables of a fresh compile and leaves nothing over."""
    killing, choice = Killing(host.instance(capacity=ROOMY)), random.Random(random_seed)
    points, chosen = Points(killing), shortened(choice)
    totals = killing.run(points.rounds(schedule(1, choice, chosen)), nothing)
    assert complaints(points.outcomes.values(), totals.wrong) == []
    assert len(points.outcomes) == len(chosen)
    for outcome in points.outcomes.values():
        assert min(outcome.sent, outcome.tried, outcome.forbidden) > 100, outcome


def test_killed_at_random_moments(host: Machine, random_seed: int) -> None:
    """The same at any moment, most of them in the middle of changes."""
    killing = Killing(host.instance(capacity=ROOMY))
    moments = Moments(killing, random.Random(random_seed))
    totals = killing.run(moments.rounds(KILLS), nothing)
    assert complaints([moments.outcome], totals.wrong) == []
    assert moments.outcome.rounds == KILLS
    assert moments.outcome.tried > 500


def test_killed_while_it_is_made(host: Machine) -> None:
    """An instance whose first agent is killed between two pins comes into being at the next start."""
    outcomes = list(born(host.instance(), [Fault(point, 3) for point in AT_BIRTH]))
    assert complaints(outcomes) == []
    assert sum(outcome.restarts for outcome in outcomes) == 2


def test_half_made_pods_leave_nothing(host: Machine) -> None:
    """Killed when two pods are attached and only the process knew: device, namespace, route and resolv.conf
    of both are gone after the next start."""
    instance = host.instance()
    first, second, _addresses = worlds(instance)
    with instance.start() as client:
        replace(client, first)
        before = settled(instance)
    instance.kill()
    client = armed(instance, "attached:2")
    assert client is not None
    with client, pytest.raises(NotRunningError):
        replace(client, second)
    assert leaked(census_of_kernel(instance), before)["namespace"] == 2
    with instance.start():
        assert left_over(instance, before) == {}


def test_half_removed_pods_are_whole_again(host: Machine) -> None:
    """Killed when the routes of two pods that go are gone, and the disk does not know: the next agent has the
    pods back, with every route."""
    instance = host.instance()
    first, second, _addresses = worlds(instance)
    with instance.start() as client:
        replace(client, second)
        before = settled(instance)
    instance.kill()
    client = armed(instance, "unrouted:2")
    assert client is not None
    with client, pytest.raises(NotRunningError):
        replace(client, first)
    assert any(what.startswith("route") for what in leaked(census_of_kernel(instance), before))
    with instance.start():
        assert left_over(instance, before, seconds=1.0) == {}

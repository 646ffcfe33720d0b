"""The agent killed at fault points and at random moments: nothing lost, passed, leaked or different."""

from __future__ import annotations

import random

from cloche.datapath.faults import Point
from e2e.agent_lab import Machine
from torture.outcome import complaints
from torture.points import AT_BIRTH, Fault, Killing, born, schedule
from torture.running import ROOMY


def test_killed_at_each_point(host: Machine, random_seed: int) -> None:
    """At every fault point once: allowed packets and new connections go on without an agent, forbidden ones
    never arrive, the next agent has the tables of a fresh compile and what is there without a fault."""
    killing = Killing(host.instance(capacity=ROOMY), schedule(1, random.Random(random_seed)), lambda: None)
    totals = killing.run()
    assert complaints(killing.outcomes.values(), totals.wrong) == []
    assert killing.outcomes.keys() == set(Point) - set(AT_BIRTH)
    for outcome in killing.outcomes.values():
        assert min(outcome.sent, outcome.tried, outcome.forbidden) > 100, outcome
    assert totals.passers == 2


def test_killed_while_it_is_made(host: Machine) -> None:
    """An instance whose first agent is killed between two pins comes into being at the next start."""
    outcomes = list(born(host.instance(), [Fault(point, 3) for point in AT_BIRTH]))
    assert complaints(outcomes) == []
    assert sum(outcome.restarts for outcome in outcomes) == 2

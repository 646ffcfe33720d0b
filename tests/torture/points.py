"""The agent killed at every fault point, one after another, while traffic runs through.

Each agent is started with the point at which it is to end, and is asked for changes between two worlds until
it does. Then traffic runs for a while without an agent; the next one adopts what there is, and is compared.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cloche.agent.client import Client
from cloche.agent.processes import has_ended
from cloche.datapath.faults import Point
from cloche.errors import ClocheError
from e2e.agent_lab import Instance, leftovers, replace, wait_for
from torture.killing import ALONE_SECONDS, Killing
from torture.outcome import Outcome
from torture.running import BASE, Traffic, armed, differences, ends

CHANGES = 3
"""After so many changes a point that was not reached is not reached."""
AT_BIRTH = (Point.MAP_PINNED, Point.PROGRAM_PINNED)
"""Points that only an agent passes that makes a new instance."""
OFTEN = {
    Point.WRITE: 60,
    Point.SAVING: 3,
    Point.SAVED: 3,
    Point.ANSWER: 4,
    Point.MAP_PINNED: 20,
    Point.PROGRAM_PINNED: 4,
}
"""How often a point is passed in one change, at most; two endpoints come or go, so others are twice."""


class Fault(NamedTuple):
    """The ``number``-th passing of a point."""

    point: Point
    number: int

    def __str__(self) -> str:
        return f"{self.point.word}:{self.number}"


class Points:
    """Rounds that end at fault points."""

    def __init__(self, killing: Killing) -> None:
        self._killing, self._instance = killing, killing.instance
        self.outcomes: dict[Point, Outcome] = {}
        self._most = dict(OFTEN)

    def rounds(self, faults: Iterable[Fault]) -> Iterator[Callable[[Traffic], None]]:
        """One for each fault."""
        return (partial(self._round, fault) for fault in faults)

    def _round(self, fault: Fault, traffic: Traffic) -> None:
        outcome = self.outcomes.setdefault(fault.point, Outcome(fault.point.word))
        number = 1 + (fault.number - 1) % self._most.get(fault.point, 2)
        if fault.point is Point.ANSWER:  # whose agent may not even get to know what is active
            with self._killing.started() as client:
                self._killing.adopted(client)
            self._instance.kill()
        client = armed(self._instance, f"{fault.point.word}:{number}")
        if client is None:
            self._killing.mark(outcome, traffic)
            time.sleep(ALONE_SECONDS)
            with self._killing.started() as client:
                self._killing.adopted(client)
            self._instance.kill()
        else:
            with client:
                if fault.point is not Point.ANSWER:
                    self._killing.adopted(client)
                self._killing.mark(outcome, traffic)
                if not self._until_killed(fault.point, client):
                    if number == 1:
                        outcome.say("never passed")
                    self._most[fault.point] = max(1, number - 1)
            time.sleep(ALONE_SECONDS)
        outcome.rounds += 1

    def _until_killed(self, point: Point, client: Client) -> bool:
        """Change to and fro until the agent ends; False when it does not, and then it is killed here."""
        pid = self._instance.pid()
        for _ in range(CHANGES):
            try:
                self._killing.change(client)
            except ClocheError:
                if point is Point.ANSWER:
                    break
                wait_for(lambda: has_ended(pid))
                return True
        self._instance.kill()
        return point is Point.ANSWER


def schedule(rounds: int, choice: random.Random, points: Sequence[Point] = ()) -> Iterator[Fault]:
    """Every point ``rounds`` times, in random order, at a random passing."""
    chosen = [point for point in points or Point if point not in AT_BIRTH]
    for _ in range(rounds):
        for point in choice.sample(chosen, len(chosen)):
            yield Fault(point, choice.randint(1, OFTEN.get(point, 2)))


def born(instance: Instance, numbers: Iterable[Fault]) -> Iterator[Outcome]:
    """An instance that is killed while it is made, again and again, comes into being all the same."""
    for point, faults in itertools.groupby(numbers, lambda fault: fault.point):
        outcome = Outcome(point.word)
        for fault in faults:
            outcome.rounds += 1
            if armed(instance, str(fault)) is not None:
                outcome.say(f"{fault} is never passed")
            with instance.start() as client:
                replace(client, BASE)
                outcome.restarts += 1
                outcome.same += not differences(instance, client)
                if not instance.reaches("friend", ends(client).web[0]):
                    outcome.say("the friend does not reach the web pod")
            outcome.leaked += len(_cleaned(instance))
        yield outcome


def _cleaned(instance: Instance) -> list[str]:
    """What is left of the instance when it is removed."""
    instance.clean()
    return leftovers(instance)

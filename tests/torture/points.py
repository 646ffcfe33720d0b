"""The agent killed at every fault point, one after another, while traffic runs through.

Each agent is started with the point at which it is to end, and is asked for changes between two worlds until
it does. Then traffic runs for a while without an agent; the next one adopts what there is, and is compared.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from cloche.agent.client import Client
from cloche.agent.processes import has_ended
from cloche.datapath.faults import Point
from cloche.errors import ClocheError
from e2e.agent_lab import Instance, ingress_from, leftovers, pod, policy, replace, wait_for
from torture.census import census, leaked
from torture.outcome import Outcome
from torture.running import BASE, Traffic, armed, differences, ends, flowing, passers, ways
from torture.wire import Open, Totals

ALONE_SECONDS = 0.25
"""How long traffic runs without an agent."""
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
GUARDED = (
    "{podSelector: {matchLabels: {guard: shut}}, policyTypes: [Ingress, Egress], "
    "ingress: [{from: [{podSelector: {matchLabels: {name: friend}}}]}]}"
)


class Fault(NamedTuple):
    """The ``number``-th passing of a point."""

    point: Point
    number: int

    def __str__(self) -> str:
        return f"{self.point.value}:{self.number}"


def guest(name: str, address: str) -> str:
    """A pod that comes and goes, with an address of its own."""
    status = f"status: {{podIPs: [{{ip: {address}}}]}}"
    return pod(name, labels="guard: shut", extra=status)


def worlds(instance: Instance) -> tuple[str, str, tuple[str, ...]]:
    """Two worlds to go to and fro between, and the addresses of those who come and go.

    The second has two more pods, one of them with an address outside the pod range, a policy for them, and
    other words for the policies that both have.
    """
    inside = str(instance.config.pod_ranges[0]).replace(".0.0/17", ".100.7")
    outside = "10.250.0.7"
    second = (
        BASE.replace("{from: [{podSelector: {matchLabels: {name: friend}}}]}", SPLIT)
        + policy("guard", GUARDED)
        + guest("guest-a", inside)
        + guest("guest-b", outside)
        + ingress_from("more", "web", "guest-c")
    )
    return BASE, second, (inside, outside)


SPLIT = (
    "{from: [{podSelector: {matchLabels: {name: friend}}}], ports: [{port: 1, endPort: 7000, protocol: TCP}, "
    "{port: 7000, protocol: UDP}]}, {from: [{podSelector: {matchLabels: {name: friend}}}], "
    "ports: [{port: 7001, protocol: UDP}, {port: 80, protocol: TCP}]}"
)
"""What the friend needs of the web pod, in ports."""


class Killing:
    """One instance that is killed again and again."""

    def __init__(self, instance: Instance, faults: Iterable[Fault], tick: Callable[[], None]) -> None:
        self.instance, self._faults, self._tick = instance, list(faults), tick
        self.outcomes: dict[Point, Outcome] = {}
        self._first, self._second, self.coming = worlds(instance)
        self._is_second = False
        self._undisturbed: list[Counter[str]] = []
        self._last = Outcome("the first start")
        self._whose = [self._last]
        self._most = dict(OFTEN)

    def run(self) -> Totals:
        """All of it; what the traffic came to."""
        with self.instance.start() as client:
            for text in (self._first, self._second, self._first):
                replace(client, text)
                self._undisturbed.append(census(self.instance))
            where = ends(client)
            asked = Open(ways(self.instance, where), (passers(self.instance, "guest", where, self.coming),))
        self.instance.kill()
        with flowing(asked) as traffic:
            for fault in self._faults:
                self._round(fault, traffic)
                self._tick()
            self._adopted(self._started())
            totals = traffic.end()
        for outcome, tally in zip(self._whose, totals.rounds, strict=True):
            outcome.add(tally)
        return totals

    def _mark(self, outcome: Outcome, traffic: Traffic) -> None:
        """From now on what happens is of this fault."""
        traffic.mark()
        self._whose.append(outcome)
        self._last = outcome

    def _round(self, fault: Fault, traffic: Traffic) -> None:
        outcome = self.outcomes.setdefault(fault.point, Outcome(fault.point.value))
        number = 1 + (fault.number - 1) % self._most.get(fault.point, 2)
        client = armed(self.instance, f"{fault.point.value}:{number}")
        if client is None:
            self._mark(outcome, traffic)
            time.sleep(ALONE_SECONDS)
            with self._started() as client:
                self._adopted(client)
            self.instance.kill()
        else:
            with client:
                self._adopted(client)
                self._mark(outcome, traffic)
                if not self._until_killed(fault.point, client):
                    if number == 1:
                        outcome.say("never passed")
                    self._most[fault.point] = max(1, number - 1)
            time.sleep(ALONE_SECONDS)
        outcome.rounds += 1

    def _started(self) -> Client:
        client = armed(self.instance)
        assert client is not None
        return client

    def _until_killed(self, point: Point, client: Client) -> bool:
        """Change to and fro until the agent ends; False when it does not, and then it is killed here."""
        pid = self.instance.pid()
        for _ in range(CHANGES):
            self._is_second = not self._is_second
            try:
                replace(client, self._second if self._is_second else self._first)
            except ClocheError:
                if point is Point.ANSWER:
                    break
                wait_for(lambda: has_ended(pid))
                return True
        self.instance.kill()
        return point is Point.ANSWER

    def _adopted(self, client: Client) -> None:
        """Compare what an agent that has just started made of what the last fault left."""
        there = {shown.endpoint for shown in client.endpoints()}
        self._is_second = "default/guest-a" in there
        outcome = self._last
        outcome.restarts += 1
        found = differences(self.instance, client)
        if found:
            outcome.say(f"tables differ from a fresh compile: {found}")
        else:
            outcome.same += 1
        undisturbed = self._undisturbed[1 if self._is_second else 2]
        deadline = time.monotonic() + 3.0
        while (left := leaked(census(self.instance), undisturbed)) and time.monotonic() < deadline:
            time.sleep(0.05)
        outcome.leaked += sum(map(abs, left.values()))
        if left:
            outcome.say(f"leaked: {left}")


def schedule(rounds: int, choice: random.Random, points: Sequence[Point] = ()) -> Iterator[Fault]:
    """Every point ``rounds`` times, in random order, at a random passing."""
    chosen = [point for point in points or Point if point not in AT_BIRTH]
    for _ in range(rounds):
        for point in choice.sample(chosen, len(chosen)):
            yield Fault(point, choice.randint(1, OFTEN.get(point, 2)))


def born(instance: Instance, numbers: Iterable[Fault]) -> Iterator[Outcome]:
    """An instance that is killed while it is made, again and again, comes into being all the same."""
    for point, faults in itertools.groupby(numbers, lambda fault: fault.point):
        outcome = Outcome(point.value)
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

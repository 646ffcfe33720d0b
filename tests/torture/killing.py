"""An instance whose agent is killed again and again under traffic, and what is compared each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from cloche.agent.client import Client
from cloche.agent.processes import has_ended
from e2e.agent_lab import Instance, ingress_from, pod, policy, replace
from torture.census import children, left_over, settled
from torture.outcome import Outcome
from torture.running import BASE, Traffic, armed, differences, ends, flowing, passers, ways
from torture.wire import Open, Totals

ALONE_SECONDS = 0.25
"""How long traffic runs without an agent."""
GUARDED = (
    "{podSelector: {matchLabels: {guard: shut}}, policyTypes: [Ingress, Egress], "
    "ingress: [{from: [{podSelector: {matchLabels: {name: friend}}}]}]}"
)


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
    """One instance, and the two worlds that it goes to and fro between."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._first, self._second, self._coming = worlds(instance)
        self._is_second = False
        self._undisturbed: list[Counter[str]] = []
        self._children: set[int] = set()
        """The processes of the agent that was compared last, but the responder, which outlives it."""
        self._last = Outcome("the first start")
        self._whose = [self._last]

    def run(self, rounds: Iterable[Callable[[Traffic], None]], tick: Callable[[], None]) -> Totals:
        """Each of the rounds, once; what the traffic came to. ``tick`` is called after each."""
        with self.instance.start() as client:
            for text in (self._first, self._second, self._first):
                replace(client, text)
                self._undisturbed.append(settled(self.instance))
            where = ends(client)
        self.instance.kill()
        guests = passers(self.instance, "guest", where, self._coming)
        with flowing(Open(ways(self.instance, where), (guests,))) as traffic:
            for one in rounds:
                one(traffic)
                tick()
            with self.started() as client:
                self.adopted(client)
            totals = traffic.end()
        for outcome, tally in zip(self._whose, totals.rounds, strict=True):
            outcome.add(tally)
        return totals

    def mark(self, outcome: Outcome, traffic: Traffic) -> None:
        """From now on what happens is of this fault."""
        traffic.mark()
        self._whose.append(outcome)
        self._last = outcome

    def started(self) -> Client:
        """A client of an agent that goes on."""
        client = armed(self.instance)
        assert client is not None
        return client

    def client(self) -> Client:
        """Another connection to the agent."""
        return Client(self.instance.config)

    def first(self, client: Client) -> None:
        """Go to the first world, wherever it is."""
        self._is_second = False
        replace(client, self._first)

    def change(self, client: Client) -> None:
        """Go to the other world. Raises ClocheError."""
        self._is_second = not self._is_second
        replace(client, self._second if self._is_second else self._first)

    def adopted(self, client: Client) -> None:
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
        self._count(outcome, client.status().responder_pid)

    def _count(self, outcome: Outcome, responder: int) -> None:
        undisturbed = self._undisturbed[1 if self._is_second else 2]
        left = left_over(self.instance, undisturbed)
        orphans = [pid for pid in self._children if not has_ended(pid)]
        if orphans:
            left["processes of dead agents"] = len(orphans)
        self._children = set(children(self.instance.pid())) - {responder}
        outcome.leaked += sum(map(abs, left.values()))
        if left:
            outcome.say(f"leaked: {left}")

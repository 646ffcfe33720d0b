"""Changes of policy one after another through the agent's socket, while packets flow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks import town
from benchmarks.effect.judged import Asked, Judged, judged, lost
from benchmarks.effect.traffic import Sender, Traffic, traffic
from benchmarks.sandbox import Sandbox
from benchmarks.town import Pair
from cloche.agent.client import Client
from cloche.agent.messages import Applied

TOGGLED, STEADY = ("udp", "udp", "udp", "tcp", "tcp", "tcp"), ("udp", "tcp")
"""Pairs by what they send: those that are forbidden and allowed in turn, and those that never are."""

PAUSE_MS = (40, 160)
"""Between two changes: at random, so that they meet the agent at whatever it does besides."""

TAIL_NS = 20_000_000
SEED = 20240229


class One(NamedTuple):
    """One change of one pair: what was changed, when, and what the agent said that it took, by stage."""

    pair: int
    what: str
    asked: Asked
    stages: dict[str, float]


class Outcome(NamedTuple):
    """What came of a change. ``live``: packets of a connection or flow that was open before."""

    what: str
    kind: str
    forbids: bool
    effect_ms: float
    answer_ms: float
    gap_ms: float
    wrong: int
    stages: dict[str, float]


def _open(client: Client, pair: Pair) -> Applied:
    return client.apply([town.gate(pair)])


def _peer(client: Client, pair: Pair) -> Applied:
    return client.apply([town.gate(pair, peer=(pair.client + 10) % town.PODS)])


def _port(client: Client, pair: Pair) -> Applied:
    return client.apply([town.gate(pair, ports=(town.OTHER_PORT,))])


def _gone(client: Client, pair: Pair) -> Applied:
    return client.delete([town.gate(pair)])


FORBIDDING: dict[str, Callable[[Client, Pair], Applied]] = {
    "another peer": _peer,
    "another port": _port,
    "policy deleted": _gone,
}


def senders(instance: Sandbox, client: Client) -> list[Sender]:
    """A sender for each pair, spread over all namespaces."""
    addresses = {shown.endpoint: shown.addresses for shown in client.endpoints()}
    made = []
    for kind, pair in zip((*TOGGLED, *STEADY), town.pairs(), strict=False):
        server = town.key(pair.server)
        (ipv4,) = (address for address in addresses[server] if ":" not in address)
        port = town.UDP_PORT if kind == "udp" else town.TCP_PORT
        made.append(Sender(kind, instance.netns(town.key(pair.client)), instance.netns(server), ipv4, port))
    return made


class Run:
    """Changes while packets flow."""

    def __init__(self, client: Client, flowing: Traffic) -> None:
        self._client, self._flowing = client, flowing
        self._chance = Random(SEED)
        self._done: list[tuple[int, str, bool, int, int, dict[str, float]]] = []
        self.began = time.monotonic_ns()

    def change(self, pair: int, what: str, forbids: bool) -> None:
        """Make one change, and wait."""
        one = town.pairs()[pair]
        requested = time.monotonic_ns()
        make = FORBIDDING[what] if forbids else _open
        applied = make(self._client, one)
        answered = time.monotonic_ns()
        self._done.append((pair, what, forbids, requested, answered, applied.timings_ms))
        if TOGGLED[pair] == "tcp" and not forbids:
            self._flowing.reopen(pair)
        time.sleep(self._chance.uniform(*PAUSE_MS) / 1000)

    def all(self, rounds: int, tick: Callable[[], None]) -> None:
        """Each pair forbidden and allowed in turn, each way of forbidding as often as any other."""
        whats = list(FORBIDDING)
        for number in range(rounds):
            pair, what = number % len(TOGGLED), whats[number // len(TOGGLED) % len(whats)]
            self.change(pair, what, True)
            self.change(pair, what, False)
            tick()

    def ones(self) -> Iterator[One]:
        """All changes, each until the next of its pair."""
        end = time.monotonic_ns() - TAIL_NS
        for number, (pair, what, forbids, requested, answered, stages) in enumerate(self._done):
            later = (done[3] for done in self._done[number + 1 :] if done[0] == pair)
            yield One(pair, what, Asked(forbids, requested, answered, next(later, end)), stages)

    def outcomes(self) -> Iterator[Outcome]:
        """What each came to; not of TCP that is allowed again, as who sends again waits by its own clock."""
        for one in self.ones():
            kind = TOGGLED[one.pair]
            if kind == "tcp" and not one.asked.forbids:
                continue
            flowing, asked = self._flowing, one.asked
            found: Judged = judged(flowing.sent(one.pair), flowing.got(one.pair), asked)
            effect, answer = (found.at - asked.requested) / 1e6, (found.at - asked.answered) / 1e6
            yield Outcome(
                one.what, kind, asked.forbids, effect, answer, found.gap / 1e6, found.wrong, one.stages
            )

    def lost(self) -> tuple[int, int]:
        """Of the pairs that are always allowed: messages that never arrived, and all that were sent."""
        gone = total = 0
        for pair in range(len(TOGGLED), len(TOGGLED) + len(STEADY)):
            sent, got = self._flowing.sent(pair), self._flowing.got(pair)
            until = time.monotonic_ns() - TAIL_NS
            gone += lost(sent, got, self.began, until)
            total += sum(self.began <= at < until for at in sent if at)
        return gone, total


@contextmanager
def flowing(instance: Sandbox, client: Client, cpu: int) -> Iterator[Run]:
    """The pairs' traffic, and whoever makes changes of it."""
    with (
        TemporaryDirectory(prefix="steady-") as folder,
        traffic(senders(instance, client), Path(folder), cpu) as running,
    ):
        yield Run(client, running)

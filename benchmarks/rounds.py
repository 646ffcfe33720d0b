"""Rounds: every way and kind of traffic in turn, in a new order each time, so that drift hits all alike."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from benchmarks.paths import Way

PORT = 5201
SLACK_SECONDS = 20.0


class Traffic(StrEnum):
    """The kinds of traffic; names as ``nb.c`` takes them."""

    CRR = "crr"
    """New connections: connect, request, response, close."""
    RR = "rr"
    """Request and response on one connection."""
    STREAM = "stream"
    """One connection, as many bytes as go through."""


class Plan(NamedTuple):
    """How to measure: rounds that count, seconds of each measurement, and the processors for both ends."""

    rounds: int
    seconds: float
    client_cpu: int
    server_cpu: int


Rates = dict[tuple[str, Traffic], list[float]]
"""Per way and kind of traffic: one rate for each round."""


def _pinned(space: str, cpu: int, program: Path, *words: str) -> list[str]:
    return ["ip", "netns", "exec", space, "taskset", "-c", str(cpu), str(program), *words]


@contextmanager
def _server(way: Way, plan: Plan, program: Path) -> Iterator[None]:
    command = _pinned(way.server, plan.server_cpu, program, "serve", way.address, str(PORT))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                raise RuntimeError(f"{way.name}: the server did not start")
            yield
        finally:
            server.kill()


def measure(way: Way, traffic: Traffic, plan: Plan, program: Path) -> float:
    """One measurement's rate: connections, exchanges or bytes per second. Raises CalledProcessError."""
    words = (traffic.value, way.address, str(PORT), str(plan.seconds))
    command = _pinned(way.client, plan.client_cpu, program, *words)
    limit = plan.seconds + SLACK_SECONDS
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=limit
    )
    return float(done.stdout)


def run(
    ways: Sequence[Way], kinds: Sequence[Traffic], plan: Plan, program: Path, tick: Callable[[], None]
) -> Rates:
    """Measure every way with every kind in each round; one round before them warms up and is not counted.

    ``tick`` is called after each measurement.
    """
    chance = random.Random(os.getpid())
    rates: Rates = {(way.name, kind): [] for way in ways for kind in kinds}
    with ExitStack() as servers:
        for way in ways:
            servers.enter_context(_server(way, plan, program))
        for number in range(plan.rounds + 1):
            for kind in chance.sample(list(kinds), len(kinds)):
                for way in chance.sample(list(ways), len(ways)):
                    rate = measure(way, kind, plan, program)
                    if number:
                        rates[way.name, kind].append(rate)
                    tick()
    return rates

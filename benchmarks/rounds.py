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
    UDP = "udp"
    """Datagrams of 64 bytes, in bursts that are answered."""


EXPLAINED = {
    Traffic.CRR: "connect, 64 bytes there, 64 back, close",
    Traffic.RR: "64 bytes there and back on one open connection",
    Traffic.STREAM: "one connection, writes of 128 KiB",
    Traffic.UDP: "datagrams of 64 bytes that arrived, in bursts of 32, one answer each",
}


class Unit(NamedTuple):
    """What time is told for, and how much of what is counted it is."""

    name: str
    size: int


UNITS = {
    Traffic.CRR: Unit("connection", 1),
    Traffic.RR: Unit("exchange", 1),
    Traffic.STREAM: Unit("64 KiB", 65536),
    Traffic.UDP: Unit("datagram", 1),
}


class Plan(NamedTuple):
    """How to measure: rounds that count, seconds of each measurement, and the processors for both ends."""

    rounds: int
    seconds: float
    client_cpu: int
    server_cpu: int


Rates = dict[tuple[str, Traffic], list[float]]
"""Per way and kind of traffic: one rate for each round."""

Measure = Callable[[Way, Traffic], float]
"""One measurement's rate."""


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


@contextmanager
def serving(ways: Sequence[Way], plan: Plan, program: Path) -> Iterator[None]:
    """Every way has its server meanwhile. Raises RuntimeError when one does not start."""
    with ExitStack() as servers:
        for way in ways:
            servers.enter_context(_server(way, plan, program))
        yield


def measure(way: Way, traffic: Traffic, plan: Plan, program: Path, under: Sequence[str] = ()) -> float:
    """One measurement's rate: connections, exchanges, bytes or datagrams per second; the server is there.

    ``under``: the beginning of a command that runs the client. Raises CalledProcessError.
    """
    words = (traffic.value, way.address, str(PORT), str(plan.seconds))
    command = [*under, *_pinned(way.client, plan.client_cpu, program, *words)]
    limit = plan.seconds + SLACK_SECONDS
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=limit
    )
    return float(done.stdout)


def run(
    ways: Sequence[Way], kinds: Sequence[Traffic], plan: Plan, program: Path, tick: Callable[[], None]
) -> Rates:
    """Measure every way with every kind in each round; one round before them warms up and is not counted.

    All are served. ``tick`` is called after each measurement.
    """
    chance = random.Random(os.getpid())
    rates: Rates = {(way.name, kind): [] for way in ways for kind in kinds}
    for number in range(plan.rounds + 1):
        for kind in chance.sample(list(kinds), len(kinds)):
            for way in chance.sample(list(ways), len(ways)):
                rate = measure(way, kind, plan, program)
                if number:
                    rates[way.name, kind].append(rate)
                tick()
    return rates

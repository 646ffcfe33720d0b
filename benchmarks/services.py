"""``python -m benchmarks.services [--quick]``: ns of a service's first packet, with 1 and 30 000 services.

The whole program by test run, each packet the first of its flow, to a service chosen at random among all;
all in one process, in turns. Each case has a host of its own, so that all have as many flows, and new ones in
each round, as where in memory a host's tables happen to be makes it faster or slower. Beside it, 30 000
services of which one is asked for again and again: what that takes less is the waiting for memory. Needs
root.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from random import Random

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import command
from benchmarks.figures import Figure, figure, ratios
from benchmarks.machine import Machine, describe
from benchmarks.quantiles import quantile, shown
from benchmarks.report import COLOURS
from benchmarks.scale import at_most
from benchmarks.site import SERVICE_PORT, SYN, Ends, Plan, Site, devices, plan, site
from cloche.model.address import Address

Case = tuple[int, bool]
CASES: tuple[Case, ...] = ((1, False), (30_000, False), (30_000, True))
"""How many services, and whether only one of them is asked for; the second has the goal."""

RULES = 1000
GOAL = 1.05
ROUNDS, QUICK_ROUNDS = 30, 3
PACKETS, TURN = 4000, 200
"""Of each host in each round, and how many of one before the other has its turn."""

EARLIER = 20_000
"""First packets of each host before those that count: it has flows, as a host that is in use."""

SEED = 20240229


class Line(msgspec.Struct, frozen=True):
    """So many services, of which only one is asked for or each as often as any other: ns of the first packet,
    and as ratios to a single service, over the rounds."""

    services: int
    only_one: bool
    p50: Figure
    p99: Figure
    p50_ratio: Figure
    p99_ratio: Figure


class Report(msgspec.Struct, frozen=True):
    """A whole run. The goal is for the most services, at the 99th percentile."""

    version: int
    time: str
    machine: Machine
    goal: float
    rules: int
    rounds: int
    packets: int
    lines: tuple[Line, ...]


def first_packets(at: Site, services: list[Address], chance: Random, count: int) -> list[float]:
    """ns of so many first packets, each to one of the services. RuntimeError when no server gets one."""
    times = []
    for _ in range(count):
        ends = Ends(at.client, at.fresh(), chance.choice(services), SERVICE_PORT)
        done = at.from_client(ends, SYN)
        at.server_of(done)
        times.append(float(done.duration_ns))
    return times


def _hosts(plans: dict[int, Plan], chance: Random) -> dict[Case, Site]:
    """A new host for each case, made in any order and in use already."""
    hosts = {case: site(plans[case[0]]) for case in chance.sample(CASES, len(CASES))}
    for case, at in hosts.items():
        first_packets(at, _asked_for(case, at), chance, EARLIER)
    return hosts


def _asked_for(case: Case, at: Site) -> list[Address]:
    return at.services[:1] if case[1] else at.services


def _round(plans: dict[int, Plan], chance: Random) -> list[list[float]]:
    """All packets of one round, by case."""
    hosts = _hosts(plans, chance)
    times: dict[Case, list[float]] = {case: [] for case in CASES}
    for _ in range(PACKETS // TURN):
        for case in chance.sample(CASES, len(CASES)):
            times[case] += first_packets(hosts[case], _asked_for(case, hosts[case]), chance, TURN)
    for at in hosts.values():
        at.engine.close()
    return [*times.values()]


def lines(p50: list[list[float]], p99: list[list[float]]) -> tuple[Line, ...]:
    """Figures of the rounds' percentiles, by case."""
    return tuple(
        Line(*case, figure(half), figure(most), figure(ratios(half, p50[0])), figure(ratios(most, p99[0])))
        for case, half, most in zip(CASES, p50, p99, strict=True)
    )


def measure(rounds: int, console: Console) -> Report:
    """All rounds. Raises ClocheError, OSError, RuntimeError."""
    machine, chance = describe(), Random(SEED)
    p50: list[list[float]] = [[] for _ in CASES]
    p99: list[list[float]] = [[] for _ in CASES]
    with Progress(console=console, transient=True) as progress, devices() as at:
        task = progress.add_task("compiling", total=rounds)
        plans = {count: plan(at, RULES, count) for count in {count for count, _ in CASES}}
        progress.update(task, description="first packets")
        for _ in range(rounds):
            for case, times in enumerate(_round(plans, chance)):
                p50[case].append(quantile(times, 0.5))
                p99[case].append(quantile(times, 0.99))
            progress.advance(task)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(1, time, machine, GOAL, RULES, rounds, PACKETS, lines(p50, p99))


def show(made: Report, console: Console) -> None:
    """Print the run as a table."""
    table = Table(title=f"ns of a service's first packet, {made.rounds} rounds of {made.packets}")
    for title in ("services", "p50", "p99", "p50 ratio", "p99 ratio", f"goal {made.goal}"):
        table.add_column(title, justify="right")
    for line in made.lines:
        conclusion = at_most(line.p99_ratio, made.goal)
        goal = f"[{COLOURS[conclusion]}]{conclusion}[/]" if line is made.lines[1] else ""
        table.add_row(
            f"{line.services:,}" + (", one of them" if line.only_one else ""),
            shown(line.p50),
            shown(line.p99),
            shown(line.p50_ratio, 3),
            shown(line.p99_ratio, 3),
            goal,
        )
    console.print(table)


def main() -> int:
    """Measure, print, keep; 2 when this machine cannot."""
    options = command.parser("services", __doc__, "few rounds").parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    command.keep_to_last_processor()
    return command.run("services", options, lambda console: measure(rounds, console), show)


if __name__ == "__main__":
    sys.exit(main())

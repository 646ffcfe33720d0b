"""What a run leaves: a table for people, and a file with everything for later."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Conclusion, Figure, figure, ratios
from benchmarks.machine import Machine
from benchmarks.rounds import Plan, Rates, Traffic

REFERENCE = "veth"
GOAL = 0.95
TITLES = {
    Traffic.CRR: "connections",
    Traffic.RR: "exchanges",
    Traffic.STREAM: "stream",
}
UNITS = {Traffic.CRR: (1e3, "k/s"), Traffic.RR: (1e3, "k/s"), Traffic.STREAM: (1e9 / 8, "Gb/s")}
COLOURS = {Conclusion.MET: "green", Conclusion.MISSED: "red", Conclusion.UNDECIDED: "yellow"}


class Line(msgspec.Struct, frozen=True):
    """One way with one kind of traffic: ``rates`` per second, one a round; ``ratio`` to the bare pair."""

    way: str
    traffic: Traffic
    rate: Figure
    ratio: Figure
    rates: list[float]


class Report(msgspec.Struct, frozen=True):
    """A whole run. ``conditions`` are whatever else a reader must know, in words."""

    version: int
    time: str
    machine: Machine
    rounds: int
    seconds: float
    processors: tuple[int, int]
    goal: float
    conditions: tuple[str, ...]
    lines: tuple[Line, ...]

    def line(self, way: str, traffic: Traffic) -> Line:
        """The line of one way and kind. Raises StopIteration when it was not measured."""
        return next(line for line in self.lines if (line.way, line.traffic) == (way, traffic))


def report(machine: Machine, plan: Plan, rates: Rates, conditions: tuple[str, ...]) -> Report:
    """The figures of a run's rates."""
    lines = tuple(
        Line(way, kind, figure(values), figure(ratios(values, rates[REFERENCE, kind])), values)
        for (way, kind), values in sorted(
            rates.items(), key=lambda item: (item[0][1], item[0][0] != REFERENCE)
        )
    )
    return Report(
        version=1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        rounds=plan.rounds,
        seconds=plan.seconds,
        processors=(plan.client_cpu, plan.server_cpu),
        goal=GOAL,
        conditions=conditions,
        lines=lines,
    )


def show(made: Report, console: Console) -> None:
    """Print the run as a table."""
    table = Table(title=f"ratio to a bare veth pair, median and 95 % interval of {made.rounds} rounds")
    table.add_column("traffic")
    table.add_column("way")
    table.add_column("rate", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("95 %", justify="right")
    table.add_column(f"goal {made.goal}")
    for line in made.lines:
        scale, unit = UNITS[line.traffic]
        goal = ""
        if line.way.startswith("cloche"):
            conclusion = line.ratio.against(made.goal)
            goal = f"[{COLOURS[conclusion]}]{conclusion}[/]"
        table.add_row(
            TITLES[line.traffic],
            line.way,
            f"{line.rate.median / scale:.2f} {unit}",
            f"{line.ratio.median:.3f}",
            f"{line.ratio.low:.3f}..{line.ratio.high:.3f}",
            goal,
        )
    console.print(table)
    for condition in made.conditions:
        console.print(f"- {condition}", highlight=False)

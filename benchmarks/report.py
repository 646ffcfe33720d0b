"""What a run leaves: a table for people, and a file with everything for later."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import rounds
from benchmarks.figures import Conclusion, Figure, figure, ratios
from benchmarks.goals import REFERENCE, Goal, Ratio, comparisons, goals, is_ours
from benchmarks.machine import Machine
from benchmarks.rounds import Plan, Rates, Traffic
from benchmarks.runtime import HookCost
from benchmarks.samples import Sampled

TITLES = {
    Traffic.CRR: "connections",
    Traffic.RR: "exchanges",
    Traffic.STREAM: "stream",
    Traffic.UDP: "datagrams",
}
UNITS = {
    Traffic.CRR: (1e3, "k/s"),
    Traffic.RR: (1e3, "k/s"),
    Traffic.STREAM: (1e9 / 8, "Gb/s"),
    Traffic.UDP: (1e3, "k/s"),
}
COLOURS = {Conclusion.MET: "green", Conclusion.MISSED: "red", Conclusion.UNDECIDED: "yellow"}


class Line(msgspec.Struct, frozen=True):
    """One way with one kind of traffic: ``rates`` per second, one a round; ``ratio`` to the bare pair."""

    way: str
    traffic: Traffic
    rate: Figure
    ratio: Figure
    rates: list[float]


class Spent(msgspec.Struct, frozen=True):
    """Where time goes, from rounds of its own: by program, and by function of the kernel."""

    hooks: tuple[HookCost, ...] = ()
    sampled: tuple[Sampled, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """A whole run. ``conditions``: whatever else a reader must know, in words; ``skipped``: what, and why."""

    version: int
    time: str
    machine: Machine
    rounds: int
    seconds: float
    processors: tuple[int, int]
    conditions: tuple[str, ...]
    skipped: tuple[str, ...]
    lines: tuple[Line, ...]
    comparisons: tuple[Ratio, ...]
    goals: tuple[Goal, ...]
    spent: Spent

    def line(self, way: str, traffic: Traffic) -> Line:
        """The line of one way and kind. Raises StopIteration when it was not measured."""
        return next(line for line in self.lines if (line.way, line.traffic) == (way, traffic))

    def lines_of(self, traffic: Traffic) -> list[Line]:
        """The lines of one kind of traffic."""
        return [line for line in self.lines if line.traffic is traffic]

    def ways(self) -> list[str]:
        """What was measured, in the order of the run."""
        return list(dict.fromkeys(line.way for line in self.lines))


class Notes(msgspec.Struct, frozen=True):
    """What a run has to say beside its rates."""

    machine: Machine
    conditions: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def report(notes: Notes, plan: Plan, rates: Rates, spent: Spent) -> Report:
    """The figures of a run's rates."""
    kinds = list(Traffic)
    lines = tuple(
        Line(way, kind, figure(values), figure(ratios(values, rates[REFERENCE, kind])), values)
        for (way, kind), values in sorted(rates.items(), key=lambda item: kinds.index(item[0][1]))
    )
    return Report(
        version=2,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=notes.machine,
        rounds=plan.rounds,
        seconds=plan.seconds,
        processors=(plan.client_cpu, plan.server_cpu),
        conditions=notes.conditions,
        skipped=notes.skipped,
        lines=lines,
        comparisons=comparisons(rates),
        goals=goals(rates),
        spent=spent,
    )


def show(made: Report, console: Console) -> None:
    """Print the run as tables: rates, then goals."""
    table = Table(title=f"ratio to a bare veth pair, median and 95 % interval of {made.rounds} rounds")
    for title, justify in (("traffic", "left"), ("way", "left"), ("rate", "right"), ("ratio", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("95 %", justify="right")
    for line in made.lines:
        scale, unit = UNITS[line.traffic]
        table.add_row(
            TITLES[line.traffic],
            line.way,
            f"{line.rate.median / scale:.2f} {unit}",
            f"{line.ratio.median:.3f}",
            f"{line.ratio.low:.3f}..{line.ratio.high:.3f}",
            style="bold" if is_ours(line.way) else None,
        )
    console.print(table)
    for goal in made.goals:
        sign = "at least" if goal.least else "at most"
        console.print(
            f"{TITLES[goal.traffic]}: {goal.what}: {goal.found.median:.3f}; the goal is {sign} {goal.goal}: "
            f"[{COLOURS[goal.conclusion]}]{goal.conclusion}[/]",
            highlight=False,
        )
    for hook in made.spent.hooks:
        console.print(
            f"{hook.way}, one {rounds.UNITS[hook.traffic].name}: {hook.program} runs "
            f"{hook.runs.median:.2f} times, {hook.ns.median:.0f} ns each",
            highlight=False,
        )
    for words in (*made.conditions, *(f"left out: {words}" for words in made.skipped)):
        console.print(f"- {words}", highlight=False)

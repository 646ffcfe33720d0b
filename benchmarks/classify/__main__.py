"""``python -m benchmarks.classify``: ns to classify a first packet, on random packets; a table and a file."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import kept
from benchmarks.classify.asking import PARTS, Spread, classifier
from benchmarks.figures import Figure, figure
from benchmarks.machine import Machine, describe

RULES = (1, 1000, 10240)
GOAL_NS = 100.0
BATCHES = 4000


class Line(msgspec.Struct, frozen=True):
    """One number of rules: ns less the empty loop, on packets spread over everything and on one packet."""

    rules: int
    classes: int
    atoms: int
    rows: int
    allowed: int
    denied: int
    spread_ns: Figure
    hot_ns: Figure
    parts_ns: tuple[Figure, ...] = ()
    """Spread, of ``PARTS``."""


class Results(msgspec.Struct, frozen=True):
    """A whole run. ``goal_ns`` is for the spread packets of the most rules."""

    version: int
    time: str
    machine: Machine
    goal_ns: float
    lines: tuple[Line, ...]


def _line(rules: int, rounds: int, batches: int) -> Line:
    spread: list[float] = []
    hot: list[float] = []
    parts: list[list[float]] = [[] for _ in PARTS]
    with classifier(rules) as asked:
        for _ in track(range(rounds), f"{rules} rules", transient=True):
            asked.run("empty", batches)
            done = asked.run("classify", batches)
            spread.append(done.ns - asked.run("empty", batches).ns)
            for program, found in zip(PARTS, parts, strict=True):
                found.append(asked.run(program, batches).ns - asked.run("empty", batches).ns)
            hot.append(asked.run("classify", batches, hot=True).ns - asked.run("empty", batches, hot=True).ns)
        over: Spread = asked.spread
    figures = tuple(figure(found) for found in parts)
    return Line(*over, done.allowed, done.denied, figure(spread), figure(hot), figures)


def measure(rules: tuple[int, ...], rounds: int, batches: int = BATCHES) -> Results:
    """Each number of rules, so many rounds. RuntimeError when not judged both ways."""
    machine = describe()
    lines = tuple(_line(number, rounds, batches) for number in rules)
    for line in lines:
        if not (line.allowed and line.denied):
            raise RuntimeError(f"{line.rules} rules: {line.allowed} allowed, {line.denied} denied")
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(1, time, machine, GOAL_NS, lines)


def show(results: Results, console: Console) -> None:
    """Print the results as a table."""
    table = Table(title="first-packet classification, one direction: ns, median and 95 % interval")
    for title in (
        "rules",
        "classes",
        "atoms",
        "rows",
        "spread over all of them",
        "one packet again and again",
        *(part.replace("_", " ") for part in PARTS),
    ):
        table.add_column(title, justify="right")
    for line in results.lines:
        shown = (line.spread_ns, line.hot_ns, *line.parts_ns)
        ns = [f"{f.median:.0f} ({f.low:.0f}..{f.high:.0f})" for f in shown]
        table.add_row(*map(str, (line.rules, line.classes, line.atoms, line.rows)), *ns)
    console.print(table)
    console.print(f"goal: at most {results.goal_ns:.0f} ns, spread, at {max(RULES)} rules", highlight=False)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    options = parser.parse_args()
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    results = measure(RULES, options.rounds)
    console = Console()
    show(results, console)
    if not options.no_save:
        kept.save_and_say("classify", results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

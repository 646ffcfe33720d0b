"""Every fault, many rounds, with traffic running through it: ``make torture`` (root, some 25 minutes).

``python tests/torture/run.py --rounds N``: N times at every fault point, and everything else as often as goes
with that. A run of at least ``FULL`` rounds is kept below benchmarks/results/, and docs/torture.md is made of
the last one (``page``). Ends with status 1 when anything was lost, passed, leaked or different.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks import kept  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn  # noqa: E402
from rich.table import Column, Table  # noqa: E402

from cloche.config import Loader  # noqa: E402
from e2e.agent_lab import Machine, machine  # noqa: E402
from other_layout import other_layout  # noqa: E402
from torture.crowd import CROWDED, Crowd  # noqa: E402
from torture.full import AT_QUOTA, RING, TABLE_FULL, at_quota, ring_full, table_full  # noqa: E402
from torture.killing import Killing  # noqa: E402
from torture.moments import Moments  # noqa: E402
from torture.outcome import Outcome, Repeated, Report  # noqa: E402
from torture.points import AT_BIRTH, OFTEN, Fault, Points, born, schedule  # noqa: E402
from torture.running import ROOMY  # noqa: E402
from torture.swaps import Rollbacks, Upgrades, another_object  # noqa: E402
from torture.wire import Totals  # noqa: E402

FULL = 4
"""Rounds of a full run; the older loader has half of them."""
WIDTH = 160
KILLS, SWAPS, PODS, FLOOD = 16, 2, 500, 20000
Tick = Callable[[], None]


class Step(NamedTuple):
    """One part of the run, which ticks about ``ticks`` times."""

    name: str
    ticks: int
    run: Callable[[Machine, Tick], list[Outcome]]


def told(outcomes: list[Outcome], totals: Totals) -> list[Outcome]:
    """With what the traffic had to say, where something went wrong."""
    bad = [one for one in outcomes if not one.fine]
    if totals.wrong and not bad:
        bad = outcomes[:1]
    for one in bad[:1]:
        one.wrong += totals.wrong
    return outcomes


def at_points(rounds: int, loader: Loader) -> Step:
    """Every fault point so many times."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        killing = Killing(host.instance(capacity=ROOMY, loader=loader))
        points = Points(killing)
        totals = killing.run(points.rounds(schedule(rounds, random.Random())), tick)
        outcomes = sorted(points.outcomes.values(), key=lambda one: one.fault)
        for one in outcomes:
            one.fault = f"killed at {one.fault}{', clsact' * (loader is Loader.CLSACT)}"
        return told(outcomes, totals)

    return Step(f"fault points, {loader}", rounds * (len(OFTEN) + 25), run)


def at_birth(rounds: int) -> Step:
    """An instance killed while it is made."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        faults = [
            Fault(point, number)
            for point in AT_BIRTH
            for number in random.sample(range(1, OFTEN[point] + 1), min(rounds, OFTEN[point]))
        ]
        outcomes = list(born(host.instance(), faults))
        for one in outcomes:
            one.fault = f"killed at {one.fault}"
            tick()
        return outcomes

    return Step("an instance that is made", len(AT_BIRTH), run)


def at_moments(count: int) -> Step:
    """Killed at random."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        killing = Killing(host.instance(capacity=ROOMY))
        moments = Moments(killing, random.Random())
        totals = killing.run(moments.rounds(count), tick)
        return told([moments.outcome], totals)

    return Step("random moments", count, run)


def swapped(count: int) -> Step:
    """Upgrades and roll-backs."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            (Path(folder) / "other").mkdir()
            killing = Killing(host.instance(capacity=ROOMY))
            ways = [
                Upgrades(killing, "the same layout", another_object(Path(folder))),
                Upgrades(killing, "another layout", other_layout(Path(folder) / "other")),
                Rollbacks(killing),
            ]
            rounds = [one for way in ways for one in way.rounds(count)]
            totals = killing.run(rounds, tick)
        return told([way.outcome for way in ways], totals)

    return Step("upgrades and roll-backs", 3 * count, run)


def crowded(count: int) -> Step:
    """Pods in crowds."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        crowd = Crowd(host.instance(capacity=CROWDED), count)
        totals = crowd.run(tick)
        return told([crowd.outcome], totals)

    return Step(f"{count} pods", count // 10 + 3, run)


def filled(rounds: int) -> Step:
    """Full tables."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        found: dict[str, Outcome] = {}
        for _ in range(rounds):
            for make, capacity in ((at_quota, AT_QUOTA), (table_full, TABLE_FULL), (ring_full, RING)):
                instance = host.instance(capacity=capacity)
                one = make(instance, FLOOD) if make is at_quota else make(instance)
                found[one.fault] = added(found.get(one.fault), one)
                instance.clean()
                tick()
        return list(found.values())

    return Step("full tables", 3 * rounds, run)


def added(before: Outcome | None, one: Outcome) -> Outcome:
    """Two outcomes of the same fault as one."""
    if before is None:
        return one
    sums = {
        name: getattr(before, name) + getattr(one, name)
        for name in Outcome.__struct_fields__
        if name != "fault"
    }
    return Outcome(fault=one.fault, **sums)


REPEATS = (
    ("class or cell tables too small for a generation", "tests/e2e/test_agent_too_big.py", ""),
    ("disk full, wall clock jumps", "tests/e2e/test_agent_disk_and_clock.py", ""),
    ("store corrupted, worker or responder killed", "tests/e2e/test_agent_restart.py", ""),
    ("kernel state altered from outside", "tests/e2e/test_agent_repairs.py", ""),
    ("roll-back, its commands and restarts", "tests/e2e/test_agent_rollback.py", ""),
    ("another layout, killed at each step", "tests/e2e/test_agent_upgrade.py", "CLOCHE_FULL"),
)


def repeat(fault: str, tests: str, variable: str, rounds: int) -> Repeated:
    """Run a file of tests again and again; those behind a switch once."""
    passed = failed = 0
    which: list[str] = []
    rounds = 1 if variable else rounds
    environment = os.environ | ({variable: "1"} if variable else {})
    for _ in range(rounds):
        command = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        counts = re.findall(r"(\d+) (passed|failed|error)", done.stdout)
        count = {word: int(number) for number, word in counts}
        passed += count.get("passed", 0)
        failed += count.get("failed", 0) + count.get("error", 0)
        which += re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1):
            failed += 1
            which.append(f"{tests}: status {done.returncode}")
    return Repeated(fault, tests, rounds, passed, failed, tuple(which))


def steps(rounds: int) -> Iterator[Step]:
    """All parts of a run."""
    yield at_points(rounds, Loader.AUTO)
    if rounds > 1:
        yield at_points(rounds // 2, Loader.CLSACT)
    yield at_birth(2 * rounds)
    yield at_moments(KILLS * rounds)
    yield swapped(SWAPS * rounds)
    yield crowded(PODS if rounds > 1 else PODS // 10)
    yield filled(max(1, rounds // 2))


def table(report: Report) -> Iterator[Table]:
    """What it came to, for people."""
    names = (
        Column("fault", no_wrap=True),
        "rounds",
        "sent",
        "lost",
        "tried",
        "made",
        "forbidden",
        "arrived",
        "leaked",
    )
    made = Table(*names, "starts", "same")
    for one in report.outcomes:
        cells = (one.rounds, one.sent, one.lost, one.tried, one.made, one.forbidden, one.arrived)
        cells += (one.leaked, one.restarts, one.same)
        made.add_row(one.fault, *map(str, cells), style="" if one.fine else "bold red")
    yield made
    repeated = Table("repeated", "rounds", "passed", "failed")
    for one in report.repeated:
        style = "bold red" if one.failed else ""
        repeated.add_row(one.fault, str(one.rounds), str(one.passed), str(one.failed), style=style)
    yield repeated


def run(rounds: int, progress: Progress) -> tuple[list[Outcome], list[Repeated]]:
    """All of it. A part that cannot be done is told, and the others are done."""
    outcomes: list[Outcome] = []
    for step in steps(rounds):
        bar = progress.add_task(step.name, total=step.ticks)
        try:
            with machine() as host:
                outcomes += step.run(host, lambda bar=bar: progress.advance(bar))
        except Exception:  # told below; the other faults are still worth knowing
            outcomes.append(Outcome(step.name, wrong=[traceback.format_exc()]))
        progress.update(bar, completed=step.ticks)
    repeated = []
    bar = progress.add_task("the suite's own", total=len(REPEATS))
    for fault, tests, variable in REPEATS:
        repeated.append(repeat(fault, tests, variable, max(1, rounds // 3)))
        progress.advance(bar)
    return outcomes, repeated


def main() -> int:
    """0 when everything was fine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=FULL, help=f"{FULL} and more are kept")
    rounds = max(1, parser.parse_args().rounds)
    console, begin, where = (
        Console(width=None if sys.stdout.isatty() else WIDTH),
        time.monotonic(),
        describe(),
    )
    columns = ("{task.description:<28}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        outcomes, repeated = run(rounds, progress)
    now = datetime.now(UTC)
    seconds = round(time.monotonic() - begin, 1)
    report = Report(1, now.isoformat(timespec="seconds"), where, rounds, seconds, outcomes, repeated)
    for made in table(report):
        console.print(made)
    wrong = [what for one in outcomes for what in one.wrong]
    wrong += [f"failed: {which}" for one in repeated for which in one.which]
    for what in wrong:
        console.print(what, markup=False)
    if rounds >= FULL:
        kept.save_and_say("torture", report, console)
        console.print("make docs makes docs/torture.md of it")
    return 0 if all(one.fine for one in outcomes) and not any(one.failed for one in repeated) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Every fault, many rounds, with traffic running through it: ``make torture`` (root, some 25 minutes).

``python tests/torture/run.py --rounds N``: N times at every fault point, and everything else as often as goes
with that. A run of at least ``FULL`` rounds is kept below benchmarks/results/, and docs/torture.md is made of
the last one (``page``). Ends with status 1 when anything was lost, passed, leaked or different.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks import kept  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn  # noqa: E402
from rich.table import Column, Table  # noqa: E402

from e2e.agent_lab import machine  # noqa: E402
from torture.outcome import Altered, Outcome, Repeated, Report  # noqa: E402
from torture.steps import steps  # noqa: E402

FULL = 4
"""Rounds of a full run; the older loader has half of them."""
WIDTH = 160


REPEATS = (
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
    columns = ("rounds", "found in s", "whole in s", "sent", "lost", "tried", "made", "forbidden", "arrived")
    outside = Table(Column("altered from outside"), *columns, "closed", "unmade", "opened")
    for row in report.altered:
        cells = (row.rounds, round(row.found_s, 1), round(row.whole_s, 1), row.sent, row.lost, row.tried)
        cells += (row.made, row.forbidden, row.arrived, row.closed, row.unmade, row.opened)
        outside.add_row(row.what, *map(str, cells), style="" if row.fine else "bold red")
    yield outside
    repeated = Table("repeated", "rounds", "passed", "failed")
    for one in report.repeated:
        style = "bold red" if one.failed else ""
        repeated.add_row(one.fault, str(one.rounds), str(one.passed), str(one.failed), style=style)
    yield repeated


def run(rounds: int, progress: Progress) -> tuple[list[Outcome | Altered], list[Repeated]]:
    """All of it. A part that cannot be done is told, and the others are done."""
    outcomes: list[Outcome | Altered] = []
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
        everything, repeated = run(rounds, progress)
    now = datetime.now(UTC)
    seconds = round(time.monotonic() - begin, 1)
    outcomes = [one for one in everything if isinstance(one, Outcome)]
    altered = [one for one in everything if isinstance(one, Altered)]
    time_ = now.isoformat(timespec="seconds")
    report = Report(1, time_, where, rounds, seconds, outcomes, repeated, altered)
    for made in table(report):
        console.print(made)
    wrong = [what for one in everything for what in one.wrong]
    wrong += [f"failed: {which}" for one in repeated for which in one.which]
    for what in wrong:
        console.print(what, markup=False)
    if rounds >= FULL:
        kept.save_and_say("torture", report, console)
        console.print("make docs makes docs/torture.md of it")
    return 0 if all(one.fine for one in everything) and not any(one.failed for one in repeated) else 1


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.scale [--quick]``: the compiler in big worlds; each compile in a process of its own.

A full compile goes from decoded objects in memory to the indexes of the whole world and the complete tables
of one host with 110 endpoints in 110 namespaces; then come single changes. As in the worker, the cycle
collector is off meanwhile. Memory is the peak of the whole process, the objects included.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import crowd, kept, machine
from benchmarks.crowd import Crowd
from benchmarks.figures import Conclusion, Figure, figure
from benchmarks.machine import Machine
from benchmarks.report import COLOURS
from cloche.compiler import Compiler
from cloche.tables.schema import Capacity

WORLDS = (Crowd(250, 4), Crowd(2500, 4), Crowd(25_000, 4), Crowd(25_000, 3))
QUICK = (Crowd(40, 4), Crowd(150, 3))
GOAL_WORLD = Crowd(25_000, 3)
GOAL_SECONDS, GOAL_BYTES, GOAL_CHANGE_MS = 6.0, 0.8e9, 1.0
ROUNDS, CHANGES = 5, 250
"""Processes for each world, and pairs of changes of each kind in each process."""


class Asked(msgspec.Struct, frozen=True):
    """What one process has to measure."""

    crowd: Crowd
    changes: int


class ChangeTimes(msgspec.Struct, frozen=True):
    """How long changes of a kind took, in ms; ``here``: in namespaces with an endpoint of this host."""

    what: str
    here: bool
    milliseconds: tuple[float, ...]


class Measured(msgspec.Struct, frozen=True):
    """What one process measured. ``processor_seconds``: of the compile, without waiting for a processor."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    writes: int
    digest: str
    changes: tuple[ChangeTimes, ...]


class ChangeLine(msgspec.Struct, frozen=True):
    """One kind of change in one world, over all rounds, in ms."""

    what: str
    here: bool
    count: int
    p50: float
    p99: float


class Line(msgspec.Struct, frozen=True):
    """One world: a full compile's seconds (wall and processor time) and peak bytes, and its changes."""

    crowd: Crowd
    pods: int
    policies: int
    seconds: Figure
    processor_seconds: Figure
    peak_bytes: Figure
    writes: int
    changes: tuple[ChangeLine, ...]


class Report(msgspec.Struct, frozen=True):
    """A whole run. Goals are for the world of ``goal_world``."""

    version: int
    time: str
    machine: Machine
    rounds: int
    goal_world: Crowd
    goal_seconds: float
    goal_bytes: float
    goal_change_ms: float
    lines: tuple[Line, ...]


def measure(asked: Asked) -> Measured:
    """Compile a world and change it, in this process."""
    events = crowd.events(asked.crowd)
    compiler = Compiler(crowd.HERE, Capacity(addresses=4 * asked.crowd.pods + 1024))
    gc.disable()  # as the worker does
    begin, processor = time.perf_counter(), time.process_time()
    change = compiler.update(events)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    gc.freeze()
    peak = _peak_bytes()
    times = []
    for what in crowd.CHANGES:
        for here in (False, True):
            taken = []
            for event in crowd.changes(asked.crowd, what, asked.changes, here=here):
                begin = time.perf_counter()
                compiler.update((event,))
                taken.append((time.perf_counter() - begin) * 1000)
            times.append(ChangeTimes(what, here, tuple(taken)))
    return Measured(seconds, processor, peak, len(change.writes), change.digest, tuple(times))


def _peak_bytes() -> int:
    """The most memory that this program has had, whatever process it was started by."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def measure_apart(asked: Asked) -> Measured:
    """Measure in a process of its own. Raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", "benchmarks.scale", "--measure"]
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(
        command, input=msgspec.json.encode(asked), stdout=subprocess.PIPE, cwd=root, check=True
    )
    return msgspec.json.decode(run.stdout, type=Measured)


def line(of: Crowd, rounds: list[Measured]) -> Line:
    """A world's figures. Raises ValueError when rounds disagree on what was compiled."""
    if len({(found.digest, found.writes) for found in rounds}) != 1:
        raise ValueError("the same world was compiled to different tables")
    changes = []
    for same in zip(*(found.changes for found in rounds), strict=True):
        taken = [one for times in same for one in times.milliseconds]
        cuts = quantiles(taken, n=100, method="inclusive")
        changes.append(ChangeLine(same[0].what, same[0].here, len(taken), cuts[49], cuts[98]))
    return Line(
        crowd=of,
        pods=of.pods,
        policies=of.policies,
        seconds=figure([found.seconds for found in rounds]),
        processor_seconds=figure([found.processor_seconds for found in rounds]),
        peak_bytes=figure([found.peak_bytes for found in rounds]),
        writes=rounds[0].writes,
        changes=tuple(changes),
    )


def at_most(found: Figure, goal: float) -> Conclusion:
    """Met when the whole interval is at or below the goal, missed when it is above."""
    if found.high <= goal:
        return Conclusion.MET
    return Conclusion.MISSED if found.low > goal else Conclusion.UNDECIDED


def show(made: Report, console: Console) -> None:
    """Print the run as two tables."""
    table = Table(title=f"full compile, median and 95 % interval of {made.rounds} processes")
    for title in ("pods", "policies", "namespaces", "seconds", "processor", "GB", "goal"):
        table.add_column(title, justify="right")
    for found in made.lines:
        goal = ""
        if found.crowd == made.goal_world:
            time_ok = at_most(found.seconds, made.goal_seconds)
            memory_ok = at_most(found.peak_bytes, made.goal_bytes)
            goal = (
                f"{made.goal_seconds:g} s [{COLOURS[time_ok]}]{time_ok}[/], "
                f"{made.goal_bytes / 1e9:g} GB [{COLOURS[memory_ok]}]{memory_ok}[/]"
            )
        counts = (f"{found.pods:,}", f"{found.policies:,}", f"{found.crowd.namespaces:,}")
        memory = f"{found.peak_bytes.median / 1e9:.2f}"
        table.add_row(*counts, _spread(found.seconds), _spread(found.processor_seconds), memory, goal)
    console.print(table)
    console.print(_change_table(made))


def _spread(found: Figure) -> str:
    return f"{found.median:.2f} ({found.low:.2f}..{found.high:.2f})"


def _change_table(made: Report) -> Table:
    """A row for each kind of change, elsewhere and here side by side."""
    table = Table(title=f"one change, ms (goal: p50 at most {made.goal_change_ms:g})")
    for title in ("pods", "policies"):
        table.add_column(title, justify="right")
    table.add_column("change")
    for title in ("elsewhere p50", "p99", "at an endpoint here p50", "p99"):
        table.add_column(title, justify="right")
    for found in made.lines:
        for what in dict.fromkeys(one.what for one in found.changes):
            cells = []
            for one in sorted((one for one in found.changes if one.what == what), key=lambda one: one.here):
                colour = "green" if one.p50 <= made.goal_change_ms else "red"
                cells += [f"[{colour}]{one.p50:.2f}[/]", f"{one.p99:.2f}"]
            table.add_row(f"{found.pods:,}", f"{found.policies:,}", what, *cells)
    return table


def run(worlds: tuple[Crowd, ...], rounds: int, changes: int, console: Console) -> Report:
    """Measure worlds in turns, so that a slow minute of the machine spoils no world alone."""
    described = machine.describe()
    found: dict[Crowd, list[Measured]] = {world: [] for world in worlds}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("compiling", total=rounds * sum(world.pods for world in worlds))
        for _ in range(rounds):
            for world in worlds:
                found[world].append(measure_apart(Asked(world, changes)))
                progress.advance(task, world.pods)
    return Report(
        version=1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=described,
        rounds=rounds,
        goal_world=GOAL_WORLD,
        goal_seconds=GOAL_SECONDS,
        goal_bytes=GOAL_BYTES,
        goal_change_ms=GOAL_CHANGE_MS,
        lines=tuple(line(world, found[world]) for world in worlds),
    )


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds: small worlds, nothing kept")
    parser.add_argument("--rounds", type=int, help="processes for each world")
    parser.add_argument("--changes", type=int, help="pairs of changes of each kind in each process")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
        sys.stdout.buffer.write(msgspec.json.encode(measure(asked)))
        return 0
    console = Console(stderr=options.json)
    worlds, rounds, changes = (QUICK, 2, 20) if options.quick else (WORLDS, ROUNDS, CHANGES)
    made = run(worlds, options.rounds or rounds, options.changes or changes, console)
    if options.json:
        print(msgspec.json.encode(made).decode())
    else:
        show(made, console)
    if not (options.quick or options.no_save):
        kept.save_and_say("scale", made, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.profile [--quick]``: instructions, look-ups and ns of each kind of packet.

The program by test run, with the tables of 1 000 rules and 100 services; instructions and look-ups by builds
that count them, ns by the program as it ships, less those of a run in which it does nothing. Needs root.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import command
from benchmarks.building import HERE, bpf_object
from benchmarks.machine import Machine, describe
from benchmarks.profile.counting import (
    CALLS,
    Blocks,
    Calls,
    Counted,
    array_names,
    blocks_object,
    lookups_object,
    map_names,
)
from benchmarks.profile.packets import KINDS, Kind, checked
from benchmarks.quantiles import Spread, spread
from benchmarks.site import Site, devices, plan, site
from cloche.datapath.bpf import Runner, SkbContext
from cloche.datapath.libbpf import ObjectFile

RULES, SERVICES = 1000, 100
COUNT, QUICK_COUNT = 2000, 100
"""Packets of each kind that are timed."""

COUNTED = 9
"""Packets of each kind whose work is counted; the middle one is shown."""


class Line(msgspec.Struct, frozen=True):
    """A kind of packet. ``instructions`` as they are in the object, helpers not looked into: at least, and at
    most; ``calls`` by helper and map; ``hashes``: the look-ups that are not in arrays, which cost next to
    nothing."""

    hook: str
    kind: str
    instructions: tuple[int, int]
    lookups: int
    hashes: dict[str, int]
    writes: int
    calls: dict[str, dict[str, int]]
    ns: Spread


class Report(msgspec.Struct, frozen=True):
    """A whole run. ``empty_ns``: what a run takes in which the program does nothing, taken off all others."""

    version: int
    time: str
    machine: Machine
    rules: int
    services: int
    packets: int
    empty_ns: float
    lines: tuple[Line, ...]


def _counts(
    kind: Kind, blocks: Callable[[], tuple[Site, Blocks]], calls: Callable[[], tuple[Site, Calls]]
) -> tuple[Counted, dict[str, dict[str, int]]]:
    """The work of the middle one of some packets. Raises RuntimeError when the two ways of counting look-ups
    differ."""
    found = []
    for _ in range(COUNTED):
        at, counter = blocks()
        send = kind.ready(at)
        counter.clear()
        checked(kind, send())
        counted = counter.read()
        other, called = calls()
        send = kind.ready(other)
        called.clear()
        checked(kind, send())
        found.append((counted, called.read()))
    found.sort(key=lambda one: one[0].instructions)
    counted, named = found[COUNTED // 2]
    if counted.lookups not in {sum(one["map_lookup_elem"].values()) for _, one in found}:
        raise RuntimeError(f"{kind.hook}, {kind.name}: look-ups counted in two ways differ")
    return counted, named


def _times(kind: Kind, at: Site, count: int) -> list[float]:
    return [float(checked(kind, kind.ready(at)()).duration_ns) for _ in range(count)]


def empty_ns(ifindex: int, count: int) -> float:
    """The median ns of a run of a program that does nothing."""
    with ObjectFile(bpf_object(HERE / "profile" / "nothing.bpf.c", [])) as opened:
        opened.load()
        runner = Runner(opened.programs(("nothing",))["nothing"])
    context = SkbContext(ifindex)
    return spread([float(runner.run(bytes(64), context).duration_ns) for _ in range(count)]).p50.median


def measure(count: int, console: Console) -> Report:
    """Each kind of packet. Raises ClocheError, RuntimeError, OSError."""
    machine, names, lines = describe(), map_names(), []
    counting, found = blocks_object()
    calling = lookups_object(names)
    with Progress(console=console, transient=True) as progress, devices() as at:
        task = progress.add_task("packets", total=len(KINDS))
        tables = plan(at, RULES, SERVICES)
        real, counted, called = (site(tables, *path) for path in ((), (counting,), (calling,)))
        blocks = Blocks(counted.engine.loaded.programs.from_endpoint, counting, found)
        calls = Calls(called.engine.loaded.programs.from_endpoint, names)
        arrays = array_names(real.engine.loaded.programs.from_endpoint)
        empty = empty_ns(at[0], count)
        for kind in KINDS:
            work, by_map = _counts(kind, lambda: (counted, blocks), lambda: (called, calls))
            lookups = by_map["map_lookup_elem"]
            lines.append(
                Line(
                    hook=kind.hook,
                    kind=kind.name,
                    instructions=(work.instructions - work.unsure, work.instructions),
                    lookups=sum(lookups.values()),
                    hashes={name: number for name, number in lookups.items() if name not in arrays},
                    writes=sum(sum(by_map[call].values()) for call in CALLS[1:]),
                    calls=by_map,
                    ns=spread([ns - empty for ns in _times(kind, real, count)]),
                )
            )
            progress.advance(task)
        for one in (blocks, calls, real.engine, counted.engine, called.engine):
            one.close()
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(1, time, machine, RULES, SERVICES, count, empty, tuple(lines))


def show(made: Report, console: Console) -> None:
    """Print the run as a table."""
    table = Table(title=f"one packet of each kind; ns of {made.packets}")
    for title in ("hook", "packet", "instructions", "look-ups", "in hashes", "writes", "ns p50", "p99"):
        table.add_column(title)
    for line in made.lines:
        least, most = line.instructions
        numbers = (f"{least}..{most}", line.lookups, sum(line.hashes.values()), line.writes)
        table.add_row(
            line.hook,
            line.kind,
            *map(str, numbers),
            f"{line.ns.p50.median:.0f}",
            f"{line.ns.p99.median:.0f}",
        )
    console.print(table)


def main() -> int:
    """Measure, print, keep; 2 when this machine cannot."""
    options = command.parser("profile", __doc__, "few packets").parse_args()
    count = QUICK_COUNT if options.quick else COUNT
    command.keep_to_last_processor()
    return command.run("profile", options, lambda console: measure(count, console), show)


if __name__ == "__main__":
    sys.exit(main())

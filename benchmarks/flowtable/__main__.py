"""``python -m benchmarks.flowtable``: the candidates in turns, on one processor; a table and a file."""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import defaultdict
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import kept
from benchmarks.figures import Figure, figure
from benchmarks.flowtable.tables import ENTRIES, OWNERS, QUOTA, Age, candidates
from benchmarks.machine import Machine, describe

TABLES = {
    "hash": "hash, preallocated, a ring of slots for each endpoint",
    "lazy": "hash, not preallocated, a ring of slots for each endpoint",
    "lru": "one LRU hash for all",
    "own_by_hash": "an LRU hash for each endpoint, in a hash of maps",
    "own_by_array": "an LRU hash for each endpoint, in an array of maps",
}
COLUMNS = {
    "hot": "look-up among 16",
    "find": "look-up among all",
    "put": "insert",
    "room": "insert, quota full of closing flows",
    "spared": "insert, quota full of open flows",
}
FILLED = ENTRIES * 3 // 4
LOOK_UPS, INSERTS = 400_000, 100_000
QUIET, NOISY = 2, 1
OPEN_FLOWS = QUOTA // 2

Times = dict[tuple[str, str], list[float]]


class Candidate(msgspec.Struct, frozen=True):
    """One structure's figures: ns by operation, and how many open flows are left after a flood.

    ``kept_from_others``: of a quiet endpoint's whole quota, when another opens twice as many as all may have.
    ``kept_from_itself``: of half a quota, when the same endpoint opens twice its quota of short ones.
    """

    name: str
    ns: dict[str, Figure]
    kept_from_others: int
    kept_from_itself: int
    bytes_full: int


class Results(msgspec.Struct, frozen=True):
    """A whole run. ``empty`` is what the programs cost without the operation, already taken off."""

    version: int
    time: str
    machine: Machine
    owners: int
    quota: int
    empty: dict[str, Figure]
    candidates: tuple[Candidate, ...]


def _round(times: Times, order: list[str]) -> dict[str, int]:
    """Measure every candidate once; returns the bytes that each takes when full."""
    memory = {}
    for age, column in ((Age.CLOSING, "room"), (Age.OPEN, "spared")):
        with candidates() as made:
            empty = {name: made.run(f"empty_{name}", 0, 1, LOOK_UPS).ns for name in ("random", "in_turn")}
            for table in order:
                put = made.run(f"{table}_put", 0, FILLED, FILLED, age=age)
                find = made.run(f"{table}_find", 0, FILLED, LOOK_UPS)
                made.run(f"{table}_put", FILLED, 1, ENTRIES - FILLED, age=age)
                hot = made.run(f"{table}_find", 0, 16, LOOK_UPS)
                room = made.run(f"{table}_put", ENTRIES, 1, INSERTS, age=age)
                if min(put.succeeded / FILLED, room.succeeded / INSERTS, find.succeeded / LOOK_UPS) < 0.9:
                    raise RuntimeError(f"{table}: {put}, {find}, {room}: not what was to be measured")
                times[table, "put"].append(put.ns - empty["in_turn"])
                times[table, "hot"].append(hot.ns - empty["random"])
                times[table, "find"].append(find.ns - empty["random"])
                times[table, column].append(room.ns - empty["in_turn"])
                memory[table] = made.memory(table)
            for name, ns in empty.items():
                times["empty", name].append(ns)
    return memory


def _survivors(table: str, open_flows: int, noisy: int, flood: int) -> int:
    """So many open flows of an endpoint: how many are left after owner ``noisy - 1`` opened ``flood``."""
    with candidates() as made:
        made.run(f"{table}_put", 0, open_flows, open_flows, only=QUIET)
        made.run(f"{table}_put", ENTRIES, 1, flood, only=noisy, age=Age.CLOSING)
        return made.run(f"{table}_see", 0, open_flows, open_flows, only=QUIET).succeeded


def measure(rounds: int, machine: Machine) -> Results:
    """All candidates, so many rounds, in a new order each time."""
    times: Times = defaultdict(list)
    memory: dict[str, int] = {}
    for _ in range(rounds):
        memory = _round(times, random.sample(list(TABLES), len(TABLES)))
    return Results(
        version=1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        owners=OWNERS,
        quota=QUOTA,
        empty={name: figure(times["empty", name]) for name in ("random", "in_turn")},
        candidates=tuple(
            Candidate(
                table,
                {column: figure(times[table, column]) for column in COLUMNS},
                _survivors(table, QUOTA, NOISY, 2 * ENTRIES),
                _survivors(table, OPEN_FLOWS, QUIET, 2 * QUOTA),
                memory[table],
            )
            for table in TABLES
        ),
    )


def show(results: Results, console: Console) -> None:
    """Print the results as a table."""
    table = Table(
        title=f"flow tables: ns, median and 95 % interval; {OWNERS} endpoints with {QUOTA} flows each"
    )
    for title in ("structure", *COLUMNS.values(), "kept from others", "from itself", "MiB"):
        table.add_column(title, justify="left" if title == "structure" else "right")
    for found in results.candidates:
        ns = [f"{f.median:.0f} ({f.low:.0f}..{f.high:.0f})" for f in found.ns.values()]
        table.add_row(
            TABLES[found.name],
            *ns,
            f"{found.kept_from_others}/{QUOTA}",
            f"{found.kept_from_itself}/{OPEN_FLOWS}",
            f"{found.bytes_full / 2**20:.0f}",
        )
    console.print(table)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flowtable", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    options = parser.parse_args()
    machine = describe()
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    results = measure(options.rounds, machine)
    console = Console(width=160)
    show(results, console)
    if not options.no_save:
        kept.save_and_say("flowtable", results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

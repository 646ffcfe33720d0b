"""``python -m benchmarks [--quick]``: measure, print a table, and keep the numbers."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

from rich.console import Console
from rich.progress import Progress

from benchmarks import building, machine, paths, report, rounds
from benchmarks.rounds import Plan, Traffic


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds: bare veth against Cloche only")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement")
    last = (os.cpu_count() or 1) - 1
    parser.add_argument("--cpus", default=f"{last},{last}", help="processors of client and server: A,B")
    parser.add_argument("--rules", type=int, default=1000, help="how many rules Cloche has to obey")
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    return parser.parse_args()


def main() -> int:
    """Measure and report; 1 when a goal is surely missed."""
    options = _arguments()
    console = Console()
    client_cpu, server_cpu = (int(text) for text in options.cpus.split(","))
    plan = Plan(
        options.rounds or (6 if options.quick else 30),
        options.seconds or (0.2 if options.quick else 0.5),
        client_cpu,
        server_cpu,
    )
    described = machine.describe()
    program = building.traffic_program()
    kinds = list(Traffic)
    with ExitStack() as stack:
        ways = [stack.enter_context(paths.bare_veth())]
        if not options.quick:
            ways.append(stack.enter_context(paths.linux_bridge()))
        total = (plan.rounds + 1) * len(ways) * len(kinds)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("measuring", total=total)
            rates = rounds.run(ways, kinds, plan, program, lambda: progress.advance(task))
    made = report.report(described, plan, rates, ())
    report.show(made, console)
    if not options.no_save:
        console.print(f"kept in {report.save(made)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

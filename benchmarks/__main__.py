"""``python -m benchmarks [--quick]``: measure, print a table, and keep the numbers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import Progress

from benchmarks import building, kept, machine, paths, report, rounds, world
from benchmarks.cloche_way import cloche
from benchmarks.paths import Way
from benchmarks.rounds import Plan, Traffic
from cloche.errors import ClocheError

QUICK, WHOLE = (10, 0.1), (30, 0.5)
"""Rounds, and seconds of each measurement."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: bare veth against Cloche only, nothing kept"
    )
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement")
    last = (os.cpu_count() or 1) - 1
    parser.add_argument("--cpus", default=f"{last},{last}", help="processors of client and server: A,B")
    parser.add_argument("--rules", default="1000", help="how many rules Cloche has to obey: N or N,N,...")
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    count, seconds = QUICK if options.quick else WHOLE
    client_cpu, server_cpu = (int(text) for text in options.cpus.split(","))
    return Plan(options.rounds or count, options.seconds or seconds, client_cpu, server_cpu)


@contextmanager
def _ways(quick: bool, rules: list[int]) -> Iterator[list[Way]]:
    with ExitStack() as stack:
        ways = [stack.enter_context(paths.bare_veth())]
        if not quick:
            ways.append(stack.enter_context(paths.linux_bridge()))
        ways += [stack.enter_context(cloche(count)) for count in rules]
        yield ways


def _conditions(plan: Plan) -> tuple[str, ...]:
    together = plan.client_cpu == plan.server_cpu
    return (
        f"client and server share one processor ({plan.client_cpu})"
        if together
        else f"client on processor {plan.client_cpu}, server on {plan.server_cpu}",
        f"TCP over IPv4, MTU {paths.MTU}, {paths.congestion_control()}",
        "Cloche: rules by identity, CIDR and port range, half of them on either end, both judged; "
        f"{world.OTHERS} more endpoints, {world.SERVICES} services; events on and read, counters on",
        "the bridge judges nothing: no netfilter",
    )


def main() -> int:
    """Measure and report; 2 when this machine cannot."""
    options = _arguments()
    console = Console()
    if os.geteuid() != 0:
        console.print("benchmarks make network namespaces: run them as root", style="red")
        return 2
    plan, described = _plan(options), machine.describe()
    spare = os.sched_getaffinity(0) - {plan.client_cpu, plan.server_cpu}
    if spare:  # whoever reads the events stays out of the way
        os.sched_setaffinity(0, spare)
    rules = [int(text) for text in options.rules.split(",")]
    try:
        program = building.traffic_program()
        with _ways(options.quick, rules) as ways, Progress(console=console, transient=True) as progress:
            task = progress.add_task("measuring", total=(plan.rounds + 1) * len(ways) * len(Traffic))
            rates = rounds.run(ways, list(Traffic), plan, program, lambda: progress.advance(task))
    except ClocheError as error:
        console.print(str(error), style="red")
        return 2
    made = report.report(described, plan, rates, _conditions(plan))
    report.show(made, console)
    if not (options.quick or options.no_save):
        kept.save_and_say("paths", made, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

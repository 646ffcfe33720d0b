"""``python -m benchmarks [--quick]``: measure paths in turns, print tables, and keep the numbers."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks import (
    building,
    firewalls,
    goals,
    kept,
    machine,
    paths,
    redirecting,
    report,
    rounds,
    runtime,
    samples,
    world,
)
from benchmarks.cloche_way import cloche
from benchmarks.paths import SkippedError, Way
from benchmarks.report import Notes, Spent
from benchmarks.rounds import PORT, Plan, Traffic
from cloche.errors import ClocheError

QUICK, WHOLE = (10, 0.1), (54, 0.3)
"""Rounds, and seconds of each measurement."""

QUICK_RULES, RULES = "1000", "1,1000,10000"
QUICK_KINDS = (Traffic.CRR, Traffic.RR, Traffic.STREAM)
IPTABLES_RULES = 1000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: bare veth against Cloche only, nothing kept"
    )
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement")
    last = (os.cpu_count() or 1) - 1
    parser.add_argument("--cpus", default=f"{last},{last}", help="processors of client and server: A,B")
    parser.add_argument("--rules", help=f"how many rules Cloche has to obey: N,N,... ({RULES})")
    parser.add_argument("--no-save", action="store_true", help="do not write a file of results")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    count, seconds = QUICK if options.quick else WHOLE
    client_cpu, server_cpu = (int(text) for text in options.cpus.split(","))
    return Plan(options.rounds or count, options.seconds or seconds, client_cpu, server_cpu)


def _peers() -> list[tuple[str, AbstractContextManager[Way]]]:
    """The ways that Cloche is compared with, beside the bare pair."""
    return [
        ("bridge", paths.linux_bridge()),
        ("routed + conntrack", firewalls.routed()),
        ("iptables-nft", firewalls.iptables("nft", IPTABLES_RULES, PORT)),
        ("iptables-legacy", firewalls.iptables("legacy", IPTABLES_RULES, PORT)),
        ("nft set", firewalls.nft_set(PORT)),
        (redirecting.REDIRECT, redirecting.redirect()),
    ]


@contextmanager
def _ways(quick: bool, rules: list[int]) -> Iterator[tuple[list[Way], list[str]]]:
    """The ways, and what had to be left out with the reason of each."""
    with ExitStack() as stack:
        ways, skipped = [stack.enter_context(paths.bare_veth())], []
        for name, peer in [] if quick else _peers():
            try:
                ways.append(stack.enter_context(peer))
            except SkippedError as reason:
                skipped.append(f"{name}: {reason}")
        ways += [stack.enter_context(cloche(count)) for count in rules]
        yield ways, skipped


def _spent(ways: list[Way], plan: Plan, program: Path, tick: Callable[[], None]) -> tuple[Spent, list[str]]:
    """Where the time of Cloche's ways goes, and what could not be learnt with the reason."""

    def measure(way: Way, traffic: Traffic) -> float:
        return rounds.measure(way, traffic, plan, program)

    ours = [way for way in ways if way.instance]
    hooks = runtime.hook_costs(ours, list(Traffic), plan.seconds, measure, tick)
    typical = [way for way in ours if way.name == goals.name(goals.GOAL_RULES)]
    if not typical:
        return Spent(hooks), [f"samples: no way with {goals.GOAL_RULES} rules"]
    try:
        return Spent(hooks, samples.sampled((ways[0], typical[0]), list(Traffic), plan, program, tick)), []
    except SkippedError as reason:
        return Spent(hooks), [f"samples: {reason}"]


def _conditions(plan: Plan, quick: bool) -> tuple[str, ...]:
    kinds = QUICK_KINDS if quick else tuple(Traffic)
    together = plan.client_cpu == plan.server_cpu
    every = (
        f"client and server share one processor ({plan.client_cpu})"
        if together
        else f"client on processor {plan.client_cpu}, server on {plan.server_cpu}",
        f"IPv4, MTU {paths.MTU}, TCP by {paths.congestion_control()}; "
        + "; ".join(
            f"{report.TITLES[kind]}: {words}" for kind, words in rounds.EXPLAINED.items() if kind in kinds
        ),
        "Cloche: rules by identity, CIDR and port range, half of them on either end (one: on the server), "
        f"both ends judged; {world.OTHERS} more endpoints, {world.SERVICES} services; events on and read, "
        "counters on",
    )
    if quick:
        return every
    return (
        *every,
        f"the bridge judges nothing: no netfilter; nor does {redirecting.REDIRECT}: it hands every "
        "packet to the other end unseen, the least that any program on that hook takes",
        "routed, iptables, nft: one host forwards between two veth pairs and tracks connections; what is "
        "established is accepted by the first rule, the rule that allows the traffic is the last; the set "
        f"has {firewalls.SET_ELEMENTS:,} (source, destination, protocol, port)",
    )


def _run(options: argparse.Namespace, plan: Plan, notes: Notes, console: Console) -> report.Report:
    """The whole run. Raises ClocheError where this machine cannot."""
    rules = [int(text) for text in (options.rules or (QUICK_RULES if options.quick else RULES)).split(",")]
    kinds = QUICK_KINDS if options.quick else tuple(Traffic)
    program, spent = building.traffic_program(), Spent()
    with (
        _ways(options.quick, rules) as (ways, skipped),
        rounds.serving(ways, plan, program),
        Progress(console=console, transient=True) as progress,
    ):
        task = progress.add_task("measuring", total=(plan.rounds + 1) * len(ways) * len(kinds))
        rates = rounds.run(ways, kinds, plan, program, lambda: progress.advance(task))
        if not options.quick:
            steps = (runtime.ROUNDS * len(rules) + 2 * samples.ROUNDS) * len(kinds)
            task = progress.add_task("where time goes", total=steps)
            spent, unknown = _spent(ways, plan, program, lambda: progress.advance(task))
            skipped += unknown
    return report.report(msgspec.structs.replace(notes, skipped=tuple(skipped)), plan, rates, spent)


def main() -> int:
    """Measure and report; 2 when this machine cannot."""
    options = _arguments()
    console = Console()
    if os.geteuid() != 0:
        console.print("benchmarks make network namespaces: run them as root", style="red")
        return 2
    for stopping in (signal.SIGINT, signal.SIGTERM):  # what was made is unmade, also when in the background
        signal.signal(stopping, lambda *_: sys.exit(130))
    plan = _plan(options)
    notes = Notes(machine.describe(), _conditions(plan, options.quick))
    spare = os.sched_getaffinity(0) - {plan.client_cpu, plan.server_cpu}
    if spare:  # whoever reads the events stays out of the way
        os.sched_setaffinity(0, spare)
    try:
        made = _run(options, plan, notes, console)
    except ClocheError as error:
        console.print(str(error), style="red")
        return 2
    report.show(made, console)
    if not (options.quick or options.no_save):
        kept.save_and_say("paths", made, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

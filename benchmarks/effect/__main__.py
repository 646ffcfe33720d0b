"""``python -m benchmarks.effect [--quick]``: ms from a change of policy to the first packet judged by it.

A real agent with its defaults, 100 pods, 10 000 rules; packets on eight pairs every 0.5 ms, TCP connections
among them; each change is asked for on the agent's socket. Needs root.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import command, town
from benchmarks.effect.changes import Outcome, flowing
from benchmarks.machine import Machine, describe
from benchmarks.quantiles import Spread, quantile, shown, spread
from benchmarks.report import COLOURS
from benchmarks.sandbox import sandbox
from benchmarks.scale import at_most
from cloche.agent.messages import Mode

GOAL_MS = 50.0
ROUNDS, QUICK_ROUNDS = 600, 18
"""Each forbids a pair and allows it again: two changes."""

STAGES = ("build", "attach", "compile", "write", "replay")
"""Of the agent, up to the flip."""


class Line(msgspec.Struct, frozen=True):
    """Changes of one kind: ms from the request to the first packet judged by it."""

    what: str
    kind: str
    forbids: bool
    count: int
    ms: Spread


class Stage(msgspec.Struct, frozen=True):
    """How long a stage took in ms: in half of the changes, and in the slowest hundredth at least."""

    name: str
    p50: float
    p99: float


class Report(msgspec.Struct, frozen=True):
    """A whole run. ``after_answer``: ms from the agent's answer, negative before it; ``gap_ms``: the longest
    that no packet was sent before one that counts; ``wrong``: packets judged by the old policy after one by
    the new; ``lost`` of ``steady``: packets of pairs that were allowed all the time."""

    version: int
    time: str
    machine: Machine
    goal_ms: float
    pods: int
    rules: int
    changes: int
    all: Spread
    cut: Spread
    after_answer: Spread
    gap_ms: float
    wrong: int
    lost: int
    steady: int
    loop_longest_block_ms: float
    lines: tuple[Line, ...]
    stages: tuple[Stage, ...]


def lines(outcomes: Sequence[Outcome]) -> Iterable[Line]:
    """Figures by what was changed, what was sent, and whether it was forbidden."""
    kinds = dict.fromkeys((found.what, found.kind, found.forbids) for found in outcomes)
    for what, kind, forbids in sorted(kinds):
        taken = [f.effect_ms for f in outcomes if (f.what, f.kind, f.forbids) == (what, kind, forbids)]
        yield Line(what, kind, forbids, len(taken), spread(taken))


def stages(outcomes: Sequence[Outcome]) -> Iterable[Stage]:
    """The time of each stage, and what is left of the whole."""
    rest = [found.effect_ms - sum(found.stages.get(name, 0.0) for name in STAGES) for found in outcomes]
    times = {name: [found.stages.get(name, 0.0) for found in outcomes] for name in STAGES}
    for name, taken in {**times, "request, queue, next packet": rest}.items():
        yield Stage(name, quantile(taken, 0.5), quantile(taken, 0.99))


def measure(rounds: int, console: Console) -> Report:
    """Start an agent, let packets flow and change policies. Raises ClocheError, RuntimeError."""
    machine, cpu = describe(), (os.cpu_count() or 1) - 1
    with Progress(console=console, transient=True) as progress, sandbox() as instance:
        task = progress.add_task("bringing up the pods", total=rounds)
        client = instance.start()
        client.apply(town.manifests(), Mode.REPLACE)
        progress.update(task, description="changing policies")
        with flowing(instance, client, cpu) as run:
            run.all(rounds, lambda: progress.advance(task))
            found, (gone, steady) = list(run.outcomes()), run.lost()
        block = client.status().loop_longest_block_ms
        client.close()
    return Report(
        version=1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        goal_ms=GOAL_MS,
        pods=town.PODS,
        rules=town.PODS * town.POLICIES_EACH * town.RULES_EACH,
        changes=len(found),
        all=spread([one.effect_ms for one in found]),
        cut=spread([one.effect_ms for one in found if one.forbids]),
        after_answer=spread([one.answer_ms for one in found]),
        gap_ms=max(one.gap_ms for one in found),
        wrong=sum(one.wrong for one in found),
        lost=gone,
        steady=steady,
        loop_longest_block_ms=block,
        lines=tuple(lines(found)),
        stages=tuple(stages(found)),
    )


def show(made: Report, console: Console) -> None:
    """Print the run."""
    table = Table(title=f"ms to the first packet judged by a change, {made.changes} changes")
    for title in ("change", "packets", "", "count", "p50", "p99"):
        table.add_column(title)
    for line in made.lines:
        way = "forbidden" if line.forbids else "allowed"
        table.add_row(
            line.what, line.kind, way, str(line.count), shown(line.ms.p50, 1), shown(line.ms.p99, 1)
        )
    console.print(table)
    conclusion = at_most(made.all.p99, made.goal_ms)
    console.print(
        f"all: p50 {shown(made.all.p50, 1)}, p99 {shown(made.all.p99, 1)} ms; goal {made.goal_ms:g}: "
        f"[{COLOURS[conclusion]}]{conclusion}[/]; from the answer: p50 {shown(made.after_answer.p50, 1)}; "
        f"judged wrongly after: {made.wrong}; lost of what was allowed: {made.lost} of {made.steady:,}; "
        f"longest gap {made.gap_ms:.1f} ms; agent's loop blocked {made.loop_longest_block_ms:.0f} ms at most",
        highlight=False,
    )
    for stage in made.stages:
        console.print(f"  {stage.name}: p50 {stage.p50:.1f}, p99 {stage.p99:.1f} ms", highlight=False)


def main() -> int:
    """Measure, print, keep; 2 when this machine cannot."""
    parser = command.parser("effect", __doc__, "a few changes")
    parser.add_argument("--rounds", type=int, help="how often a pair is forbidden and allowed")
    options = parser.parse_args()
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return command.run("effect", options, lambda console: measure(rounds, console), show)


if __name__ == "__main__":
    sys.exit(main())

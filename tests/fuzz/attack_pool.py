"""Many sites at once, one process for each processor; a difference is made small and printed as steps.

``python tests/fuzz/attack_pool.py --packets 1000000``; ``--replay FILE`` plays the steps of a file.
The steps of a difference, as JSON, belong into ``tests/fuzz/corpus/``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # run as a file: what pytest does by its configuration
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "kernel")]

from attack_run import Difference, Run, Script, new_engine
from attack_site import Change, Forget, Send, Step, Wait
from program_lab import inside, make_devices

from cloche.datapath import machine
from cloche.model.flow import Delivery, Entry
from cloche.model.reasons import Reason

SITE = 15_000
"""Packets on one site before the next one is made."""
REPLAYS = int(os.environ.get("CLOCHE_REPLAYS", "60"))
"""How often a difference is tried with fewer steps."""
KINDS = {"change": Change, "wait": Wait, "send": Send, "forget": Forget}
Seen = Counter[tuple[Reason, Delivery, Entry]]


class Share(NamedTuple):
    """Packets of one seed; ``sample``: the oracle judges one stretch in this many."""

    seed: int
    count: int
    sample: int


class Outcome(NamedTuple):
    """``sent``: packets; ``judged``: those that the oracle judged; ``untried``: too short for a test run."""

    sent: int
    judged: int
    untried: int
    seen: Seen
    failures: tuple[str, ...]


@contextmanager
def sites() -> Iterator[tuple[object, list[int]]]:
    """An engine, and devices in a namespace that the thread is in."""
    machine.mount_bpffs()
    namespace, devices = make_devices(6)
    engine = new_engine()
    try:
        with inside(namespace):
            yield engine, devices
    finally:
        engine.close()
        os.close(namespace)


def attack(count: int, seed: int, sample: int = 1, processes: int | None = None) -> Outcome:
    """Send ``count`` packets; what came of it. Seeds follow each other from ``seed`` on."""
    shares = [
        Share(seed + number, min(SITE, count - number * SITE), sample) for number in range(-(-count // SITE))
    ]
    outcomes = []
    workers = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for outcome in pool.map(_work, [shares[n::workers] for n in range(workers)]):
            outcomes.append(outcome)
    return total(outcomes)


def total(outcomes: list[Outcome]) -> Outcome:
    """All of them together."""
    seen: Seen = Counter()
    for outcome in outcomes:
        seen.update(outcome.seen)
    sums = [sum(outcome[n] for outcome in outcomes) for n in range(3)]
    return Outcome(*sums, seen, tuple(text for outcome in outcomes for text in outcome.failures))


def _work(shares: list[Share]) -> Outcome:
    outcomes = []
    with sites() as (engine, devices):
        for share in shares:
            run = Run(engine, devices)  # type: ignore[arg-type]
            script = Script(run, share.seed, share.sample)
            failures: tuple[str, ...] = ()
            try:
                script.go(share.count)
            except Difference as found:
                small = shrink(engine, devices, script.steps)
                failures = (f"seed {share.seed}, packet {script.packets}: {found}\n{packed(small)}\n",)
            outcomes.append(Outcome(script.packets, run.judged, run.untried, run.seen, failures))
            if failures:
                break
    return total(outcomes)


# --- steps to keep ---


def packed(steps: list[Step]) -> str:
    """Steps as JSON, one a line."""
    rows = []
    for one in steps:
        values = [value.hex() if isinstance(value, bytes) else value for value in one]
        rows.append(json.dumps([type(one).__name__.lower(), *values]))
    return "[\n" + ",\n".join(rows) + "\n]"


def unpacked(text: str) -> list[Step]:
    """The steps of ``packed``."""
    steps: list[Step] = []
    for kind, *values in json.loads(text):
        if kind == "send":
            values[1] = bytes.fromhex(values[1])
        steps.append(KINDS[kind](*values))
    return steps


def play(engine: object, devices: list[int], steps: list[Step]) -> str:
    """Play steps on a new site: the difference found, "" when there is none."""
    run = Run(engine, devices)  # type: ignore[arg-type]
    try:
        for one in steps:
            run.do(one)
    except Difference as found:
        return str(found)
    return ""


def shrink(engine: object, devices: list[int], steps: list[Step]) -> list[Step]:
    """Fewer steps with a difference still, by leaving out ever smaller runs of them."""
    begin = max((n for n, one in enumerate(steps) if isinstance(one, Forget)), default=0)
    best = [one for one in steps[:begin] if isinstance(one, Change | Wait)] + steps[begin:]
    if not play(engine, devices, best):
        return steps
    size, tries = len(best) // 2, 0
    while size and tries < REPLAYS:
        at = 0
        while at < len(best) - 1 and tries < REPLAYS:
            fewer = best[:at] + best[min(at + size, len(best) - 1) :]
            tries += 1
            if play(engine, devices, fewer):
                best = fewer
            else:
                at += size
        size //= 2
    return best


def report(outcome: Outcome) -> str:
    """What became of the packets, as text."""
    lines = [
        f"{outcome.sent} packets, {outcome.judged} judged by the oracle too, {outcome.untried} too short"
    ]
    for (reason, delivery, entry), count in sorted(outcome.seen.items()):
        lines.append(f"{count:10} {reason.shown:24} {delivery.name.lower():9} {entry.name.lower()}")
    return "\n".join([*lines, *outcome.failures])


def main() -> int:
    """0 when program and oracle agreed on everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=1, help="the oracle judges one stretch in this many")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--replay", type=Path, help="a file of steps")
    given = parser.parse_args()
    if given.replay:
        with sites() as (engine, devices):
            difference = play(engine, devices, unpacked(given.replay.read_text()))
        print(difference or "no difference")
        return 1 if difference else 0
    outcome = attack(given.packets, given.seed, given.sample, given.processes)
    print(report(outcome))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())

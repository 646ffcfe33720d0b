"""Many sites at once, one process for each processor; a difference is made small and printed as steps.

``python tests/fuzz/attack_pool.py --packets 1000000``, or ``--storms``; ``--replay FILE`` plays the steps of
a file. The steps of a difference, as JSON, belong into ``tests/fuzz/corpus/``.
"""

from __future__ import annotations

import argparse
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
    TESTS = Path(__file__).parents[1]
    sys.path[:0] = [str(TESTS), str(TESTS / "kernel"), str(TESTS.parent)]

from attack_run import BASES, VARIATIONS, Difference, Run, Script
from attack_site import CAPACITY
from attack_steps import Room, packed, play, smallest, unpacked
from attack_storm import Seen, compiled
from program_lab import inside, make_devices

from cloche.datapath import machine
from cloche.datapath.loader import OBJECT
from cloche.datapath.testrun import Engine

SITE = 15_000
"""Packets on one site before the next one is made."""
STORMY_SITE = 10 * BASES * (1 + VARIATIONS)
"""The same where storms are sent."""


class Share(NamedTuple):
    """Packets of one seed."""

    seed: int
    count: int
    storms: bool


class Outcome(NamedTuple):
    """``sent``: packets; ``judged``: those that the oracle judged; ``untried``: too short for a test run."""

    sent: int
    judged: int
    untried: int
    seen: Seen
    failures: tuple[str, ...]


@contextmanager
def sites(path: Path = OBJECT) -> Iterator[Room]:
    """An engine of an object, and devices in a namespace that the thread is in."""
    machine.mount_bpffs()
    namespace, devices = make_devices(6)
    engine = Engine(CAPACITY, path)
    try:
        with inside(namespace):
            yield Room(engine, devices)
    finally:
        engine.close()
        os.close(namespace)


def attack(count: int, seed: int, storms: bool = False, processes: int | None = None) -> Outcome:
    """Send ``count`` packets, the oracle judging, or in storms, seeds from ``seed`` on; what came of it."""
    compiled()
    size = STORMY_SITE if storms else SITE
    shares = [Share(seed + at // size, min(size, count - at), storms) for at in range(0, count, size)]
    workers = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return total(list(pool.map(_work, [shares[n::workers] for n in range(workers)])))


def total(outcomes: list[Outcome]) -> Outcome:
    """All of them together."""
    seen: Seen = Counter()
    for outcome in outcomes:
        seen.update(outcome.seen)
    sums = [sum(outcome[n] for outcome in outcomes) for n in range(3)]
    return Outcome(*sums, seen, tuple(text for outcome in outcomes for text in outcome.failures))


def _work(shares: list[Share]) -> Outcome:
    outcomes = []
    with sites() as room:
        for share in shares:
            outcomes.append(one_share(room, share))
            if outcomes[-1].failures:
                break
    return total(outcomes)


def one_share(room: Room, share: Share) -> Outcome:
    """Send the packets of one seed, up to the first that makes a difference."""
    run = Run(*room)
    script = Script(run, share.seed, share.storms)
    failures: tuple[str, ...] = ()
    try:
        script.go(share.count)
    except Difference as found:
        told = f"seed {share.seed}, packet {run.sent}: {found}"
        failures = (f"{told}\n{packed(smallest(room, script.steps))}\n",)
    return Outcome(run.sent, run.judged, run.untried, run.sender.seen(), failures)


def report(outcome: Outcome) -> str:
    """What became of the packets, as text."""
    lines = [f"{outcome.sent} packets, {outcome.judged} judged by the oracle, {outcome.untried} too short"]
    for (reason, delivery, entry), count in sorted(outcome.seen.items()):
        lines.append(f"{count:10} {reason.shown:24} {delivery.name.lower():9} {entry.name.lower()}")
    return "\n".join([*lines, *outcome.failures])


def main() -> int:
    """0 when program and oracle agreed on everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storms", action="store_true", help="each frame varied many times, no oracle asked")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--replay", type=Path, help="a file of steps")
    given = parser.parse_args()
    if given.replay:
        with sites() as room:
            difference = play(room, unpacked(given.replay.read_text())).wrong
        print(difference or "no difference")
        return 1 if difference else 0
    outcome = attack(given.packets, given.seed, given.storms, given.processes)
    print(report(outcome))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())

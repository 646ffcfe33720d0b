"""Attacks at length: ``make fuzz`` (root). Packets that the oracle judges, packets in storms, and documents.

``--judged``, ``--storms`` and ``--documents`` say how many; 0 leaves a part out. Runs of at least
``FULL_PACKETS`` or ``FULL_DOCUMENTS`` are kept below benchmarks/results/, and docs/attacks.md is made of the
last ones (``page``). Ends with status 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/kernel")]

import manifest_run  # noqa: E402
from attack_pool import Outcome, attack, report, total  # noqa: E402
from attack_report import Became, Documents, Packets, Sent  # noqa: E402
from benchmarks import kept  # noqa: E402
from benchmarks.machine import Machine, describe  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn  # noqa: E402

from cloche.datapath.loader import OBJECT  # noqa: E402

FULL_PACKETS, FULL_DOCUMENTS = 100_000_000, 1_000_000
SLICE = {"judged": 150_000, "storms": 10_000_000, "documents": 10_000}
"""How many at once, between two steps of the bar."""
APART = 1_000_000
"""Seeds between two slices."""
T = TypeVar("T")


def slices(name: str, count: int, progress: Progress, send: Callable[[int, int], T]) -> Iterator[T]:
    """``count`` in slices, each with a seed of its own, up to where the caller has enough."""
    bar = progress.add_task(name, total=count)
    for number, at in enumerate(range(0, count, SLICE[name])):
        size = min(SLICE[name], count - at)
        yield send(size, 1 + number * APART)
        progress.advance(bar, size)


def packets(count: int, progress: Progress, storms: bool) -> tuple[Outcome, float]:
    """Attacks one way, up to the first slice in which something was wrong; and how long they took."""
    begin, outcomes = time.monotonic(), []
    for outcome in slices(
        "storms" if storms else "judged", count, progress, lambda size, seed: attack(size, seed, storms)
    ):
        outcomes.append(outcome)
        if outcome.failures:
            break
    return total(outcomes), time.monotonic() - begin


def became(judged: Outcome, storms: Outcome) -> list[Became]:
    """What became of the packets of both ways."""
    return [
        Became(one[0].shown, one[1].name.lower(), one[2].name.lower(), judged.seen[one], storms.seen[one])
        for one in sorted(judged.seen.keys() | storms.seen.keys())
    ]


def now() -> str:
    """The time, as it is kept."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def all_packets(given: argparse.Namespace, progress: Progress, machine: Machine) -> Packets:
    """Both ways."""
    judged, seconds = packets(given.judged, progress, storms=False)
    storms, more = packets(given.storms, progress, storms=True)
    sent = [Sent(*one[:3], round(took, 1)) for one, took in ((judged, seconds), (storms, more))]
    program = hashlib.sha256(OBJECT.read_bytes()).hexdigest()
    progress.console.print(report(total([judged, storms])), markup=False, highlight=False)
    return Packets(
        1, now(), machine, program, *sent, became(judged, storms), judged.failures + storms.failures
    )


def all_documents(count: int, progress: Progress, machine: Machine) -> Documents:
    """Spoilt manifests, up to the first slice in which something was wrong."""
    begin, said, wrong = time.monotonic(), Counter[str](), ()
    for outcome in slices("documents", count, progress, manifest_run.attack):
        said.update(outcome.said)
        wrong = outcome.failures
        if wrong:
            break
    progress.console.print(dict(said), *wrong, markup=False, highlight=False)
    seconds = round(time.monotonic() - begin, 1)
    return Documents(1, now(), machine, sum(said.values()), dict(said), seconds, wrong)


def main() -> int:
    """0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judged", type=int, default=2_000_000)
    parser.add_argument("--storms", type=int, default=98_000_000)
    parser.add_argument("--documents", type=int, default=1_000_000)
    given = parser.parse_args()
    console, machine, wrong = Console(), describe(), False
    columns = ("{task.description:<12}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        if given.judged or given.storms:
            made = all_packets(given, progress, machine)
            wrong |= bool(made.wrong)
            if given.judged + given.storms >= FULL_PACKETS:
                kept.save_and_say("attacks", made, console)
        if given.documents:
            read = all_documents(given.documents, progress, machine)
            wrong |= bool(read.wrong)
            if given.documents >= FULL_DOCUMENTS:
                kept.save_and_say("manifests", read, console)
    console.print("make docs makes docs/attacks.md of what was kept")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python tests/fuzz/page.py [--check]``: docs/attacks.md, from the last full runs of ``make fuzz``."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from attack_report import Documents, Packets  # noqa: E402
from benchmarks.kept import RESULTS  # noqa: E402
from benchmarks.page import on  # noqa: E402

from generated import write_or_check  # noqa: E402

PAGE = ROOT / "docs/attacks.md"
JUDGING = Path(__file__).resolve().parent / "storm/judging.c"
HEAD = """# Under attack

Made by `tests/fuzz/page.py` from the last full runs of `make fuzz`; do not edit.

Frames are ordinary traffic, answers and errors to what passed, crafted attacks, noise, and mutations of all
of these, through links of endpoints, of nobody, through the stack and from an uplink, while policies,
services and endpoints change and time passes. They reach the program by test run, in two ways.

**Judged**: each answer is compared with the oracle's: verdict, reason, direction, delivery, new addresses.
**Storms**: each frame is varied many times over by C (bits, bytes, lengths, fields, other senders, with
lengths and checksums mended in a share of them), and each answer is held against what no frame may do, below.
What is wrong is told with steps that show it again. In each run of the suite a million packets are judged and
five million sent in storms.
"""
BECAME = {
    "nowhere": "dropped",
    "endpoint": "delivered",
    "stack": "handed to the stack",
    "back": "answered",
    "pass": "let on",
}
CAME = {"endpoint": "from links", "host": "from the host itself", "stack": "through the stack or an uplink"}


def packets(run: Packets, file: str) -> Iterator[str]:
    """What a run of packets came to."""
    yield f"\n## Packets\n{on(run.machine, file, run.time)} Program: SHA-256 `{run.program[:16]}`.\n"
    yield "| Way | Sent | Judged by the oracle | Too short for a test run | Minutes | A second |"
    yield "|---|---|---|---|---|---|"
    for name, one in (("judged", run.judged), ("storms", run.storms)):
        rate = one.sent / one.seconds if one.seconds else 0
        numbers = f"{one.sent:,} | {one.judged:,} | {one.untried:,}"
        yield f"| {name} | {numbers} | {one.seconds / 60:.1f} | {rate:,.0f} |"
    yield "\nNothing was wrong.\n" if not run.wrong else "\nWhat was wrong:\n"
    yield from (f"- {what.splitlines()[0]}" for what in run.wrong)
    yield from table(run)


def table(run: Packets) -> Iterator[str]:
    """What became of the packets."""
    judged, storms = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    entries = Counter[str]()
    for one in run.became:
        judged[one.reason, one.delivery] += one.judged
        storms[one.reason, one.delivery] += one.storms
        entries[one.entry] += one.judged + one.storms
    yield "| Reason | What became of it | Judged | In storms |\n|---|---|---|---|"
    for reason, delivery in judged:
        numbers = f"{judged[reason, delivery]:,} | {storms[reason, delivery]:,}"
        yield f"| {'allowed' if reason == 'none' else reason} | {BECAME[delivery]} | {numbers} |"
    yield "\n" + ", ".join(f"{entries[name]:,} {words}" for name, words in CAME.items()) + "."


def documents(run: Documents, file: str) -> Iterator[str]:
    """What a run of documents came to."""
    yield f"\n## Documents\n{on(run.machine, file, run.time)}\n"
    said = ", ".join(f"{count:,} {word}" for word, count in sorted(run.said.items()))
    yield (
        f"{run.documents:,} spoilt manifests in {run.seconds / 60:.0f} minutes: {said}. Each was refused "
        "with findings that say where, or was a world whose verdicts are the same by the compiled tables and "
        "by the oracle, or a world too big for the tables."
    )
    yield "\nNothing was wrong." if not run.wrong else "\nWhat was wrong:\n"
    yield from (f"- `{what.splitlines()[0]}`" for what in run.wrong)


def law() -> Iterator[str]:
    """What is held against each answer, as the source says it."""
    yield "\n## What no frame may do\nLooked for after every packet, of both ways (`tests/fuzz/storm/`).\n"
    found = re.findall(r'^\t\[(\w+)\] = "(.*)",$', JUDGING.read_text(), re.MULTILINE)
    yield from (f"- {words}" for name, words in found if name not in ("FINE", "UNTRIED"))


def page() -> str:
    """The page as it should be now."""
    lines = [HEAD.rstrip("\n")]
    for kind, shape, tell in (("attacks", Packets, packets), ("manifests", Documents, documents)):
        runs = sorted(RESULTS.glob(f"{kind}-*.json"))
        if runs:
            lines += tell(msgspec.json.decode(runs[-1].read_bytes(), type=shape), runs[-1].name)
        else:
            lines.append(f"\nNo full run of {kind} has been kept yet.")
    return "\n".join([*lines, *law()]) + "\n"


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, page()))

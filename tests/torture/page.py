"""``python tests/torture/page.py [--check]``: docs/torture.md, from the last full run of ``make torture``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]

from benchmarks.kept import RESULTS  # noqa: E402
from benchmarks.page import on  # noqa: E402

from cloche.datapath.faults import VARIABLE, Point  # noqa: E402
from generated import write_or_check  # noqa: E402
from torture.outcome import Altered, Outcome, Report  # noqa: E402

PAGE = ROOT / "docs/torture.md"
HEAD = """# Under faults

Made by `tests/torture/page.py` from the last full run of `make torture`; do not edit.

Traffic runs through every fault, in both families, directly and by a service: flows that go on, and new UDP
and TCP flows, some forty a second each way. Every packet has a number. **Lost** is a packet on an allowed
way that did not arrive, or that TCP had to send again; **made** is a new flow that got its answer without;
**arrived** is a packet on a forbidden way that did: from a pod that no policy allows, to and from pods that
are half made or half gone. **Leaked** is whatever instance, kernel and disk have more or less of than
without the fault: pins, programs that use the instance's maps, links, devices, routes, namespaces, files,
processes, descriptors. **Same** are starts after which the kernel's tables were those of the model on
disk, compiled anew.
"""
COLUMNS = "| Fault | Rounds | Sent | Lost | Tried | Made | Forbidden | Arrived | Leaked | Starts | Same |"
OUTSIDE = """
## Altered from outside
Each of these is done to a running instance that looks after itself as often as one does that nobody
configured. **Found** is the longest until an event said what was found, **whole** until the maps were those
of the model again and the web pod was reached. Meanwhile flows go on between pods that it does not concern:
**sent** to **arrived** count those, and what everybody sends for a while once it is mended. (Cells, atoms,
generation and gateway concern everybody: there only what comes afterwards is counted so.) **Closed** are
packets that were lost until then on the ways that the alteration touches, **unmade** new flows there that had
no answer, **opened** packets that passed where it opens a way. Where all three are 0, it was mended before
anybody met it, or nothing on its way asks for what was altered.
"""
OUTSIDE_COLUMNS = (
    "| Altered | Rounds | Found, s | Whole, s | Sent | Lost | Tried | Made | Forbidden | Arrived "
    "| Closed | Unmade | Opened |"
)
POINTS = """
## Fault points
`{variable}=POINT` or `POINT:N` in the environment of the agent: the process that passes that place for the
N-th time kills itself with SIGKILL. Without the variable nothing of it happens.

| Point | What has just happened there |
|---|---|
"""


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """One line for each fault."""
    yield COLUMNS
    yield "|---" * COLUMNS.count(" |") + "|"
    for one in outcomes:
        numbers = (one.rounds, one.sent, one.lost, one.tried, one.made)
        numbers += (one.forbidden, one.arrived, one.leaked, one.restarts, one.same)
        yield f"| {one.fault} | " + " | ".join(f"{number:,}" for number in numbers) + " |"


def outside(altered: list[Altered]) -> Iterator[str]:
    """One line for each alteration."""
    yield OUTSIDE
    yield OUTSIDE_COLUMNS
    yield "|---" * OUTSIDE_COLUMNS.count(" |") + "|"
    for one in altered:
        numbers = (
            one.sent,
            one.lost,
            one.tried,
            one.made,
            one.forbidden,
            one.arrived,
            one.closed,
            one.unmade,
            one.opened,
        )
        times = f"{one.rounds} | {one.found_s:.1f} | {one.whole_s:.1f}"
        yield f"| {one.what} | {times} | " + " | ".join(f"{number:,}" for number in numbers) + " |"


def result(report: Report, file: str) -> Iterator[str]:
    """What a run came to."""
    yield f"\n{on(report.machine, file, report.time)} {report.seconds / 60:.0f} minutes.\n"
    yield from table(report.outcomes)
    if report.altered:
        yield from outside(report.altered)
    wrong = [what for one in (*report.outcomes, *report.altered) for what in one.wrong]
    yield "\nNothing else was wrong.\n" if not wrong else "\nWhat was wrong:\n"
    yield from (f"- {what.strip().splitlines()[-1]}" for what in wrong)
    yield "\n## Repeated\nTests of the suite that make one fault each, again and again.\n"
    yield "| Fault | Tests | Rounds | Passed | Failed |\n|---|---|---|---|---|"
    for one in report.repeated:
        yield f"| {one.fault} | `{one.tests}` | {one.rounds} | {one.passed} | {one.failed} |"
    failed = [which for one in report.repeated for which in one.which]
    yield from (f"\nFailed: `{which}`" for which in failed)


def points() -> Iterator[str]:
    """The fault points, with what the source says of them."""
    yield POINTS.format(variable=VARIABLE).rstrip("\n")
    yield from (f"| `{point.word}` | {point.said} |" for point in Point)


def page() -> str:
    """The page as it should be now."""
    runs = sorted(RESULTS.glob("torture-*.json"))
    lines = [HEAD.rstrip("\n")]
    if runs:
        lines += result(msgspec.json.decode(runs[-1].read_bytes(), type=Report), runs[-1].name)
    else:
        lines.append("\nNo full run has been kept yet.")
    return "\n".join([*lines, *points()]) + "\n"


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, page()))

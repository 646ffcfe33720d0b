"""``python -m benchmarks.page [--check]``: docs/results.md and its picture, from the last saved runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks import page_clock, report, scale
from benchmarks.classify.__main__ import Results as Classified
from benchmarks.figures import Conclusion, Figure
from benchmarks.machine import Machine
from benchmarks.report import Line, Report
from benchmarks.rounds import Traffic

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs/results.md", ROOT / "docs/results.svg"
BAR, GAP, LEFT, SCALE = 18, 6, 190, 380
T = TypeVar("T")
COLOURS = {True: "#1a73e8", False: "#9aa0a6"}


def last(kind: str) -> Path:
    """The newest saved run of a benchmark. Raises IndexError when there is none."""
    return sorted(report.RESULTS.glob(f"{kind}-*.json"))[-1]


def load(kind: str, of: type[T]) -> tuple[T, str]:
    """The newest run, and the name of its file."""
    path = last(kind)
    return msgspec.json.decode(path.read_bytes(), type=of), path.name


def on(machine: Machine, file: str, time: str) -> str:
    """What a run was measured on, in a sentence."""
    where = "a virtual machine" if machine.virtual else "a machine"
    return (
        f"Measured {time[:10]} on {where} with {machine.processors} processors ({machine.processor}), "
        f"{machine.memory_mib // 1024} GiB, Linux {machine.kernel}, load {machine.load_before:.1f} before. "
        f"All numbers: `benchmarks/results/{file}`."
    )


def paths(made: Report, file: str) -> Iterator[str]:
    """Rates between two endpoints, as ratios."""
    yield "## Between two endpoints on one host\n"
    yield f"{on(made.machine, file, made.time)} Ratios to a bare veth pair, {made.rounds} rounds in turns.\n"
    yield "![Ratios](results.svg)\n"
    yield "| Traffic | Way | Rate | Ratio | 95 % | Goal |\n|---|---|---|---|---|---|"
    for line in made.lines:
        unit, name = report.UNITS[line.traffic]
        goal = f"{made.goal}: {line.ratio.against(made.goal)}" if line.way.startswith("cloche") else ""
        yield (
            f"| {report.TITLES[line.traffic]} | {line.way} | {line.rate.median / unit:.2f} {name} "
            f"| {line.ratio.median:.3f} | {line.ratio.low:.3f}..{line.ratio.high:.3f} | {goal} |"
        )
    yield ""
    yield from (f"- {condition}" for condition in made.conditions)


def picture(made: Report) -> str:
    """Bars with their intervals, one group for each kind of traffic."""
    rows, at = [], 10
    for kind in Traffic:
        rows.append(f'<text x="10" y="{at + 12}" font-weight="bold">{report.TITLES[kind]}</text>')
        at += BAR
        for line in (line for line in made.lines if line.traffic is kind):
            rows += bar(line, at)
            at += BAR + GAP
        at += GAP
    goal = LEFT + SCALE * made.goal
    rows.append(f'<line x1="{goal}" y1="0" x2="{goal}" y2="{at}" stroke="#d93025" stroke-dasharray="4 3"/>')
    rows.append(f'<text x="{goal + 4}" y="{at + 12}" fill="#d93025">goal {made.goal}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + SCALE + 110}" height="{at + 20}" '
    return head + 'font-family="sans-serif" font-size="12">\n' + "\n".join(rows) + "\n</svg>\n"


def bar(line: Line, at: int) -> list[str]:
    """One bar, its interval and its number."""
    low, middle, high = (
        LEFT + SCALE * value for value in (line.ratio.low, line.ratio.median, line.ratio.high)
    )
    colour, centre = COLOURS[line.way.startswith("cloche")], at + BAR / 2
    return [
        f'<text x="20" y="{at + 13}">{line.way}</text>',
        f'<rect x="{LEFT}" y="{at}" width="{middle - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{low:.1f}" y1="{centre}" x2="{high:.1f}" y2="{centre}" stroke="black" stroke-width="2"/>',
        f'<text x="{max(middle, high) + 6:.1f}" y="{at + 13}">{line.ratio.median:.3f}</text>',
    ]


def spread(found: Figure, digits: int = 2) -> str:
    """A median and its interval."""
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}..{found.high:.{digits}f})"


def classification() -> Iterator[str]:
    """ns to classify a first packet."""
    made, file = load("classify", Classified)
    yield "\n## A first packet's classification, one direction\n"
    yield (
        f"{on(made.machine, file, made.time)} The program's own code on random packets, every class and "
        "every atom as likely as any other, less an empty loop; ns, median and 95 % interval. The goal is "
        "for the most rules.\n"
    )
    yield "| Rules | Classes | Atoms | Spread over all | One packet alone | Goal |\n|---|---|---|---|---|---|"
    for line in made.lines:
        goal = ""
        if line is made.lines[-1]:
            goal = f"{made.goal_ns:g} ns: {scale.at_most(line.spread_ns, made.goal_ns)}"
        yield (
            f"| {line.rules:,} | {line.classes:,} | {line.atoms:,} | {spread(line.spread_ns, 0)} "
            f"| {spread(line.hot_ns, 0)} | {goal} |"
        )


def compiling() -> Iterator[str]:
    """The compiler in big worlds."""
    made, file = load("scale", scale.Report)
    yield "\n## Compiling\n"
    yield (
        f"{on(made.machine, file, made.time)} From decoded objects in memory to the indexes of the whole "
        "world and the complete tables of one host with 110 endpoints; each compile in its own process.\n"
    )
    yield "| Pods | Policies | Namespaces | Seconds | Peak GB | Goal |\n|---|---|---|---|---|---|"
    for line in made.lines:
        goal = ""
        if line.crowd == made.goal_world:
            memory = scale.at_most(line.peak_bytes, made.goal_bytes)
            goal = f"{made.goal_seconds:g} s: {scale.at_most(line.seconds, made.goal_seconds)}; "
            goal += f"{made.goal_bytes / 1e9:g} GB: {memory}"
        yield (
            f"| {line.pods:,} | {line.policies:,} | {line.crowd.namespaces:,} | {spread(line.seconds)} "
            f"| {line.peak_bytes.median / 1e9:.2f} | {goal} |"
        )
    yield "\nOne change in the last of these worlds, ms:\n"
    yield "| Change | Where | p50 | p99 |\n|---|---|---|---|"
    for change in made.lines[-1].changes:
        where = "a namespace with an endpoint here" if change.here else "elsewhere"
        yield f"| {change.what} | {where} | {change.p50:.2f} | {change.p99:.2f} |"


HEAD = f"""# Results

What `make bench` measured last; this page is made of its files by `python -m benchmarks.page`. Each part runs
by itself too: `python -m benchmarks`, and `.classify`, `.scale`, `.effect`, `.services`, `.profile`,
`.footprint` behind that. A goal is {Conclusion.MET} when the whole
95 % interval meets it, {Conclusion.MISSED} when none of it does, {Conclusion.UNDECIDED} otherwise. Numbers
of different machines are not compared. How the flow table was chosen: [another page](design/flow-table.md).
"""


def files() -> dict[Path, str]:
    """The page and its picture."""
    made, file = load("paths", Report)
    parts = [HEAD, *paths(made, file), *classification(), *compiling()]
    parts += page_clock.sections(on)
    return {PAGE: "\n".join(parts) + "\n", PICTURE: picture(made)}


def main() -> int:
    """Write both files, or with ``--check`` say which is stale; 1 when one is."""
    made = files()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: python -m benchmarks.page")
        return 1 if stale else 0
    for path, text in made.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.page [--check]``: docs/results.md and its pictures, from the last saved runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import page_clock, page_paths, scale
from benchmarks.classify.__main__ import Results as Classified
from benchmarks.figures import Conclusion
from benchmarks.kept import load
from benchmarks.machine import Machine
from benchmarks.page_paths import spread
from benchmarks.report import Report

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE, TIME_PICTURE = (ROOT / "docs" / f"results{end}" for end in (".md", ".svg", "-time.svg"))


def on(machine: Machine, file: str, time: str) -> str:
    """What a run was measured on, in a sentence."""
    where = "a virtual machine" if machine.virtual else "a machine"
    return (
        f"Measured {time[:10]} on {where} with {machine.processors} processors ({machine.processor}), "
        f"{machine.memory_mib // 1024} GiB, Linux {machine.kernel}, load {machine.load_before:.1f} before. "
        f"All numbers: `benchmarks/results/{file}`."
    )


CLASSIFICATION_NEEDS = """
Addresses, prefixes and cells are parts of it, each done alone on the same packets: the hash of known
addresses where the address may be in it, the tree of blocks, and atom, row, head and cell
([how](design/prefixes.md)). What the whole takes beyond them is its own instructions, and waiting for memory:
alone, one packet's look-ups overlap with the next one's. With one packet again and again all is in the
nearest cache."""
CLASSIFICATION = ("Rules", "Classes", "Atoms", "Spread over all", "One packet alone")


def classification() -> Iterator[str]:
    """ns to classify a first packet."""
    made, file = load("classify", Classified)
    yield "\n## A first packet's classification, one direction\n"
    yield (
        f"{on(made.machine, file, made.time)} The program's own code on random packets, every class and "
        "every atom as likely as any other, less an empty loop; ns, median and 95 % interval. The goal is "
        "for the most rules.\n"
    )
    columns = (*CLASSIFICATION, "Addresses", "Prefixes", "Cells", "Goal")
    yield f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    for line in made.lines:
        goal = ""
        parts = " | ".join(spread(part, 0) for part in line.parts_ns)
        if line is made.lines[-1]:
            goal = f"{made.goal_ns:g} ns: {scale.at_most(line.spread_ns, made.goal_ns)}"
        yield (
            f"| {line.rules:,} | {line.classes:,} | {line.atoms:,} | {spread(line.spread_ns, 0)} "
            f"| {spread(line.hot_ns, 0)} | {parts} | {goal} |"
        )
    yield CLASSIFICATION_NEEDS


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
`.footprint` behind that. A goal is {Conclusion.MET} when the whole 95 % interval meets it,
{Conclusion.MISSED} when none of it does, {Conclusion.UNDECIDED} otherwise, or when the interval is wider than
the goal's margin. Numbers of different machines are not compared. How the flow table was chosen:
[another page](design/flow-table.md).
"""


def files() -> dict[Path, str]:
    """The page and its pictures."""
    made, file = load("paths", Report)
    paths = page_paths.section(made, on(made.machine, file, made.time))
    parts = [HEAD, *paths, *classification(), *compiling(), *page_clock.sections(on)]
    pictures = {
        PICTURE: page_paths.ratios_picture(made),
        TIME_PICTURE: page_paths.time_picture(made),
    }
    return {PAGE: "\n".join(parts) + "\n", **pictures}


def main() -> int:
    """Write all files, or with ``--check`` say which is stale; 1 when one is."""
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

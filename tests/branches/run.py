"""Which branches of the C program the attacks and the kernel tests take: each ``if`` must go both ways.

``python tests/branches/run.py`` (root, some minutes) compiles a copy of the program in which every ``if``
counts its outcomes, runs the suites on it and lists what never was; ``--write`` makes docs/branches.md of it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutation"))

from run_copies import copy_sources  # noqa: E402
from why import KINDS, Kind, kind_of  # noqa: E402

PAGE = ROOT / "docs/branches.md"
SUITES = (("tests/fuzz/test_packets.py", "tests/fuzz/test_storm.py"), ("tests/kernel",))
APART = ("-k", "not a_wrong_program_is_found and not a_wrong_program_is_told")
"""Tests that build objects of their own, of which the counters know nothing."""
PACKETS, STORM = "200000", "2000000"
COUNTERS = """
volatile __u32 branches[%d];
#define BRANCH(n) ({ __asm__ volatile("" : : "i"(n)); branches[n] = branches[n] + 1; })
#define COUNTED(n, ...) ({ int taken_; if (__VA_ARGS__) { BRANCH(2 * n + 1); taken_ = 1; } \\
	else { BRANCH(2 * n); taken_ = 0; } taken_; })
"""
IF = re.compile(r"\bif \(")


class Branch(NamedTuple):
    """One ``if`` of the sources."""

    file: str
    line: int
    condition: str


def closing(text: str, at: int) -> int:
    """Where the parenthesis that opens at ``at`` closes."""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place
    raise ValueError("parentheses do not match")


def instrumented(text: str, file: str, branches: list[Branch]) -> str:
    """The source with every ``if`` counted, added to ``branches``."""
    out, last = [], 0
    for found in IF.finditer(text):
        begin = found.end() - 1
        end = closing(text, begin)
        out.append(text[last:begin])
        out.append(f"(COUNTED({len(branches)}, {text[begin + 1 : end]}))")
        condition = " ".join(text[begin + 1 : end].split())
        branches.append(Branch(file, text.count("\n", 0, begin) + 1, condition))
        last = end + 1
    return "".join([*out, text[last:]])


def instrument(folder: Path) -> list[Branch]:
    """Make the sources in a folder count their branches."""
    branches: list[Branch] = []
    for path in sorted(folder.iterdir()):
        path.write_text(instrumented(path.read_text(), path.name, branches))
    header = folder / "helpers.h"
    head, mark, tail = header.read_text().rpartition("#endif")
    header.write_text(head + COUNTERS % (2 * len(branches)) + mark + tail)
    return branches


def run(copy: Path, counts: Path, *command: str) -> None:
    """Python on the copy; ends the program when it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": ":".join(str(copy / part) for part in ("src", "tools", "tests/branches")),
        "CLOCHE_BRANCHES": str(counts),
        "CLOCHE_PACKETS": PACKETS,
        "CLOCHE_STORM": STORM,
    }
    done = subprocess.run([sys.executable, *command], cwd=copy, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}")


def total(counts: Path, size: int) -> list[int]:
    """The counters of all processes together."""
    sums = [0] * size
    for path in counts.iterdir():
        for number, count in enumerate(array("I", path.read_bytes())[:size]):
            sums[number] += count
    return sums


def missed(branches: list[Branch], sums: list[int]) -> Iterator[tuple[Branch, str]]:
    """Each outcome that never was."""
    for number, branch in enumerate(branches):
        for outcome, word in ((1, "never true"), (0, "never false")):
            if not sums[2 * number + outcome]:
                yield branch, word


def page(branches: list[Branch], sums: list[int]) -> str:
    """What was reached and what was not, as Markdown."""
    never = list(missed(branches, sums))
    taken = 2 * len(branches) - len(never)
    lines = [
        "# Branches of the program",
        "",
        "Every `if` of `bpf/` has two outcomes. Written by `make branches`, which counts them while the",
        f"attacks ({int(PACKETS):,} packets judged, {int(STORM):,} in storms) and the kernel tests run.",
        "",
        f"**{taken} of {2 * len(branches)} outcomes reached.** The others, by why:",
    ]
    for kind in (*KINDS, None):
        rows = [(branch, word) for branch, word in never if kind_of(branch.condition, word) == kind]
        if rows:
            lines += section(kind, rows)
    return "\n".join(lines) + "\n"


def section(kind: Kind | None, rows: list[tuple[Branch, str]]) -> Iterator[str]:
    """What was not reached, of one kind or for no reason that is known."""
    yield f"\n## {kind.title if kind else 'Not reached by these tests'}"
    if kind:
        yield f"{kind.says}\n"
    yield "| Where | Condition | |\n|---|---|---|"
    for branch, word in rows:
        condition = branch.condition.replace("|", "\\|")
        yield f"| `{branch.file}` {branch.line} | `{condition}` | {word} |"


def main() -> int:
    """0 when the suites passed; what was not reached is said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="branches-") as folder:
        copy, counts = Path(folder) / "copy", Path(folder) / "counts"
        counts.mkdir()
        copy_sources(copy)
        branches = instrument(copy / "bpf")
        run(copy, counts, "tools/build_bpf.py", "--force")
        for suite in SUITES:
            run(copy, counts, "-m", "pytest", "-p", "counting", *APART, *suite)
        text = page(branches, total(counts, 2 * len(branches)))
    print(text)
    if given.write:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

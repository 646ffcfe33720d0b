"""Applies each seeded wrong program to a copy of the sources and looks whether the suite catches it.

``python tests/mutation/run.py`` (root, some 15 minutes); ``--only WORD`` for some; ``--write`` makes
docs/mutants.md; ``--keep`` puts the frames that told a mutant into the fuzzers' corpus. A mutant counts as
caught when a test fails, not when it does not build or load.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import oracle_mutants
import program_mutants
import table_mutants
from mutant import Mutant
from run_copies import copy_sources

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
PAGE = ROOT / "docs/mutants.md"
GROUPS = {
    "The program (C)": program_mutants.MUTANTS,
    "The compiler": table_mutants.MUTANTS,
    "The oracle": oracle_mutants.MUTANTS,
}
PACKETS = "20000"
"""Attacks tried on a mutant; those kept in the corpus come first."""
LOADS = """
from cloche.datapath import machine
from cloche.datapath.testrun import Engine
machine.mount_bpffs()
Engine()
"""


QUICK = """
from hypothesis import Phase, settings
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), deadline=None)
settings.load_profile("mutants")
"""
"""A conftest for the copy: that something fails is enough, not the smallest example of it."""


class Caught(NamedTuple):
    """``by``: the test that failed, "" when none did; ``trouble``: why there was nothing to catch; ``told``:
    the frames that told, as the fuzzer printed them."""

    by: str
    trouble: str = ""
    told: str = ""


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python on the copy's sources, not on those that are installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy / 'src'}:{copy / 'tools'}",
        "CLOCHE_PACKETS": PACKETS,
        "CLOCHE_REPLAYS": os.environ.get("CLOCHE_REPLAYS", "0"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def judge(copy: Path, mutant: Mutant) -> Caught:
    """Make the copy wrong, test it, make it right again."""
    path = copy / mutant.file
    right = path.read_text()
    if not mutant.applies(copy):
        return Caught("", "its text is not there once")
    path.write_text(right.replace(mutant.before, mutant.after))
    try:
        return _test(copy, mutant)
    finally:
        path.write_text(right)
        if mutant.file.startswith("bpf/"):
            python(copy, "tools/build_bpf.py", "--force")


def _test(copy: Path, mutant: Mutant) -> Caught:
    if mutant.file.startswith("bpf/"):
        if python(copy, "tools/build_bpf.py", "--force").returncode:
            return Caught("", "does not build")
        if python(copy, "-c", LOADS).returncode:
            return Caught("", "the verifier refuses it")
    elif python(copy, "-c", "import cloche.cli.main").returncode:
        return Caught("", "does not import")
    for test in mutant.tests:
        done = python(
            copy, "-m", "pytest", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", *test.split()
        )
        if done.returncode == 1:
            failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
            by = failed[0].split(" ")[1] if failed else test
            return Caught(by, told=_steps(done.stdout))
        if done.returncode != 0:
            return Caught("", f"{test} could not run: {done.stdout[-300:]}")
    return Caught("")


def _steps(output: str) -> str:
    """The first list of steps in what pytest printed."""
    lines = [line[1:].strip() for line in output.splitlines() if line.startswith("E")]
    if "[" not in lines:
        return ""
    begin = lines.index("[")
    return "\n".join(lines[begin : lines.index("]", begin) + 1]) + "\n"


def page(found: dict[str, list[tuple[Mutant, Caught]]]) -> str:
    """The list and the score, as Markdown."""
    rows = [row for rows in found.values() for row in rows]
    caught = sum(bool(result.by) for _, result in rows)
    text = [
        "# Seeded wrong programs",
        "",
        "Each line is a change that makes program, compiler or oracle wrong, and the first test to notice.",
        "Written by `make mutants`; the changes themselves are in `tests/mutation/`.",
        "",
        f"**{caught} of {len(rows)} caught.**",
    ]
    for title, results in found.items():
        text += ["", f"## {title}", "| What is wrong | Where | Caught by |", "|---|---|---|"]
        for mutant, result in results:
            by = f"`{result.by.split('[')[0]}`" if result.by else f"**not caught** {result.trouble}".strip()
            text.append(f"| {mutant.fact} | `{mutant.file}` | {by} |")
    return "\n".join(text) + "\n"


def main() -> int:
    """0 when every mutant was caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="those whose file or fact has this in it")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--keep", action="store_true", help=f"write into {CORPUS.relative_to(ROOT)}")
    given = parser.parse_args()
    if given.keep:
        os.environ["CLOCHE_REPLAYS"] = "60"
    found: dict[str, list[tuple[Mutant, Caught]]] = {}
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        copy_sources(copy)
        (copy / "conftest.py").write_text(QUICK)
        for title, mutants in GROUPS.items():
            for mutant in mutants:
                if given.only not in f"{mutant.file} {mutant.fact}":
                    continue
                begin = time.monotonic()
                result = judge(copy, mutant)
                missed += not result.by
                if given.keep and result.told:
                    name = "".join(c if c.isalnum() else "-" for c in mutant.fact.lower())
                    (CORPUS / f"{name}.json").write_text(result.told)
                found.setdefault(title, []).append((mutant, result))
                word = result.by or f"NOT CAUGHT {result.trouble}"
                print(f"{time.monotonic() - begin:5.1f} s  {mutant.file}: {mutant.fact}: {word}", flush=True)
    if given.write:
        PAGE.write_text(page(found))
    print(f"{missed} not caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

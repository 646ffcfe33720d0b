"""A copy of the sources that may be changed and tested apart."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("src", "bpf", "tests", "tools", "examples", "docs", "benchmarks", "pyproject.toml", "README.md")


def copy_sources(to: Path) -> None:
    """What tests need, in a folder of its own."""
    to.mkdir(exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, to / name)

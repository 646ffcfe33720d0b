"""Writes a file that is made of something else, or says that it is stale: what every such tool ends with."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(path: Path, text: str) -> int:
    """Write ``text``, or with ``--check`` among the arguments only compare; the exit status, 1 for stale."""
    if "--check" not in sys.argv[1:]:
        path.write_text(text)
        return 0
    if path.exists() and path.read_text() == text:
        return 0
    print(f"{path.relative_to(ROOT)} is stale: run make docs", file=sys.stderr)
    return 1

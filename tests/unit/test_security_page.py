"""The threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs/security.md").read_text()
NAME = re.compile(r"`(?:([a-z0-9_]+/[a-z0-9_]+\.py)::)?(test_\w+)`")


def test_every_test_that_the_page_names_exists() -> None:
    """Each name is a function of its file, or of the file last named in its line."""
    missing, found = [], 0
    for line in PAGE.splitlines():
        file = ""
        for named, function in NAME.findall(line):
            file = named or file
            found += 1
            path = TESTS / file
            if not file or not path.is_file() or f"def {function}(" not in path.read_text():
                missing.append(f"{file}::{function}")
    assert found > 40
    assert not missing


def test_every_row_is_shown_by_a_test() -> None:
    """No threat stands in a table without a test beside it."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| It could")]
    assert len(rows) > 25
    assert all(NAME.search(row) for row in rows)

"""A seeded wrong program: one change of a source file that the suite must catch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """``fact``: what is wrong with it; in ``file`` the only ``before`` is made ``after``; ``tests``: what is
    tried to catch it, in this order, until something does."""

    fact: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def applies(self, root: Path) -> bool:
        """True when the file has the text to replace exactly once."""
        return (root / self.file).read_text().count(self.before) == 1

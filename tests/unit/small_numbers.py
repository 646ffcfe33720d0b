"""The compiler with a small number where it has a large one, so that what seldom happens does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from cloche.compiler import levelling, words

USUAL, SOON = words.LEVEL_AFTER, 3
"""Generations after which words are levelled: as it is, and so few that every history gets there."""


@contextmanager
def levelling_after(generations: int) -> Iterator[None]:
    """Words are levelled when they are this many generations old."""
    with patch.object(words, "LEVEL_AFTER", generations), patch.object(levelling, "LEVEL_AFTER", generations):
        yield

"""Versioned words: what to write so that a number counts from the next generation on."""

from __future__ import annotations

from typing import NamedTuple

from cloche.tables.schema import Versioned, settled

LEVEL_AFTER = 1 << 14
"""Generations after which a word's old number must be gone."""


class Step(NamedTuple):
    """From the active generation (0: none yet) to the next one."""

    now: int
    next: int

    def turned(self, word: Versioned | None, target: int, absent: int = 0) -> Versioned:
        """The word that says ``target`` from the next generation on, and until then what it says now.

        ``absent``: what counts now where there is no word yet. Before the first generation nothing counts.
        """
        if self.now == 0:
            return self.hidden(word, target)
        said = absent if word is None else word.at(self.now)
        if said == target:
            return self.hidden(word, target)
        return Versioned(said, target, self.next & 0xFFFF)

    def hidden(self, word: Versioned | None, target: int) -> Versioned:
        """The word for a place that says this already, or that no packet reads before the next generation."""
        kept = word is not None and word.at(self.now) == word.at(self.next) == target
        return word if word is not None and kept and not ancient(word, self.now) else settled(target)


def aging(word: Versioned) -> bool:
    """True when a word must be levelled one day."""
    return word.old != word.new


def ancient(word: Versioned, now: int) -> bool:
    """True when a word must be levelled before the next flip."""
    return aging(word) and since_generation(word, now) <= now + 1 - LEVEL_AFTER


def since_generation(word: Versioned, now: int) -> int:
    """The full number of the generation since which the word's new number counts, if it was lately."""
    return now + 1 - ((now + 1 - word.since) & 0xFFFF)

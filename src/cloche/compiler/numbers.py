"""Numbers and ranges that are given out and taken back. What was freed rests until a grace period has
passed, so nothing still on its way meets it under a new meaning.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


class FullError(Exception):
    """``what`` does not fit; the caller says what it costs."""

    def __init__(self, what: str, needed: int, capacity: int) -> None:
        self.what, self.needed, self.capacity = what, needed, capacity
        super().__init__(what)


class Numbers:
    """The numbers ``first`` up to (not with) ``limit``; the lowest free one is given out first."""

    def __init__(self, what: str, first: int, limit: int) -> None:
        self.what, self._first, self._limit = what, first, limit
        self._next = first
        self._free: list[int] = []
        self._resting: list[int] = []
        self._taken: list[int] = []

    def occupy(self, used: Iterable[int]) -> None:
        """These are in use already (at the start)."""
        taken = set(used)
        self._next = max(taken, default=self._first - 1) + 1
        self._free = sorted((n for n in range(self._first, self._next) if n not in taken), reverse=True)

    def take(self, count: int) -> list[int]:
        """Some free numbers. Raises FullError when there are not so many."""
        given = []
        for _ in range(count):
            if self._free:
                given.append(self._free.pop())
            else:
                given.append(self._next)
                self._next += 1
        self._taken += given
        if self._next > self._limit:
            capacity = self._limit - self._first
            raise FullError(self.what, self._next - self._first, capacity)
        return given

    def undo(self) -> None:
        """Give back what was taken since the last ``keep``."""
        self._free = sorted({*self._free, *self._taken}, reverse=True)
        self._taken.clear()
        while self._free and self._free[0] == self._next - 1:
            self._free.pop(0)
            self._next -= 1

    def keep(self, released: Iterable[int]) -> None:
        """What was taken stays taken; ``released`` rests until a grace period."""
        self._taken.clear()
        self._resting += released

    def settle(self) -> None:
        """A grace period has passed."""
        if self._resting:
            self._free = sorted([*self._free, *self._resting], reverse=True)
            self._resting.clear()


class Ranges:
    """Ranges of units out of 0..limit, first fit."""

    def __init__(self, what: str, first: int, limit: int) -> None:
        self.what, self._first, self._limit = what, first, limit
        self._free: list[tuple[int, int]] = [(first, limit - first)] if limit > first else []
        self._resting: list[tuple[int, int]] = []
        self._before: list[tuple[int, int]] | None = None

    def occupy(self, used: Iterable[tuple[int, int]]) -> None:
        """These (first, length) are in use already (at the start)."""
        at, self._free = self._first, []
        for start, length in sorted(used):
            if start > at:
                self._free.append((at, start - at))
            at = max(at, start + length)
        if at < self._limit:
            self._free.append((at, self._limit - at))

    def take(self, length: int) -> int:
        """Where ``length`` units are free. Raises FullError when nowhere."""
        if self._before is None:
            self._before = list(self._free)
        for index, (start, free) in enumerate(self._free):
            if free >= length:
                if free == length:
                    del self._free[index]
                else:
                    self._free[index] = (start + length, free - length)
                return start
        left = sum(free for _, free in self._free)
        raise FullError(self.what, self._limit - self._first - left + length, self._limit - self._first)

    def undo(self) -> None:
        """Give back what was taken since the last ``keep``."""
        if self._before is not None:
            self._free, self._before = self._before, None

    def keep(self, released: Iterable[tuple[int, int]]) -> None:
        """What was taken stays taken; ``released`` (first, length) rest until a grace period."""
        self._before = None
        self._resting += released

    def settle(self) -> None:
        """A grace period has passed."""
        for piece in self._resting:
            insort(self._free, piece)
        if self._resting:
            self._resting.clear()
            self._join()

    def _join(self) -> None:
        joined: list[tuple[int, int]] = []
        for start, length in self._free:
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((start, length))
        self._free = joined


def take_over(votes: Mapping[K, Mapping[int, int]], dead: Iterable[int]) -> dict[K, int]:
    """Which of the numbers that lost their meaning each newcomer takes over: where most of what it stands for
    had that number before. ``votes``: for each newcomer how much of it had which number."""
    free = set(dead)
    order = list(votes)
    wishes = [
        (-count, number, place)
        for place, key in enumerate(order)
        for number, count in votes[key].items()
        if number in free
    ]
    given: dict[K, int] = {}
    for _, number, place in sorted(wishes):
        if number in free and order[place] not in given:
            given[order[place]] = number
            free.discard(number)
    return given

"""When packets began to be judged by a change, from what was sent and what arrived. Pure; times in ns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple


class Asked(NamedTuple):
    """A change that forbids or allows one pair, when it was asked for and answered, and until when it held:
    the next one was asked for then."""

    forbids: bool
    requested: int
    answered: int
    until: int


class Judged(NamedTuple):
    """The first packet that the change decided: ``at``, when it was sent, and ``gap``, how long nothing had
    been sent before it. ``wrong``: packets after it that were judged otherwise."""

    at: int
    gap: int
    wrong: int


def messages(sent: Sequence[int]) -> int:
    """How many were sent: the times are ascending, and zeros follow."""
    low, high = 0, len(sent)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if sent[middle] else (low, middle)
    return low


def judged(sent: Sequence[int], got: Sequence[int], change: Asked) -> Judged:
    """By when each message was sent, and when it arrived (0: never). What arrives once it is no longer
    forbidden, as TCP sends again, was stopped all the same.

    Raises ValueError when no packet was judged by the change while it held.
    """
    count = messages(sent)
    first = bisect_left(sent, change.requested, 0, count)
    end = bisect_left(sent, change.until, first, count)
    passed = [0 < got[n] < (change.until if change.forbids else got[n] + 1) for n in range(first, end)]
    new = not change.forbids
    if new not in passed:
        raise ValueError("no packet was judged by the change")
    at = passed.index(new)
    before = sent[first + at - 1] if first + at else change.requested
    return Judged(sent[first + at], sent[first + at] - before, passed[at:].count(not new))


def lost(sent: Sequence[int], got: Sequence[int], since: int, until: int) -> int:
    """How many messages sent in that time never arrived."""
    count = messages(sent)
    first, end = bisect_left(sent, since, 0, count), bisect_left(sent, until, 0, count)
    return sum(not got[n] for n in range(first, end))

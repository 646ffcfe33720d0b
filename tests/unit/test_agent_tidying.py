"""When the worker lets Python's cycle collector walk, and over what."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from cloche.agent.errands import Audit, Audited, Encode, Propose
from cloche.agent.worker import tidy

ENDED, BEGUN = Audited((), True, 1, ""), Audited((), False, 1, "")


class Cycle:
    """An object that refers to itself, so that only a walk frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As in the worker: the collector walks only when it is told to."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def dropped() -> weakref.ref[Cycle]:
    """A cycle that nobody has any more."""
    return weakref.ref(Cycle())


def test_what_a_change_leaves_is_freed_once_it_is_encoded() -> None:
    """Behind a change that is no large one the new objects are walked."""
    gone = dropped()
    tidy(Encode(), None, grown=False)
    assert gone() is None


@pytest.mark.parametrize(
    ("errand", "last", "grown"),
    [(Propose(), None, False), (Audit(0.0), BEGUN, False), (Encode(), None, True)],
    ids=["a change", "comparing goes on", "a large change"],
)
def test_nothing_is_walked_while_something_waits(errand: object, last: object, grown: bool) -> None:
    """Before a change is encoded, between two slices of comparing and behind a large change: no walk."""
    kept = dropped()
    tidy(errand, last, grown=grown)
    assert kept() is not None


def test_the_end_of_a_round_of_comparing_walks_all_and_never_again() -> None:
    """What outlived the walk behind its change and was dropped later is freed at the end of a round; what
    lives then is walked no more."""
    old, alive = Cycle(), Cycle()
    freed, frozen = weakref.ref(old), weakref.ref(alive)
    tidy(Encode(), None, grown=False)
    del old
    tidy(Encode(), None, grown=False)
    assert freed() is not None
    tidy(Audit(0.0), ENDED, grown=False)
    assert freed() is None
    del alive
    tidy(Audit(0.0), ENDED, grown=False)
    assert frozen() is not None

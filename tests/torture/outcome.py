"""What a fault came to, whatever the fault: the same few numbers, and what was wrong in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from benchmarks.machine import Machine

from torture.wire import Tally


class Counts(msgspec.Struct, kw_only=True):
    """What traffic came to.

    ``sent``, ``lost``: packets on allowed ways. ``tried``, ``made``: new flows there. ``forbidden``,
    ``arrived``: packets where none may pass.
    """

    sent: int = 0
    lost: int = 0
    tried: int = 0
    made: int = 0
    forbidden: int = 0
    arrived: int = 0

    def add(self, tally: Tally) -> None:
        """Count the traffic of one round."""
        for name in Counts.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(tally, name))

    @property
    def clean(self) -> bool:
        """True when nothing was lost, and nothing passed."""
        return self.made == self.tried and not (self.lost or self.arrived)


class Outcome(Counts):
    """One fault, done ``rounds`` times, and its traffic.

    ``leaked``: things that are there, or missing, without reason. ``restarts``: starts after which tables
    were compared with the model compiled anew, ``same``: how many of them were equal. ``wrong``: what was not
    as it should be, in words; empty: nothing.
    """

    fault: str
    rounds: int = 0
    leaked: int = 0
    restarts: int = 0
    same: int = 0
    wrong: list[str] = []

    def say(self, what: str) -> None:
        """Note that something is wrong."""
        self.wrong.append(f"{self.fault}: {what}")

    @property
    def fine(self) -> bool:
        """True when nothing was lost, passed, leaked or different."""
        return self.clean and self.same == self.restarts and not (self.leaked or self.wrong)


class Altered(Counts):
    """One alteration from outside, done ``rounds`` times; its traffic: elsewhere meanwhile, and everywhere
    afterwards.

    ``found_s``: the longest until it was said; ``whole_s``: until all was as before. ``closed``: packets that
    were lost meanwhile on the ways that it touches, ``unmade``: new flows there that had no answer,
    ``opened``: packets that passed.
    """

    what: str
    rounds: int = 0
    found_s: float = 0.0
    whole_s: float = 0.0
    closed: int = 0
    unmade: int = 0
    opened: int = 0
    wrong: list[str] = []

    def met(self, tallies: Iterable[Tally], found_s: float, whole_s: float) -> None:
        """Count a round: the traffic that it touched, and how long it lasted."""
        self.rounds += 1
        self.found_s, self.whole_s = max(self.found_s, found_s), max(self.whole_s, whole_s)
        for tally in tallies:
            self.closed += tally.lost
            self.unmade += tally.tried - tally.made
            self.opened += tally.arrived

    def say(self, what: str) -> None:
        """Note that something is wrong."""
        self.wrong.append(f"{self.what}: {what}")

    @property
    def fine(self) -> bool:
        """True when it was found and mended in time, and nothing else was lost or passed."""
        return self.clean and not self.wrong


def complaints(outcomes: Iterable[Outcome | Altered], said: Sequence[str] = ()) -> list[str]:
    """Everything that is not fine, for a test to show; empty when all is."""
    found = []
    for one in outcomes:
        if not one.fine:
            found.append(str(one))
    return [*found, *said] if found else []


class Repeated(msgspec.Struct, frozen=True):
    """Tests of one fault, run ``rounds`` times: how many passed and failed in all, and which failed."""

    fault: str
    tests: str
    rounds: int
    passed: int
    failed: int
    which: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """A whole run of ``make torture``."""

    version: int
    time: str
    machine: Machine
    rounds: int
    seconds: float
    outcomes: list[Outcome]
    repeated: list[Repeated]
    altered: list[Altered] = []

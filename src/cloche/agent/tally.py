"""How far the agent is with something that takes long, for whoever asks for its status meanwhile."""

from __future__ import annotations


class Tally:
    """Steps done of steps in all; one thread counts, any may look."""

    def __init__(self) -> None:
        self.what, self.done, self.total = "", 0, 0

    def begin(self, what: str, total: int) -> None:
        """Start to count something else; ``what`` is for people, like "attaching endpoints"."""
        self.what, self.done, self.total = what, 0, total

    def step(self) -> None:
        """One more is done."""
        self.done += 1

    def at(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self.done, self.total = done, total

    def end(self) -> None:
        """Nothing is being done any more."""
        self.what, self.done, self.total = "", 0, 0

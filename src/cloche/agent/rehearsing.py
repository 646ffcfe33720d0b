"""The worker's part in replay: it holds the model, so it chooses the packets and asks the oracle."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cloche.agent.errands import Rehearsal, Rehearse
from cloche.analysis.replay import Replay
from cloche.model.state import Event
from cloche.tables.schema import Put, Tables, Write

CELLS = ("cells", "heads")


class Rehearser:
    """Takes in what is compiled when it is first asked about it, so that compiling never waits for it."""

    def __init__(self, on: bool, host: str, seed: int) -> None:
        """``on``: replay is wanted; else nothing is kept. ``host``, ``seed``: as of ``Replay``."""
        self._replay = Replay(host, seed) if on else None
        self._noted: list[tuple[Sequence[Event], Sequence[Write]]] = []

    def note(self, events: Sequence[Event], writes: Sequence[Write]) -> None:
        """A change was compiled. Its cells are left out: they are asked about by their rows."""
        if self._replay is not None:
            self._noted.append((events, [w for w in writes if not (isinstance(w, Put) and w.map in CELLS)]))

    def rehearse(self, errand: Rehearse, tables: Tables) -> Rehearsal:
        """The next packets. ``tables``: as they are when everything compiled is written."""
        replay = self._replay
        if replay is None:
            return Rehearsal((), 0.0, True)
        begin = time.perf_counter()
        for events, writes in self._noted:
            replay.learn(events, writes, tables)
        self._noted.clear()
        if errand.active:
            replay.flipped()
        cases = tuple(replay.take(errand.seconds, errand.most))
        return Rehearsal(cases, (time.perf_counter() - begin) * 1000, replay.done)

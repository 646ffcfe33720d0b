"""The worker's comparison of the maps with what was written to them, a slice at a time between changes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cloche.compiler import Compiler
from cloche.datapath.audit import Altered, Auditor
from cloche.datapath.pins import opened_maps, pin_directory
from cloche.errors import ClocheError
from cloche.tables.schema import Write


class Audits:
    """Goes on where it was; the pinned maps are opened when it is first asked."""

    def __init__(self, instance: str, compiler: Compiler) -> None:
        self._instance, self._compiler = instance, compiler
        self._auditor: Auditor | None = None
        self._steps: Iterator[list[Altered]] | None = None

    def look(self, seconds: float) -> tuple[list[Altered], bool]:
        """What was found within some ``seconds``, and whether that was the end of a pass.

        Raises ClocheError, OSError when the maps cannot be read.
        """
        until = time.perf_counter() + seconds
        steps = self._steps or self._opened().steps(self._compiler.tables)
        self._steps = steps
        while time.perf_counter() < until:
            step = next(steps, None)
            if step is None:
                self._steps = None
                return [], True
            if step:
                return step, False
        return [], False

    def mend(self, found: list[Altered]) -> tuple[tuple[Write, ...], str]:
        """The writes that mend it, in a new generation, and that one's digest."""
        change = self._compiler.update((), anew=True)
        return (*(one.write for one in found), *change.writes), change.digest

    def _opened(self) -> Auditor:
        if self._auditor is None:
            maps = opened_maps(pin_directory(self._instance))
            if maps is None:
                raise ClocheError(f"nothing is pinned for instance {self._instance}")
            self._auditor = Auditor(maps)
        return self._auditor

"""A stop-watch for the stages of a change."""

from __future__ import annotations

import time


class Laps:
    """How long each stage took, in ms."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self.ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The stage that ends now."""
        now = time.perf_counter()
        self.ms[stage] = round(self.ms.get(stage, 0.0) + (now - self._last) * 1000, 3)
        self._last = now

    def total(self) -> dict[str, float]:
        """All stages, and ``total``."""
        return {**self.ms, "total": round((time.perf_counter() - self._begin) * 1000, 3)}

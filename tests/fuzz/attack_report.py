"""What runs of ``make fuzz`` came to, as it is kept in benchmarks/results/."""

from __future__ import annotations

import msgspec
from benchmarks.machine import Machine


class Sent(msgspec.Struct, frozen=True):
    """Packets of one way. ``judged``: those that the oracle judged; ``untried``: too short for a test run."""

    sent: int
    judged: int
    untried: int
    seconds: float


class Became(msgspec.Struct, frozen=True):
    """How many packets had this reason, delivery and entry, by both ways."""

    reason: str
    delivery: str
    entry: str
    judged: int
    storms: int


class Packets(msgspec.Struct, frozen=True):
    """A run of attacks on the program. ``program``: the object's SHA-256; ``wrong``: with steps."""

    version: int
    time: str
    machine: Machine
    program: str
    judged: Sent
    storms: Sent
    became: list[Became]
    wrong: tuple[str, ...]


class Documents(msgspec.Struct, frozen=True):
    """A run of attacks by manifests. ``said``: how many were refused, a world, too big."""

    version: int
    time: str
    machine: Machine
    documents: int
    said: dict[str, int]
    seconds: float
    wrong: tuple[str, ...]

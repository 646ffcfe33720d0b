"""What ``attest`` says of a host, and what the agent and the process that attests say to each other."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cloche.agent.disk import Attached
from cloche.config import Config
from cloche.model.topology import Host


class Attested(msgspec.Struct, frozen=True):
    """GET /v1/attest: what the kernel holds against what the model, compiled anew, asks for.

    ``exact``: the host enforces exactly ``generation``. ``kernel`` and ``model`` are canonical hashes of
    either. ``differences`` are the first few, in words, ``count`` how many there are. Times in ms.
    """

    exact: bool
    generation: int
    kernel: str
    model: str
    differences: tuple[str, ...]
    count: int
    read_ms: float
    compile_ms: float
    tries: int = 1


class Snapshot(NamedTuple):
    """What should be in the kernel now: ``kept`` as the worker encoded it, and who is attached."""

    config: Config
    host: Host
    kept: bytes
    attached: tuple[Attached, ...]
    generation: int


class Read(NamedTuple):
    """The maps have been read: was anything written meanwhile? Answered with ``Judge`` or a new snapshot."""


class Judge(NamedTuple):
    """Nothing was written: compile and compare."""

"""What the process that makes the traffic is told and tells, and what its packets say."""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

PACKET = struct.Struct("!4sBHHQ")
"""Mark, kind, way, round, number: every packet of ours says which one it is."""
MARK = b"tort"
ASKS, ANSWERS = 0, 1
PORT = 7000
"""Where everybody who may be reached listens; nothing else does."""


class Way(NamedTuple):
    """From a network namespace to an address; ``target``: the namespace that has it.

    ``steady``: one flow that goes on. ``anew``: a new flow each time, by UDP and TCP. Of a way that is not
    ``allowed`` nothing may arrive.
    """

    source: str
    target: str
    address: str
    allowed: bool
    steady: bool = True
    anew: bool = True


class Passers(NamedTuple):
    """Pods that come and go; their namespaces begin with ``prefix``.

    Each sends to the ``sinks`` (addresses) from its first moment on; from ``source`` everything is sent to
    all ``addresses``, whoever has them by then. None of it may arrive, unless they are ``allowed``: then each
    of them should be heard.
    """

    prefix: str
    source: str
    sinks: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    allowed: bool = False


class Open(NamedTuple):
    """Begin."""

    ways: tuple[Way, ...]
    passers: tuple[Passers, ...] = ()
    every: float = 0.002
    """Seconds between two packets of a steady flow."""
    anew_every: float = 0.025
    """Seconds between two new flows of a way."""


class Mark(NamedTuple):
    """A new round begins: what is sent from now on counts for it. Answered with its number."""


class End(NamedTuple):
    """Send no more, wait so many seconds for what is under way, and answer with ``Totals``."""

    late: float


class Tally(msgspec.Struct):
    """What was sent in one round, and what came of it.

    ``sent`` and ``lost`` are packets on allowed ways; ``tried`` and ``made`` new flows there, each with an
    answer; ``forbidden`` packets on ways that are not allowed, ``arrived`` how many of them did.
    """

    sent: int = 0
    lost: int = 0
    tried: int = 0
    made: int = 0
    forbidden: int = 0
    arrived: int = 0


class Totals(msgspec.Struct):
    """The rounds, and the first few things that went wrong, in words. ``longest_gap_ms``: how long the
    sender itself was kept from running. Of each kind of passers, ``sent_from``: from how many something was
    sent; ``heard``: how many of the allowed ones were heard."""

    rounds: list[Tally]
    wrong: list[str]
    longest_gap_ms: float
    sent_from: list[int]
    heard: list[int]

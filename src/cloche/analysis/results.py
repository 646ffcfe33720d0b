"""What the questions answer, as values that are also the JSON of the command line (version 1)."""

from __future__ import annotations

import msgspec

VERSION = 1


class BackendVerdict(msgspec.Struct, frozen=True, order=True):
    """What policy says towards some of a service's backends (``namespace/name``, else ``address``)."""

    verdict: str
    egress: str
    ingress: str
    backends: tuple[str, ...]


class Pair(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the matrix. Verdicts are ``allow`` or ``deny``; ``port`` as people write it.

    ``family`` (``ipv4``, ``ipv6``) only where the families differ. A service is written
    ``service/namespace/name`` and has ``backends``, by what policy says of each; without any, ``reason`` is
    ``no-backend``. ``live``: what real packets did, where they were sent.
    """

    source: str
    destination: str
    port: str
    verdict: str
    egress: str
    ingress: str
    family: str | None = None
    live: str | None = None
    reason: str | None = None
    backends: tuple[BackendVerdict, ...] = ()
    assumed: bool = False
    """True when the verdict hangs on an address that was given out here, as the input had none."""


class Matrix(msgspec.Struct, frozen=True):
    """All pairs, sorted by source, destination, port and family."""

    version: int
    pairs: tuple[Pair, ...]


class RuleText(msgspec.Struct, frozen=True):
    """A rule by its policy's key and index (-1: the policy's isolation itself), and ``file:line``."""

    policy: str
    index: int
    origin: str


class NearestText(msgspec.Struct, frozen=True):
    """The rule that came nearest to allowing, and which of its fields missed."""

    policy: str
    index: int
    origin: str
    missed: tuple[str, ...]


class PolicyText(msgspec.Struct, frozen=True):
    """A policy's key and ``file:line``."""

    policy: str
    origin: str


class DirectionAnswer(msgspec.Struct, frozen=True):
    """One direction's verdict and why. ``subjects`` are the endpoints judged, none where nobody's policy
    counts; ``subject`` is the one that is judged, empty for several or none.

    ``note`` says what else decided: the subject's own host, an address that no known endpoint has.
    """

    verdict: str
    subject: str
    isolated_by: tuple[PolicyText, ...]
    rule: RuleText | None
    nearest: NearestText | None
    note: str = ""
    subjects: tuple[str, ...] = ()


class FlowAnswer(msgspec.Struct, frozen=True):
    """One distinct answer, with an example of addresses; ``reason`` as in the list of reasons.

    ``sources`` and ``destinations`` are whom it is about: pods, or ``address`` where no pod has it.
    ``families`` are those it holds for; ``backends`` those of a service that it is about. ``addresses``
    is how many pairs of addresses it stands for. ``note``: what policy does not decide. ``assumed``: it
    hangs on an address that was given out here.
    """

    verdict: str
    reason: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    families: tuple[str, ...]
    backends: tuple[str, ...]
    example_source: str
    example_destination: str
    addresses: int
    egress: DirectionAnswer
    ingress: DirectionAnswer
    note: str = ""
    assumed: bool = False


class FlowExplanation(msgspec.Struct, frozen=True):
    """Every distinct answer to one question; ``verdict`` is ``allow`` only if all are."""

    version: int
    source: str
    destination: str
    port: str
    verdict: str
    answers: tuple[FlowAnswer, ...]

"""What agent and worker say to each other. The agent asks one thing at a time; each has its answers."""

from __future__ import annotations

from typing import NamedTuple

from cloche.agent.messages import Refusal, ShownClass
from cloche.config import Config
from cloche.errors import Finding
from cloche.model.address import Address
from cloche.model.state import Event
from cloche.model.topology import Attachment, Endpoint
from cloche.orchestrators.sandbox import Manifest
from cloche.tables.schema import Tables, Write

AT_ONCE = 256
"""Writes or events in one message, so that no one step of the agent's loop is long."""


class Begin(NamedTuple):
    """Start from this; ``previous`` is what the kernel holds, ``generation`` the highest ever used.

    ``addresses`` are what attached endpoints had, by key, so that they keep them.
    """

    config: Config
    host_addresses: tuple[Address, ...]
    manifests: tuple[Manifest, ...]
    attachments: tuple[Attachment, ...]
    addresses: tuple[tuple[str, tuple[Address, ...]], ...]
    previous: Tables
    generation: int


class Propose(NamedTuple):
    """What would this request change? ``body`` is an encoded ApplyRequest, or DeleteRequest."""

    body: bytes
    delete: bool


class Compile(NamedTuple):
    """Make the writes of what was proposed, with these endpoints attached and those no longer."""

    attached: tuple[Attachment, ...]
    detached: tuple[str, ...]


class Commit(NamedTuple):
    """What was compiled is active."""


class Abort(NamedTuple):
    """Forget what was proposed."""


class AskClasses(NamedTuple):
    """Which classes are there?"""


class Plan(NamedTuple):
    """What a request needs before it is compiled: endpoints to attach (an old attachment of the same key
    goes first), keys to detach."""

    attach: tuple[Endpoint, ...]
    detach: tuple[str, ...]
    findings: tuple[Finding, ...]


class Events(NamedTuple):
    """Some of the model events of the change."""

    events: tuple[Event, ...]


class Writes(NamedTuple):
    """Some of the change's writes, in order."""

    writes: tuple[Write, ...]


class Compiled(NamedTuple):
    """The change is whole: its generation (unchanged when there was nothing to write) and its digest."""

    generation: int
    digest: str
    compile_ms: float


class Committed(NamedTuple):
    """The manifests that are now active, encoded for the disk."""

    manifests: tuple[Manifest, ...]


class Classes(NamedTuple):
    """The answer to ``AskClasses``."""

    classes: tuple[ShownClass, ...]


class Refused(NamedTuple):
    """It cannot be done; nothing was changed in the worker either."""

    refusal: Refusal

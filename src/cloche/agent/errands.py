"""What agent and worker say to each other. The agent asks one thing at a time; each has its answers."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from cloche.agent.disk import Attached
from cloche.agent.messages import ApplyRequest, DeleteRequest, Refusal
from cloche.agent.wanted import Waiting
from cloche.analysis.replay import Case
from cloche.config import Config
from cloche.errors import Finding
from cloche.model.state import Event
from cloche.model.topology import Endpoint, Host
from cloche.tables.schema import Flip, Put, Remove, RuleOrigin, Write

T = TypeVar("T")
TOLD = frozenset(("rules", "endpoints"))
"""Of these maps the loop hears what is written."""

AT_ONCE = 256
"""Writes or events in one message, so that no one step of the agent's loop is long."""


class Begin(NamedTuple):
    """Start from this, and from what the pinned maps hold: nobody writes in them until you answer.

    ``kept`` is what was wanted, as an earlier worker encoded it (empty: nothing). ``rules``: what the numbers
    in the maps stand for. ``generation``: the highest ever used.
    """

    config: Config
    host: Host
    kept: bytes
    attached: tuple[Attached, ...]
    rules: dict[int, tuple[RuleOrigin, ...]]
    generation: int


class Begun(NamedTuple):
    """Ready for errands. ``behind``: what was in force is not what is wanted; recover it first."""

    behind: bool


class Rehearse(NamedTuple):
    """What is to be asked of what was compiled last? Think for about so long, name at most so many packets.

    ``active``: it is in force; else all but what follows the flip is written.
    """

    seconds: float
    most: int
    active: bool


class Propose(NamedTuple):
    """What would this request change? ``kind`` is what ``body`` encodes; None: nothing is asked for, but
    what is wanted may not be what is there yet.

    ``lost``: endpoints whose links are gone and have to be made anew. ``hold``: roll back to that
    generation, whose policies are encoded beside it; ``release``: end the roll-back. ``recover``: a new
    worker takes up what was in force, where that is not what is wanted. ``host``: this machine, where it
    has changed. ``then``: as of ``Compile``, for a change that follows at once.
    """

    kind: type[ApplyRequest | DeleteRequest] | None = None
    body: bytes = b""
    lost: tuple[str, ...] = ()
    hold: tuple[int, bytes] | None = None
    release: bool = False
    recover: bool = False
    host: Host | None = None
    then: Rehearse | None = None


class Compile(NamedTuple):
    """Make the writes of what was proposed, with these endpoints attached and those no longer.

    ``less``: as it does not fit, only let go what goes; all else stays as it is in force. ``then``: answer
    this as well, behind the change, if there is a flip in it.
    """

    attached: tuple[Attached, ...] = ()
    detached: tuple[str, ...] = ()
    less: bool = False
    then: Rehearse | None = None


class Rehearsal(NamedTuple):
    """Packets with the oracle's decisions, and how long they took in ms. ``done``: there are no more."""

    cases: tuple[Case, ...]
    ms: float
    done: bool


class Plan(NamedTuple):
    """What a request needs: endpoints to attach before it is compiled, keys to detach once it is active.

    ``later``: endpoints that come back as others, under the same names; their turn is at the next proposal,
    when the old ones are gone. ``queued``: policies that the request changes and a roll-back holds back.
    """

    attach: tuple[Endpoint, ...]
    detach: tuple[str, ...]
    findings: tuple[Finding, ...]
    later: tuple[Endpoint, ...] = ()
    queued: tuple[str, ...] = ()

    @property
    def at_once(self) -> bool:
        """True when there is nothing to do before it is compiled: then the change follows unasked."""
        return not (self.attach or self.detach or self.later)


class Events(NamedTuple):
    """Some of the model events of the change."""

    events: tuple[Event, ...]


class Writes(NamedTuple):
    """Some of the change's writes, in order, pickled: the loop hands them on to the kernel's thread unread.

    ``flip``: the generation that they activate, 0: none; such a part holds nothing else.
    """

    packed: bytes
    entries: int
    flip: int = 0


class Named(NamedTuple):
    """Those of the change's writes that the loop has to know of: what numbers stand for, and endpoints."""

    writes: tuple[Write, ...]


def in_parts(values: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """The values in pieces small enough for one step of the agent's loop."""
    for first in range(0, len(values), AT_ONCE):
        yield tuple(values[first : first + AT_ONCE])


def packed(writes: Sequence[Write]) -> Iterator[Writes | Named]:
    """Ordered writes as they are sent, then what the loop has to know of them."""
    begin = 0
    flips = [(at, write.generation) for at, write in enumerate(writes) if isinstance(write, Flip)]
    for at, generation in flips:
        yield from map(_pack, in_parts(writes[begin:at]))
        yield _pack((writes[at],))._replace(flip=generation)
        begin = at + 1
    yield from map(_pack, in_parts(writes[begin:]))
    yield from map(Named, in_parts([w for w in writes if isinstance(w, Put | Remove) and w.map in TOLD]))


def _pack(writes: tuple[Write, ...]) -> Writes:
    return Writes(pickle.dumps(writes, pickle.HIGHEST_PROTOCOL), len(writes))


def unpacked(parts: Iterable[Writes]) -> Iterator[Write]:
    """The writes of parts, read one part at a time."""
    for part in parts:
        yield from pickle.loads(part.packed)


class Compiled(NamedTuple):
    """The change is whole: its generation (unchanged when there was nothing to write).

    ``held``: the generation rolled back to, 0: none; ``waiting``: the policies that its release changes.
    ``closed``: endpoints that are wanted and do not fit.
    """

    generation: int
    compile_ms: float
    held: int
    waiting: tuple[Waiting, ...]
    closed: tuple[Endpoint, ...]


class Encode(NamedTuple):
    """Encode what was compiled last for the disk. It takes long, so it is asked for when it is in force."""


class Encoded(NamedTuple):
    """What is wanted, encoded for the disk and for the next worker, and the digest of what is in force.

    ``policies``: those in force, encoded, when they mean something else than when this was asked last (else
    empty); ``meaning``: their hash.
    """

    kept: bytes
    policies: bytes
    meaning: str
    digest: str


class Audit(NamedTuple):
    """Compare the maps with what was written, for about so many seconds, from where you were."""

    seconds: float


class Audited(NamedTuple):
    """After the writes that mend what was found, in words. ``ended``: once through everything. The writes
    end in a new generation, so that flows judged by what was altered are judged again."""

    found: tuple[str, ...]
    ended: bool
    generation: int
    digest: str


class Refused(NamedTuple):
    """It cannot be done; nothing was changed in the worker either."""

    refusal: Refusal

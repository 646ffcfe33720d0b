"""What to ask of a new generation, and what the oracle answers. Pure; runs in the worker process.

A change is looked at twice. From the model: every policy that changed, with those it selects, its peers' and
its ports' edges, so that what the compiler forgot to write is asked too. From the writes: every (set, class)
pair whose row was written, every address, block and endpoint that was, every range of ports that got another
atom. Questions are dealt from all of these in turn, each one begun at a random place, so that the few
that are asked before activation are spread over the whole change.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from cloche.analysis.edges import Way, make_packet
from cloche.analysis.questions import Asked, Changed, Question, Questions, Source
from cloche.analysis.standing import Standing
from cloche.model.address import format_address
from cloche.model.flow import Decision, Packet
from cloche.model.focus import Focus
from cloche.model.policy import Policy
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Attachment, Backend, Endpoint
from cloche.model.tracker import OracleWorld, ServiceView
from cloche.tables.schema import Flip, Grace, Remove, Tables, Write
from cloche.tables.schema import Put as Written

WINDOW = 64
"""Questions begun at a time."""
OLDER = 16
"""Changes that may wait to be asked about; when there are more, everything is asked instead."""
REMEMBERED = 50_000
"""Packets remembered as asked, so that none is asked twice about one change."""


class Case(NamedTuple):
    """One packet and the oracle's decision.

    ``link``: the sender's, None: it comes through the stack. ``receiver``: the number of the endpoint of this
    host that gets it when it is allowed, 0: none does. ``opening``: that one is closed until the flip.
    ``names``: both ends, by endpoint where they are one's, else by address.
    """

    packet: Packet
    decision: Decision
    link: Attachment | None
    receiver: int
    opening: bool
    names: tuple[str, str]


class Unsettled(NamedTuple):
    """What the tables do not yet say before the flip: endpoints that it opens, and the addresses of those
    that come or go only behind it."""

    opening: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()
    addresses: frozenset[object] = frozenset()


SETTLED = Unsettled()


class Replay:
    """The model, what the tables say of it, and the questions that are still to be asked."""

    def __init__(self, host: str, seed: int = 0) -> None:
        """``host``: whose tables they are. ``seed``: of the order in which packets come."""
        self._host = host
        self.focus = Focus()
        self._standing: Standing | None = None
        self._random = Random(seed)
        self._sources: deque[Source] = deque()
        self._begun: deque[Question] = deque()
        self._older: list[tuple[deque[Source], deque[Question]]] = []
        """What is left to ask of earlier changes: the latest goes first."""
        self._given_up: list[tuple[deque[Source], deque[Question]]] = []
        """What will not be asked any more. It may be much, and to free it takes as long as that."""
        self._asked: set[Asked] = set()
        self._unsettled = SETTLED
        self._postponed: list[Asked] = []
        """What cannot be asked, or not on its own link, before the flip."""

    @property
    def done(self) -> bool:
        """True when nothing is left to ask."""
        return not self._sources and not self._begun and not self._older

    def learn(self, events: Iterable[Event], writes: Sequence[Write], tables: Tables) -> None:
        """A change was compiled: take it in, and what it gives to ask. ``tables``: as they will be."""
        changed = self._take(events)
        first = self._standing is None
        if self._standing is None:
            self._standing = Standing(tables)
        else:
            self._standing.take(writes, tables.generation)
        self._standing.name(self.focus.state.attachments)
        self._asked.clear()
        self._unsettled = unsettled(writes)
        questions = Questions(self.focus, self._standing, self._random)
        if self._sources or self._begun:
            self._older.append((self._sources, self._begun))
        sources = [] if first else questions.of_change(changed, writes)
        if first or len(self._older) > OLDER:
            self._given_up, self._older = self._older, []
            sources.append(questions.of_everything())
        self._sources, self._begun = deque(sources), deque()

    def _take(self, events: Iterable[Event]) -> Changed:
        """Apply events; what they changed."""
        changed = Changed([], [], [])
        spaces: set[str] = set()
        for event in events:
            kind, key = _name(event)
            if kind == "Policy" and key in self.focus.state.policies:
                changed.before.append(self.focus.state.policies[key])
            if isinstance(event, Put) and isinstance(event.object, Policy):
                changed.after.append(event.object)
            if kind == "Endpoint":
                changed.endpoints.append(key)
            elif kind == "Namespace":
                spaces.add(key)
            self.focus.apply(event)
        if spaces:
            everyone = self.focus.state.endpoints.values()
            changed.endpoints.extend(e.key for e in everyone if e.namespace in spaces)
        return changed

    def flipped(self) -> None:
        """The change is whole: everything is as the tables say, and what had to wait for that is asked."""
        self._unsettled = SETTLED
        self._given_up = []
        if self._postponed:
            self._asked.difference_update(self._postponed)
            self._begun.append(iter(self._postponed))
            self._postponed = []

    def take(self, seconds: float, most: int) -> list[Case]:
        """The next cases, for about this long and at most so many; none: all was asked."""
        end = time.perf_counter() + seconds
        found: list[Case] = []
        while len(found) < most and time.perf_counter() < end:
            asked = self._next()
            if asked is None:
                break
            case = self._case(asked)
            if case is not None:
                found.append(case)
        return found

    def _next(self) -> Asked | None:
        """One packet to ask about that was not yet, dealt from all that is begun."""
        while not self.done:
            if not self._begun and not self._sources:
                self._sources, self._begun = self._older.pop()
            while len(self._begun) < WINDOW and self._sources:
                self._begin()
            if not self._begun:
                continue
            question = self._begun.popleft()
            asked = next(question, None)
            if asked is None:
                continue
            self._begun.append(question)
            if asked in self._asked:
                continue
            if len(self._asked) < REMEMBERED:
                self._asked.add(asked)
            return asked
        return None

    def _begin(self) -> None:
        source = self._sources.popleft()
        question = next(source, None)
        if question is not None:
            self._begun.append(question)
            self._sources.append(source)

    def _case(self, asked: Asked) -> Case | None:
        """The packet and what the oracle says; None when it cannot be asked, or not yet."""
        focus, unsettled = self.focus, self._unsettled
        ends = asked.source, asked.destination
        if any((asked.network, end) in unsettled.addresses for end in ends):
            self._postponed.append(asked)
            return None
        owners = [focus.owner(asked.network, end) for end in ends]
        numbers = [self._number(owner) for owner in owners]
        if any(number in unsettled.late for number in numbers):
            self._postponed.append(asked)
            return None
        closed, opening = (number in unsettled.opening for number in numbers)
        if closed or opening:
            self._postponed.append(asked)
        packet = make_packet(focus, Way(self._host, asked.network, closed), ends, asked.port)
        if packet is None:
            return None
        decision = OracleWorld(focus.around(packet), 1, _no_service).judge(packet)
        link = focus.state.attachments[packet.sender] if packet.sender else None
        names = [o.key if o is not None else format_address(e) for o, e in zip(owners, ends, strict=True)]
        return Case(packet, decision, link, numbers[1], opening, (names[0], names[1]))

    def _number(self, owner: Endpoint | None) -> int:
        attachment = self.focus.state.attachments.get(owner.key) if owner is not None else None
        return attachment.number if attachment is not None else 0


def unsettled(writes: Iterable[Write]) -> Unsettled:
    """What is written only behind the flip."""
    opening: set[int] = set()
    late: set[int] = set()
    addresses: set[object] = set()
    flipped = graced = False
    for write in writes:
        match write:
            case Flip():
                flipped = True
            case Grace() if flipped:
                graced = True
            case Written("endpoints", int(number)) if flipped:
                (late if graced else opening).add(number)
            case Remove("endpoints", int(number)) if flipped:
                late.add(number)
            case Remove("addresses", at) if flipped:
                addresses.add(at)
            case _:
                pass
    return Unsettled(frozenset(opening), frozenset(late), frozenset(addresses))


def _name(event: Event) -> tuple[str, str]:
    if isinstance(event, Put):
        return type(event.object).__name__, event.object.key
    return (event.kind, event.key) if isinstance(event, Delete) else ("", "")


def _no_service(packet: Packet, view: ServiceView) -> Backend:
    raise ValueError("no packet to a service is replayed")

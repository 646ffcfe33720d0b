"""What is active, by name: the model, the entries, the generation, and what waits to become so."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from cloche.agent.errands import Audited, Compiled, Events, Writes
from cloche.agent.laps import Laps
from cloche.agent.messages import Applied, ShownGeneration
from cloche.agent.naming import Directory
from cloche.agent.wanted import Waiting
from cloche.errors import Finding, TooBigError
from cloche.model.topology import Endpoint
from cloche.tables.schema import EndpointEntry, Put, Remove, RuleOrigin, Write

GENERATIONS_SHOWN = 100


class Change(NamedTuple):
    """What the worker made of a proposal. ``named``: what is to be known of its writes. ``asked``: the worker
    was asked what to ask of it, and answers behind it."""

    events: tuple[Events, ...]
    writes: tuple[Writes, ...]
    named: tuple[Write, ...]
    compiled: Compiled
    asked: bool = False

    @property
    def entries(self) -> int:
        """How many writes there are."""
        return sum(part.entries for part in self.writes)


class Active:
    """One task feeds it; anyone may ask. ``turns`` grows before maps are written, and when they are."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.entries: dict[int, EndpointEntry] = {}
        self.generation = 0
        self.digest = ""
        self.compile_ms = 0.0
        self.writes_last = 0
        self.writes_total = 0
        self.turns = 0
        self.held = 0
        self.waiting: tuple[Waiting, ...] = ()
        self.closed: tuple[Endpoint, ...] = ()
        self.too_big: TooBigError | None = None
        self.generations: deque[ShownGeneration] = deque(maxlen=GENERATIONS_SHOWN)
        self._fresh = True
        """The worker knows nothing yet, so its next events are the whole model."""

    def adopt(
        self,
        entries: Mapping[int, EndpointEntry],
        generation: int,
        rules: Mapping[int, tuple[RuleOrigin, ...]],
    ) -> None:
        """Take over what the kernel holds; the model itself comes with the next change."""
        self.entries = dict(entries)
        self.generation = generation
        for number, known in rules.items():
            self.directory.learn_rules(generation, number, known)
        self._fresh = True

    async def learn(self, change: Change, cause: str) -> None:
        """What was written is active: know it by name, in steps that leave the loop its turn."""
        compiled = change.compiled
        if self._fresh:
            self.directory.forget()
            self._fresh = False
        for part in change.events:
            for event in part.events:
                self.directory.apply(event)
            await asyncio.sleep(0)
        self.learn_writes(change.named, compiled.generation)
        self.generation = compiled.generation
        self.compile_ms = round(compiled.compile_ms, 3)
        self.held, self.waiting, self.closed = compiled.held, compiled.waiting, compiled.closed
        self.turns += 1
        if change.writes:
            self.tell(cause, change.entries)

    def name(self, digest: str) -> None:
        """What is active has this digest, which is known a little later than that it is active."""
        self.digest = digest
        if self.generations and self.generations[0].generation == self.generation:
            self.generations[0] = msgspec.structs.replace(self.generations[0], digest=digest)

    def mended(self, change: tuple[int, tuple[Write, ...]], audited: Audited) -> None:
        """What was altered from outside is as it should be, in a generation of its own: so many writes, and
        what is to be known of them."""
        count, named = change
        self.learn_writes(named, audited.generation)
        self.generation, self.digest = audited.generation, audited.digest
        self.turns += 1
        self.tell("repair", count)

    def learn_writes(self, writes: tuple[Write, ...], generation: int) -> None:
        """Rules and entries that these writes gave."""
        for write in writes:
            match write:
                case Put("rules", int(number), tuple(rules)):
                    self.directory.learn_rules(generation, number, rules)
                case Put("endpoints", int(number), EndpointEntry() as entry):
                    self.entries[number] = entry
                case Remove("endpoints", int(number)):
                    self.entries.pop(number, None)

    def tell(self, cause: str, writes: int) -> None:
        """Put the active generation into the list of those that were."""
        self.writes_total += writes
        shown = ShownGeneration(
            self.generation, True, time.time(), self.digest, writes, self.compile_ms, cause, self.held
        )
        self.generations.appendleft(shown)

    def applied(self, findings: tuple[Finding, ...], queued: tuple[str, ...], laps: Laps) -> Applied:
        """What a change came to."""
        state = self.directory.state
        return Applied(
            generation=self.generation,
            digest=self.digest,
            namespaces=len(state.namespaces),
            endpoints=len(state.endpoints),
            policies=len(state.policies),
            services=len(state.services),
            writes=self.writes_last,
            findings=findings,
            timings_ms=laps.total(),
            queued=queued,
        )

    def problems(self) -> list[str]:
        """What an operator should know of what is wanted and not active."""
        found = []
        if self.too_big is not None:
            closed = f"; closed until it fits: {', '.join(e.key for e in self.closed)}" if self.closed else ""
            found.append(f"what is wanted does not fit: {self.too_big}{closed}")
        if self.held:
            waiting = ", ".join(f"{one.policy} ({one.change})" for one in self.waiting) or "nothing"
            found.append(f"rolled back to the policies of generation {self.held}; waiting: {waiting}")
        return found

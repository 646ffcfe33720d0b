"""What the change task has on disk: before the kernel has it what must be there first, the rest after it.

A number counts in the kernel only when the disk knows that it is used, and what it stands for. What is wanted
is saved when it is active; where the disk cannot take it, that is said, tried again, and nothing else fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from cloche.agent.active import Change
from cloche.agent.attachments import Attachments
from cloche.agent.errands import Encoded
from cloche.agent.parts import Parts
from cloche.agent.versions import Version, Versions
from cloche.tables.schema import Put, RuleOrigin, Write

RESERVED = 64
"""Generations reserved on disk at a time, so that most changes need not wait for the disk."""

log = structlog.get_logger()


class Keeper:
    """The change task owns it. ``highest`` is the highest generation that was ever used."""

    def __init__(self, parts: Parts, attachments: Attachments) -> None:
        self._disk, self._kernel = parts.disk, parts.kernel
        self._attachments = attachments
        self.versions = Versions(parts.disk, parts.kernel)
        self.rules: dict[int, tuple[RuleOrigin, ...]] = {}
        self.wanted = self._saved = b""
        self.highest = self._reserved = 0
        self.unsaved = ""
        """Why the disk does not know what is active; empty when it does."""

    async def load(self) -> None:
        """Take over what is on disk. Raises DamagedError, OSError."""
        await self._kernel.run(self._disk.tidy)
        self.wanted = self._saved = await self._kernel.run(self._disk.load_kept)
        self.rules = await self._kernel.run(self._disk.load_rules)
        await self.versions.load()
        self.highest = self._reserved = (await self._attachments.load()).generation

    async def ready(self, change: Change, *, attached: bool = False) -> None:
        """What must be on disk before the change is written: its number, what its numbers stand for, and who
        is ``attached`` anew. Raises OSError."""
        await self.reserve(change.compiled.generation, attached=attached)
        named = dict(named_rules(change.named))
        if named:
            rules = self.rules | named
            await self._kernel.run(self._disk.save_rules, rules)
            self.rules = rules

    async def reserve(self, generation: int, *, attached: bool = False) -> None:
        """Let the disk know that this generation is used, and who is attached anew. Raises OSError.

        Where it knows the number already, a disk that is full keeps nobody from being closed.
        """
        reserved = generation + RESERVED if generation > self._reserved else self._reserved
        try:
            await self._attachments.save(reserved)
        except OSError as error:
            if attached or reserved != self._reserved:
                raise
            log.error("not on disk", error=str(error))
        self._reserved = reserved
        self.highest = max(self.highest, generation)

    async def keep(self, generation: int, encoded: Encoded) -> None:
        """Save what is active and wanted, and the policies in force for a roll-back."""
        self.wanted = encoded.kept
        await self.save(generation)
        if encoded.policies:
            version = Version(generation, encoded.meaning, encoded.policies)
            try:
                await self.versions.keep(version)
            except OSError as error:
                log.error("policies cannot be kept for a roll-back", error=str(error))

    async def save(self, generation: int) -> None:
        """Let the disk know what is active. When it cannot, ``unsaved`` says why, and nothing else fails."""
        try:
            if self.wanted != self._saved:
                await self._kernel.run(self._disk.save_kept, self.wanted)
                self._saved = self.wanted
            await self._attachments.save(self._reserved)
            self.unsaved = ""
        except OSError as error:
            self.unsaved = f"generation {generation} is active but not on disk: {error}"
            log.error("not on disk", error=str(error))


def named_rules(writes: tuple[Write, ...]) -> Iterator[tuple[int, tuple[RuleOrigin, ...]]]:
    """What these writes let numbers of sets stand for."""
    for write in writes:
        match write:
            case Put("rules", int(number), tuple(rules)):
                yield number, rules

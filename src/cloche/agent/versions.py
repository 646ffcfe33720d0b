"""The policies of past generations, kept on disk as input, so that one can roll back to them.

One file for each time that policies came to mean something else; the oldest go. Endpoints, namespaces and
services are not kept: a roll-back takes today's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloche.agent.disk import Disk
from cloche.agent.kernel import KernelThread
from cloche.errors import ClocheError

KEPT = 16
"""How many times the policies may have changed before the oldest are forgotten."""


class Version(msgspec.Struct, frozen=True):
    """Policies, encoded, and the first generation that they were in force in; ``meaning``: their hash."""

    generation: int
    meaning: str
    policies: bytes


class Versions:
    """What can be rolled back to, oldest first. The change task owns it."""

    def __init__(self, disk: Disk, kernel: KernelThread) -> None:
        self._disk, self._kernel = disk, kernel
        self._first: list[int] = []
        self._meaning = ""

    @property
    def generations(self) -> tuple[int, ...]:
        """The first generation of each kept version, ascending."""
        return tuple(self._first)

    async def load(self) -> None:
        """Find what is on disk. Raises DamagedError."""
        self._first = await self._kernel.run(self._disk.versions)
        if self._first:
            self._meaning = (await self._read(self._first[-1])).meaning

    async def _read(self, generation: int) -> Version:
        content = await self._kernel.run(self._disk.load_version, generation)
        return msgspec.msgpack.decode(content, type=Version)

    async def keep(self, version: Version) -> None:
        """Keep a version unless it means what the newest one means. Raises OSError."""
        if version.meaning == self._meaning:
            return
        content = msgspec.msgpack.encode(version)
        await self._kernel.run(self._disk.save_version, version.generation, content)
        self._meaning = version.meaning
        if version.generation not in self._first:
            self._first.append(version.generation)
        while len(self._first) > KEPT:
            await self._kernel.run(self._disk.remove_version, self._first.pop(0))

    async def choose(self, asked: int, active: int, held: int) -> Version:
        """The version that was in force in the generation asked for; 0: before the last change of policy,
        or before ``held`` where a roll-back holds already (0: none). ``active`` is the newest generation.

        Raises ClocheError when it is not kept.
        """
        if asked:
            return await self._read(at(self._first, asked, active))
        for generation in reversed([g for g in self._first if not held or g < held]):
            version = await self._read(generation)
            if version.meaning != self._meaning:
                return version
        raise ClocheError("there is nothing to roll back to: no earlier policies are kept")


def at(first: Sequence[int], generation: int, newest: int) -> int:
    """Of versions by their first generations, ascending, the one in force in a generation.

    ``newest``: the active generation. Raises ClocheError when it is not kept.
    """
    found = [one for one in first if one <= generation]
    if generation > newest:
        raise ClocheError(f"there has been no generation {generation}: the active one is {newest}")
    if not found:
        oldest = f"the oldest kept is {first[0]}" if first else "none are kept yet"
        raise ClocheError(f"the policies of generation {generation} are not kept: {oldest}")
    return found[-1]

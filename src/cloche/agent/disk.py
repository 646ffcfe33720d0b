"""What an agent keeps on disk for the next one: written whole, synced, and never believed when damaged."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from cloche.config import Config
from cloche.datapath import faults
from cloche.datapath.faults import Point
from cloche.errors import ClocheError
from cloche.model.address import Address
from cloche.model.topology import Attachment
from cloche.tables.schema import RuleOrigin

BESIDE = ".new"
"""What is written beside a file, to replace it, has this name more."""
MAGIC = b"cloche1\n"
T = TypeVar("T")


class DamagedError(ClocheError):
    """A file of the store does not hold what was written to it; the datapath is kept as it is."""


class Attached(msgspec.Struct, frozen=True):
    """An attachment, and the addresses that its namespace was given."""

    attachment: Attachment
    addresses: tuple[Address, ...]


class Ledger(msgspec.Struct, frozen=True):
    """Who is attached, and the numbers that are never given out twice.

    ``incarnation`` and ``generation`` are the highest ever used or reserved; 32 and 64 bits.
    """

    attached: tuple[Attached, ...] = ()
    incarnation: int = 0
    generation: int = 0


class Disk:
    """The files of one instance. Loading raises DamagedError for a file that is not as it was written."""

    def __init__(self, config: Config) -> None:
        self._folder = config.state

    def load_config(self) -> Config | None:
        """What the instance was made with, None when there is none."""
        return self._load("config", Config)

    def save_config(self, config: Config) -> None:
        """Keep what the instance is made with."""
        self._save("config", config)

    def tidy(self) -> None:
        """Remove what somebody who was killed had not written to its end."""
        for path in self._folder.glob(f"*{BESIDE}"):
            path.unlink(missing_ok=True)

    def load_kept(self) -> bytes:
        """What was wanted when the last change became active, as the worker encoded it; empty at first."""
        return self._read("wanted") or b""

    def save_kept(self, kept: bytes) -> None:
        """Keep this as what to start from."""
        self._write("wanted", kept)

    def load_ledger(self) -> Ledger:
        """The attachments and counters; empty at first."""
        return self._load("ledger", Ledger) or Ledger()

    def take_up(self, active: int) -> Ledger:
        """The ledger, where the store is that of a kernel with this generation active.

        Raises DamagedError when the ledger does not know that generation, which is saved before it counts,
        and when endpoints are attached and what is wanted is gone: else all of them would go.
        """
        ledger = self.load_ledger()
        if ledger.generation < active:
            message = f"is gone or old: it knows generation {ledger.generation}, the kernel has {active}"
            raise DamagedError(f"{self._path('ledger')} {message}")
        if ledger.attached and not self._path("wanted").exists():
            raise DamagedError(f"{self._path('wanted')} is gone, and endpoints are attached")
        return ledger

    def save_ledger(self, ledger: Ledger) -> None:
        """Keep attachments and counters; returns when they are on the disk."""
        self._save("ledger", ledger)

    def load_rules(self) -> dict[int, tuple[RuleOrigin, ...]]:
        """What the numbers of sets and rules in the kernel's tables stand for."""
        return self._load("rules", dict[int, tuple[RuleOrigin, ...]]) or {}

    def save_rules(self, rules: dict[int, tuple[RuleOrigin, ...]]) -> None:
        """Keep the meanings; before the writes that give them, so that the kernel never knows more."""
        self._save("rules", rules)

    def versions(self) -> list[int]:
        """The generations whose policies are kept, ascending."""
        names = (path.name for path in self._folder.glob("policies-*.msgpack"))
        return sorted(int(name.removeprefix("policies-").removesuffix(".msgpack")) for name in names)

    def load_version(self, generation: int) -> bytes:
        """The policies kept for a generation, as they were saved. Raises DamagedError when it is gone."""
        content = self._read(f"policies-{generation}")
        if content is None:
            raise DamagedError(f"{self._path(f'policies-{generation}')} is gone")
        return content

    def save_version(self, generation: int, content: bytes) -> None:
        """Keep a generation's policies."""
        self._write(f"policies-{generation}", content)

    def remove_version(self, generation: int) -> None:
        """Keep a generation's policies no longer."""
        self._path(f"policies-{generation}").unlink(missing_ok=True)

    def exists(self) -> bool:
        """True when the instance has left anything here."""
        return self._folder.exists()

    def remove(self) -> None:
        """Remove every file of the instance."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _load(self, name: str, kind: type[T]) -> T | None:
        body = self._read(name)
        if body is None:
            return None
        try:
            return msgspec.msgpack.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise DamagedError(f"{self._path(name)} is of another version: {error}") from None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.msgpack"

    def _read(self, name: str) -> bytes | None:
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        body = content[len(MAGIC) + 4 :]
        if content[: len(MAGIC)] != MAGIC or zlib.crc32(body).to_bytes(4, "big") != content[len(MAGIC) :][:4]:
            raise DamagedError(f"{self._path(name)} is damaged: its checksum does not hold")
        return body

    def _save(self, name: str, value: object) -> None:
        self._write(name, msgspec.msgpack.encode(value))

    def _write(self, name: str, body: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._path(name), MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step: readers see the old or the new one, also after a power cut."""
    beside = path.with_name(path.name + BESIDE)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        faults.passing(Point.SAVING)
        beside.replace(path)
        faults.passing(Point.SAVED)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

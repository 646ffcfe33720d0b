"""A disk that is full and a store that is damaged, under traffic: said, and the datapath is kept."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import product, starmap
from pathlib import Path
from typing import NamedTuple

from cloche.agent.client import Client
from cloche.errors import ClocheError
from e2e.agent_lab import Instance, endpoint, ingress_from, objects, pod, wait_for
from torture.killing import ALONE_SECONDS, Killing
from torture.outcome import Outcome
from torture.running import Traffic

DISK_BYTES = 1 << 19
MORE = ingress_from("more", "web", "nobody")
"""A policy that changes nothing for those who send."""


@contextmanager
def small_disk(instance: Instance, folder: Path) -> Iterator[Path]:
    """The instance's store on a disk of half a megabyte; where else that disk is to be seen."""
    size = ("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder))
    state = instance.config.state
    state.mkdir(parents=True)
    subprocess.run(["mount", *size], check=True)
    try:
        (folder / "store").mkdir()
        subprocess.run(["mount", "--bind", str(folder / "store"), str(state)], check=True)
        try:
            yield folder
        finally:
            if instance.pid():
                instance.kill()
            subprocess.run(["umount", "-l", str(state)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not one page free; the file that has it all."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


class DiskFull:
    """No space left, again and again; the agent is killed while it is so."""

    def __init__(self, killing: Killing, disk: Path) -> None:
        self._killing, self._disk = killing, disk
        self.outcome = Outcome("disk full")

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.mark(self.outcome, traffic)
            self._killing.first(client)
            client.apply(objects(MORE))
            filler = fill(self._disk)
            self._refused(client)
            unsaved = self.outcome.rounds % 2 == 1
            if unsaved:
                self._taken_away(client)
        self._killing.instance.kill()
        with self._killing.started() as client:
            if not unsaved:  # else the disk does not know yet what the kernel has
                self._killing.adopted(client)
            self._refused(client)
            filler.unlink()
            wait_for(lambda: client.status().problems == ())
            self._killing.change(client)
            self._killing.change(client)
        self._killing.instance.kill()
        self.outcome.rounds += 1

    def _refused(self, client: Client) -> None:
        """A new pod needs the disk first: the change is refused whole, and status says why."""
        before = client.status()
        try:
            client.apply(objects(pod("needy")))
        except ClocheError as error:
            if "No space left" not in str(error):
                self.outcome.say(f"refused for another reason: {error}")
        else:
            self.outcome.say("a change that the disk cannot take was made")
        after = client.status()
        if (after.generation, after.digest) != (before.generation, before.digest):
            self.outcome.say("a change that was refused changed something")
        if not any("No space left" in problem for problem in after.problems):
            self.outcome.say(f"status does not tell: {after.problems}")
        if any(shown.endpoint == "default/needy" for shown in client.endpoints()):
            self.outcome.say(f"what was refused is there: {endpoint(client, 'needy')}")

    def _taken_away(self, client: Client) -> None:
        """What only takes away goes through, and is said not to be saved."""
        client.delete(objects(MORE))
        if not any("not on disk" in problem for problem in client.status().problems):
            self.outcome.say(f"status does not tell what is not saved: {client.status().problems}")


def emptied(_good: bytes) -> bytes:
    """Cut to nothing."""
    return b""


def cut(good: bytes) -> bytes:
    """Cut in half."""
    return good[: len(good) // 2]


def garbage(good: bytes) -> bytes:
    """Something else, as long."""
    return os.urandom(len(good))


def flipped(good: bytes) -> bytes:
    """One bit is another."""
    return good[:-1] + bytes([good[-1] ^ 1])


DAMAGES: tuple[Callable[[bytes], bytes] | None, ...] = (emptied, cut, garbage, flipped, None)
"""None: the file is gone."""
FILES = ("ledger", "wanted", "rules", "config")
REMADE = ("rules", "config")
"""What is made anew when it is gone: names come from the policies, the configuration from who starts."""


class Damage(NamedTuple):
    """What befalls a file of the store; ``running``: while an agent runs, which goes on changing."""

    file: str
    make: Callable[[bytes], bytes] | None
    running: bool

    def __str__(self) -> str:
        how = self.make.__name__ if self.make else "gone"
        return f"{self.file}, {how}, {'while an agent runs' if self.running else 'without an agent'}"

    def befall(self, path: Path, good: bytes) -> bytes | None:
        """Damage the file; what is there then."""
        if self.make is None:
            path.unlink()
            return None
        bad = self.make(good)
        path.write_bytes(bad)
        return bad


ALL = tuple(starmap(Damage, product(FILES, DAMAGES, (True, False))))


class Damaged:
    """Files of the store damaged, one in each round."""

    def __init__(self, killing: Killing) -> None:
        self._killing, self._instance = killing, killing.instance
        self.outcome = Outcome("store damaged")

    def rounds(self, damages: Iterable[Damage]) -> Iterator[Callable[[Traffic], None]]:
        """One for each of these."""
        return (partial(self._round, damage) for damage in damages)

    def _round(self, damage: Damage, traffic: Traffic) -> None:
        path = self._instance.config.state / f"{damage.file}.msgpack"
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.mark(self.outcome, traffic)
            self._killing.change(client)
            good = path.read_bytes()
            if damage.running:
                bad = damage.befall(path, good)
                self._killing.change(client)
        self._instance.kill()
        if not damage.running:
            bad = damage.befall(path, good)
        left = path.read_bytes() if path.exists() else None
        is_written_anew = left != bad
        if not is_written_anew and (bad is not None or damage.file not in REMADE):
            self._told(damage, path)
            path.write_bytes(good)
        self.outcome.rounds += 1

    def _told(self, damage: Damage, path: Path) -> None:
        """The next agent says which file it is and changes nothing; without its configuration none starts."""
        try:
            with self._killing.started() as client:
                if not any(path.name in problem for problem in client.status().problems):
                    self.outcome.say(f"{damage}: status does not tell: {client.status().problems}")
                time.sleep(ALONE_SECONDS)
                client.apply(objects(pod("more")))
                self.outcome.say(f"{damage}: a change was made all the same")
        except ClocheError as error:
            if path.name not in str(error):
                self.outcome.say(f"{damage}: refused for another reason: {error}")
        time.sleep(ALONE_SECONDS)
        if self._instance.pid():
            self._instance.kill()

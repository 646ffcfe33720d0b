"""Programs and policies put in the place of others under traffic: upgrades up and down, roll-backs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cloche.agent.client import Client
from cloche.datapath.adoption import OBJECT
from cloche.datapath.faults import Point
from cloche.datapath.pins import Programs
from e2e.agent_lab import ingress_from, replace
from e2e.test_agent_upgrade import take_over
from torture.killing import Killing
from torture.outcome import Outcome
from torture.running import BASE, Traffic, armed


def another_object(folder: Path) -> Path:
    """An object file of the same layout, which is told apart by one byte behind its end."""
    made = folder / "same.bpf.o"
    shutil.copy(OBJECT, made)
    with made.open("ab") as file:
        file.write(b"\0")
    return made


class Upgrades:
    """Another object takes over from a dead agent's; the next agent is killed while it puts its own object in
    the place of that, one program further each time, and the one after it does it again."""

    def __init__(self, killing: Killing, what: str, path: Path) -> None:
        self._killing, self._path = killing, path
        self.outcome = Outcome(f"upgrade and downgrade, {what}")

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        self._killing.mark(self.outcome, traffic)
        status = take_over(self._killing.instance, self._path)
        if status:
            self.outcome.say(f"the object could not take over: status {status}")
        fault = f"{Point.PROGRAM_PINNED.word}:{1 + self.outcome.rounds % len(Programs._fields)}"
        if armed(self._killing.instance, fault) is not None:
            self.outcome.say(f"{fault} is never passed")
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.change(client)
        self._killing.instance.kill()
        self.outcome.rounds += 1


class Rollbacks:
    """A change of policy, back, and forward again by the release; the agent then goes and comes."""

    def __init__(self, killing: Killing) -> None:
        self._killing = killing
        self.outcome = Outcome("roll-back and release")

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        with self._killing.started() as client:
            self._killing.mark(self.outcome, traffic)
            self._killing.first(client)
            replace(client, BASE + ingress_from("more", "web", "nobody"))
            self._back_and_forth(client)
            self._killing.first(client)
            self._killing.adopted(client)
        self._killing.instance.kill()
        self.outcome.rounds += 1

    def _back_and_forth(self, client: Client) -> None:
        before = client.status().digest
        client.rollback()
        if client.status().digest == before or not client.status().held:
            self.outcome.say("nothing was rolled back")
        client.release()
        after = client.status()
        if (after.digest, after.held) != (before, 0):
            self.outcome.say("after the release the tables are others than before")

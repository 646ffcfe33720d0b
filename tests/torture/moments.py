"""The agent killed at random moments: while it starts, while it changes something, while it rests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

from cloche.agent.client import AgentError
from cloche.errors import ClocheError, NotRunningError
from e2e.agent_lab import Instance
from torture.killing import ALONE_SECONDS, Killing
from torture.outcome import Outcome
from torture.running import Traffic

WORK_SECONDS = 1.0
START_SECONDS = 1.5
STARTING = 0.25
"""How many of the kills come while an agent starts."""


class Moments:
    """Rounds that end at random moments."""

    def __init__(self, killing: Killing, choice: random.Random) -> None:
        self._killing, self._instance, self._choice = killing, killing.instance, choice
        self.outcome = Outcome("kill -9 at random moments")
        self.changes = 0
        """Changes that were made or were under way."""

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        if self._choice.random() < STARTING:
            self._killing.mark(self.outcome, traffic)
            kill_starting(self._instance, self._choice.uniform(0.0, START_SECONDS))
        else:
            with self._killing.started() as client:
                self._killing.adopted(client)
                self._killing.mark(self.outcome, traffic)
                changing = threading.Thread(target=self._change_on)
                changing.start()
                time.sleep(self._choice.uniform(0.0, WORK_SECONDS))
                self._instance.kill()
                changing.join()
        time.sleep(ALONE_SECONDS)
        self.outcome.rounds += 1

    def _change_on(self) -> None:
        """Change to and fro for as long as somebody answers."""
        try:
            with self._killing.client() as client:
                while True:
                    self.changes += 1
                    self._killing.change(client)
        except NotRunningError:
            return
        except ClocheError as error:
            self.outcome.say(f"a change was refused: {error}")


def kill_starting(instance: Instance, after: float) -> None:
    """Start an agent and kill it so many seconds later, wherever it is then."""
    starting = threading.Thread(target=lambda: quietly(instance))
    starting.start()
    deadline = time.monotonic() + after
    while time.monotonic() < deadline or not instance.pid():
        time.sleep(0.002)
    instance.kill()
    starting.join()


def quietly(instance: Instance) -> None:
    """Start an agent, whatever comes of it."""
    try:
        instance.start().close()
    except (AgentError, NotRunningError):
        return

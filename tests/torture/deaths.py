"""The agent's worker, and its responder, killed under traffic while changes are made."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloche.agent.client import Client
from cloche.errors import ClocheError
from e2e.agent_lab import addresses, wait_for
from e2e.test_agent_restart import workers
from torture.killing import Killing
from torture.outcome import Outcome
from torture.running import Traffic

TIMES = 2
"""How often one of them dies in a round."""
LATEST_SECONDS = 0.3
"""At a random moment within this, while changes are under way."""


class Deaths:
    """Rounds in which one or the other dies again and again; the agent lives on and refuses nothing."""

    def __init__(self, killing: Killing, choice: random.Random) -> None:
        self._killing, self._instance, self._choice = killing, killing.instance, choice
        self.worker = Outcome("worker killed")
        self.responder = Outcome("responder killed")
        self._changes = 0
        self._over = threading.Event()

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many for each of the two."""
        for _ in range(count):
            yield self._of_worker
            yield self._of_responder

    def _of_worker(self, traffic: Traffic) -> None:
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.mark(self.worker, traffic)
            before = client.status().worker_starts
            with self._changing(self.worker):
                for _ in range(TIMES):
                    self._killed(lambda: workers(self._instance))
            if client.status().worker_starts < before + TIMES:
                self.worker.say(f"{client.status().worker_starts - before} workers were started")
            self._ended(client, self.worker)

    def _of_responder(self, traffic: Traffic) -> None:
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.mark(self.responder, traffic)
            with self._changing(self.responder):
                for _ in range(TIMES):
                    self._killed(lambda: [client.status().responder_pid])
            web = addresses(client, "web")[0]
            wait_for(lambda: self._instance.reaches("friend", web, timeout=0.5))
            self._ended(client, self.responder)

    def _killed(self, found: Callable[[], list[int]]) -> None:
        """Kill what is found at a random moment; return when a change has gone through that began later."""
        time.sleep(self._choice.uniform(0.0, LATEST_SECONDS))
        wait_for(lambda: bool(found()))
        os.kill(found()[0], signal.SIGKILL)
        enough = self._changes + 2
        wait_for(lambda: self._changes >= enough or self._over.is_set())

    def _ended(self, client: Client, outcome: Outcome) -> None:
        status = client.status()
        if status.problems or status.repairs or not client.attest().exact:
            outcome.say(f"{status.repairs} repairs, problems: {status.problems}")
        self._instance.kill()
        outcome.rounds += 1

    @contextmanager
    def _changing(self, outcome: Outcome) -> Iterator[None]:
        """While entered, one change follows another."""
        self._over.clear()
        changing = threading.Thread(target=self._change_on, args=(outcome,))
        changing.start()
        try:
            yield
        finally:
            self._over.set()
            changing.join()

    def _change_on(self, outcome: Outcome) -> None:
        try:
            with self._killing.client() as client:
                while not self._over.is_set():
                    self._killing.change(client)
                    self._changes += 1
        except ClocheError as error:
            outcome.say(f"a change was refused: {error}")
            self._over.set()

"""The wall clock of everything that the agent starts jumps by years, forwards and back, under traffic."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloche.agent.client import Client
from e2e.agent_lab import ingress_from, objects
from torture.killing import Killing
from torture.outcome import Outcome
from torture.running import Traffic

YEAR = 365 * 86400.0
JUMPS = (3 * YEAR, -7 * YEAR)
"""By how much it is wrong, one after another."""
MORE = ingress_from("more", "web", "nobody")
SITE = """
import time
true_time, true_clock = time.time, time.clock_gettime_ns
def wrong():
    with open({path!r}) as file:
        return float(file.read())
time.time = lambda: true_time() + wrong()
time.time_ns = lambda: int(time.time() * 1e9)
def clock(which):
    return true_clock(which) + (int(wrong() * 1e9) if which == time.CLOCK_REALTIME else 0)
time.clock_gettime_ns = clock
"""


class Clock:
    """The wall clock as processes see it that are started while this is ``on``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._wrong = folder, folder / "wrong"
        (folder / "sitecustomize.py").write_text(SITE.format(path=str(self._wrong)))
        self.jump(0.0)

    def jump(self, seconds: float) -> None:
        """It is wrong by so much from now on."""
        beside = self._folder / "beside"
        beside.write_text(str(seconds))
        beside.replace(self._wrong)

    @contextmanager
    def on(self) -> Iterator[None]:
        """While entered, whatever starts has this clock."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self._folder), before)))
        try:
            yield
        finally:
            del os.environ["PYTHONPATH"]
            if before is not None:
                os.environ["PYTHONPATH"] = before


class Jumps:
    """Changes, a roll-back and restarts while the clock jumps."""

    def __init__(self, killing: Killing, clock: Clock) -> None:
        self._killing, self._clock = killing, clock
        self.outcome = Outcome("wall clock jumps")

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        for jump in JUMPS:
            with self._clock.on(), self._killing.started() as client:
                self._killing.adopted(client)
                self._killing.mark(self.outcome, traffic)
                self._clock.jump(jump)
                self._work(client)
                self._seen(client)
            self._killing.instance.kill()
        self.outcome.rounds += 1

    def _work(self, client: Client) -> None:
        self._killing.change(client)
        self._killing.first(client)
        client.apply(objects(MORE))
        client.rollback()
        client.release()
        status = client.status()
        if status.problems or status.repairs or not client.attest().exact:
            self.outcome.say(f"{status.repairs} repairs, problems: {status.problems}")
        client.delete(objects(MORE))

    def _seen(self, client: Client) -> None:
        """Events are dated by it: it did jump."""
        now = time.time()
        if all(abs(event.time - now) < YEAR for event in client.flows()):
            self.outcome.say("no event is dated by the clock that jumped")

"""Changes that do not fit, under traffic: refused whole; what goes is closed at once, what comes stays closed
until a change fits."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import msgspec

from cloche.agent.client import Client
from cloche.errors import TooBigError
from e2e.agent_lab import Instance, addresses, endpoint, objects, pod, policy, replace
from e2e.test_agent_too_big import too_many_classes
from torture.crowd import RESOLVED_SECONDS
from torture.full import bound
from torture.killing import GUARDED, Killing, guest, worlds
from torture.outcome import Outcome
from torture.running import BASE, ROOMY, Traffic
from torture.wire import PORT

FEW_CELLS = msgspec.structs.replace(ROOMY, cells=4096)
"""Room for fewer cells than ``TOO_MANY["cells"]`` needs."""
TOO_MANY = {"classes": too_many_classes(), "cells": too_many_classes(count=60)}
"""By what runs out, a policy that makes it do so."""
ASKED, SILENT = 20, 200
LATER = "10.250.0.8"
HEARD_SECONDS = 0.2


class TooBig:
    """One thing that runs out, again and again."""

    def __init__(self, killing: Killing, what: str) -> None:
        self._killing, self._instance, self._what = killing, killing.instance, what
        self._late = worlds(killing.instance)[2][0]
        """An address that strangers send to all the time."""
        self.outcome = Outcome(f"too few {what} for what is asked")

    def rounds(self, count: int) -> Iterator[Callable[[Traffic], None]]:
        """So many."""
        return (self._round for _ in range(count))

    def _round(self, traffic: Traffic) -> None:
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._killing.mark(self.outcome, traffic)
            self._killing.first(client)
            self._goes(client)
            self._stays_closed(client)
        self._instance.kill()
        with self._killing.started() as client:
            self._killing.adopted(client)
            self._stays_closed(client)
            self._fits(client)
            self._killing.first(client)
        self._instance.kill()
        self.outcome.rounds += 1

    def _goes(self, client: Client) -> None:
        """A pod that everybody reaches goes with a change that does not fit."""
        client.apply(objects(pod("doomed")))
        address = addresses(client, "doomed")[0]
        with self._instance.inside("doomed", lambda: bound((address, PORT))) as hearing:
            self.outcome.tried += ASKED
            self.outcome.made += heard(self._instance, "friend", address, hearing, ASKED)
            world = BASE + TOO_MANY[self._what] + policy("guard", GUARDED) + guest("guest-late", self._late)
            self._refused(lambda: replace(client, world))
            self.outcome.forbidden += SILENT
            self.outcome.arrived += heard(self._instance, "friend", address, hearing, SILENT)

    def _refused(self, ask: Callable[[], object]) -> None:
        try:
            ask()
        except TooBigError as error:
            if self._what not in str(error) or "NetworkPolicy/default/big" not in str(error):
                self.outcome.say(f"the refusal does not say why: {error}")
        else:
            self.outcome.say("what does not fit was not refused")

    def _stays_closed(self, client: Client) -> None:
        """Who came is closed and says why, and the next change that asks for more is refused."""
        late = endpoint(client, "guest-late")
        if late.state != "closed" or self._what not in late.problem:
            self.outcome.say(f"the new pod is {late.state}: {late.problem!r}")
        if not any(self._what in problem and "guest-late" in problem for problem in client.status().problems):
            self.outcome.say(f"status does not tell: {client.status().problems}")
        self._refused(lambda: client.apply(objects(guest("guest-later", LATER))))

    def _fits(self, client: Client) -> None:
        """The next change that fits opens everybody."""
        client.delete(objects(TOO_MANY[self._what]))
        if client.status().problems:
            self.outcome.say(f"it fits, and there are problems: {client.status().problems}")
        for address in (self._late, LATER):
            self.outcome.tried += 1
            self.outcome.made += self._instance.reaches("friend", address, timeout=2 * RESOLVED_SECONDS)


def heard(instance: Instance, source: str, address: str, hearing: socket.socket, count: int) -> int:
    """Of so many datagrams from a pod to an address, how many a socket hears."""
    with instance.inside(source, lambda: socket.socket(type=socket.SOCK_DGRAM)) as one:
        for number in range(count):
            one.sendto(b"%d" % number, (address, PORT))
    hearing.settimeout(HEARD_SECONDS)
    found = 0
    try:
        while hearing.recv(100):
            found += 1
    except OSError:
        return found
    return found

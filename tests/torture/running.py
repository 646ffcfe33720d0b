"""A world on a machine of its own, the traffic that runs through it, and what both come to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloche.agent.attest import judge, read
from cloche.agent.client import AgentError, Client
from cloche.agent.disk import Disk
from cloche.agent.pipe import Pipe
from cloche.agent.statement import Snapshot
from cloche.agent.system import this_host
from cloche.datapath import host_addresses, namespaces
from cloche.datapath.faults import VARIABLE
from e2e.agent_lab import SMALL, Instance, addresses, ingress_from, pod, policy, service
from torture.flows import LATE_SECONDS
from torture.wire import PORT, End, Mark, Open, Passers, Totals, Way

TESTS = Path(__file__).resolve().parents[1]
ENDPOINTS, QUOTA = 16, 32768
ROOMY = msgspec.structs.replace(
    SMALL, endpoints=ENDPOINTS, quota=QUOTA, flow_slots=QUOTA * ENDPOINTS, flows=131072
)
"""No flow of these tests is evicted for another."""
DEAF = policy("deaf", "{podSelector: {matchLabels: {name: friend}}, policyTypes: [Ingress]}")
BASE = (
    pod("web", ports="80/TCP 53/UDP")
    + pod("friend")
    + pod("stranger")
    + ingress_from("lid", "web", "friend")
    + DEAF
    + service("web", PORT)
)
"""The friend reaches the web pod and is answered; nobody else reaches it, and nobody the friend."""


class Traffic:
    """The process that makes the traffic; see ``traffic``."""

    def __init__(self, asked: Open) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "torture.serve", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=TESTS,
            )
        self._socket = ours
        self._pipe = Pipe(ours)
        self._ask(asked)

    def _ask(self, message: object) -> object:
        self._pipe.send(message)
        return self._pipe.receive()

    def mark(self) -> int:
        """Begin a round; its number."""
        return int(self._ask(Mark()))

    def end(self, late: float = LATE_SECONDS) -> Totals:
        """What it came to; waits so long for what is under way."""
        totals = self._ask(End(late))
        self._process.wait()
        return totals

    def close(self) -> None:
        """End it, whatever it is at."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def flowing(asked: Open) -> Iterator[Traffic]:
    """Traffic, ended with the test."""
    made = Traffic(asked)
    try:
        yield made
    finally:
        made.close()


class Ends(NamedTuple):
    """Where the pods of ``BASE`` are."""

    web: tuple[str, str]
    friend: tuple[str, str]
    service: tuple[str, ...]


def ends(client: Client) -> Ends:
    """As the agent shows them."""
    service = next(shown for shown in client.services() if shown.service == "default/web")
    return Ends(addresses(client, "web"), addresses(client, "friend"), tuple(service.addresses))


def name_of(instance: Instance, pod_name: str) -> str:
    """The name of a pod's network namespace."""
    return namespaces.netns_name(instance.config.instance, f"default/{pod_name}")


def ways(instance: Instance, where: Ends) -> tuple[Way, ...]:
    """Allowed and forbidden traffic between the pods of ``BASE``, both families, by the service too."""
    web, friend, stranger = (name_of(instance, pod_name) for pod_name in ("web", "friend", "stranger"))
    return (
        Way(friend, web, where.web[0], True),
        Way(friend, web, where.web[1], True),
        Way(friend, web, where.service[0], True),
        Way(stranger, web, where.web[0], False),
        Way(stranger, web, where.web[1], False),
        Way(stranger, web, where.service[0], False),
        Way(web, friend, where.friend[0], False, steady=False),
    )


def passers(instance: Instance, prefix: str, where: Ends, coming: tuple[str, ...]) -> Passers:
    """Pods whose names begin with ``prefix``: the web pod may not hear them, the stranger not reach them."""
    return Passers(name_of(instance, prefix), name_of(instance, "stranger"), where.web, coming)


def armed(instance: Instance, fault: str = "") -> Client | None:
    """A client of an agent that is started to end at this point; None when it ended while it started."""
    os.environ[VARIABLE] = fault
    try:
        return instance.start()
    except AgentError as error:
        if not fault or "ended with status -9" not in str(error):
            raise
        return None
    finally:
        del os.environ[VARIABLE]


def differences(instance: Instance, client: Client) -> tuple[str, ...]:
    """How what the kernel holds differs from what is on disk, compiled anew in this process; no agent is
    asked but for the number of its generation."""
    disk = Disk(instance.config)

    def judged() -> tuple[str, ...]:
        host = this_host(tuple(host_addresses()))
        attached = disk.load_ledger().attached
        generation = client.status().generation
        snapshot = Snapshot(instance.config, host, disk.load_kept(), attached, generation)
        found = judge(snapshot, read(instance.config), 0.0)
        status = client.status()
        if found.exact and (found.kernel, generation) != (status.digest, status.generation):
            said = f"{status.digest} of generation {status.generation}"
            return (f"the kernel has {found.kernel} of generation {generation}, the agent says {said}",)
        return found.differences

    return namespaces.call_in(instance.host, judged)

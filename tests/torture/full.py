"""Tables that are full while packets pass: an endpoint's quota of flows, the flow table, the ring buffer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from cloche.agent.client import Client
from cloche.datapath.events import read_flows, read_reasons
from cloche.datapath.layout import Age
from cloche.datapath.pins import Maps, opened_maps, pin_directory
from cloche.model.reasons import Reason
from e2e.agent_lab import (
    SMALL,
    Instance,
    addresses,
    endpoint,
    ingress_from,
    objects,
    pod,
    replace,
    service,
    wait_for,
)
from torture.outcome import Outcome
from torture.running import BASE, ends, flowing, name_of, ways
from torture.wire import PORT, Open, Way

ANSWER_SECONDS = 0.5
AT_ONCE = 32
OWN_PORT = 40000
"""From here on, so that no port comes twice: a flow that is there already may be the next to go. The counted
traffic has none of them."""
LINES, QUOTA = 200, 512
AT_QUOTA = msgspec.structs.replace(SMALL, quota=QUOTA, flow_slots=QUOTA * SMALL.endpoints, flows=65536)
PUSHED = 7100
"""Where the web pod speaks first."""
SILENT = 7200
HOLE = f"""table inet hole {{
  chain in {{
    type filter hook input priority 0
    tcp dport {SILENT} drop
  }}
}}
"""
"""The web pod's own firewall, by which what connects there stays half open."""
FLOWS = 512
REGION = FLOWS // 2
TABLE_FULL = msgspec.structs.replace(SMALL, quota=REGION, flow_slots=REGION * SMALL.endpoints, flows=FLOWS)
GREEDY = ("greedy-a", "greedy-b", "greedy-c")
RING = msgspec.structs.replace(SMALL, ring_bytes=16384)
DENIED = 1000
"""Fewer than an endpoint's burst of events: none is left out for its rate."""
OPEN_TO_ALL = pod("web", ports="80/TCP 53/UDP")


@contextmanager
def maps_of(instance: Instance) -> Iterator[Maps]:
    """The instance's maps."""
    maps = opened_maps(pin_directory(instance.config.instance))
    assert maps is not None
    try:
        yield maps
    finally:
        maps.close()


def owned(instance: Instance) -> Counter[tuple[int, int]]:
    """How many flows each endpoint has, by its number and their age."""
    with maps_of(instance) as maps:
        return Counter((flow.owner, flow.age) for _key, flow in read_flows(maps.flows))


def by_owner(flows: Counter[tuple[int, int]]) -> Counter[int]:
    """The same of whatever age."""
    found: Counter[int] = Counter()
    for (owner, _age), count in flows.items():
        found[owner] += count
    return found


def asked(instance: Instance, name: str, address: str, count: int) -> int:
    """New UDP flows from a pod to an echo, one datagram each; how many were answered."""
    answered = 0
    for first in range(0, count, AT_ONCE):
        with ExitStack() as stack:
            size = min(AT_ONCE, count - first)
            opened = instance.inside(
                name, lambda size=size: [socket.socket(type=socket.SOCK_DGRAM) for _ in range(size)]
            )
            for number, one in enumerate(opened):
                stack.enter_context(one)
                one.bind(("", OWN_PORT + first + number))
                one.settimeout(ANSWER_SECONDS)
                one.sendto(b"%d\n" % (first + number), (address, 53))
            answered += sum(is_answered(one) for one in opened)
    return answered


def is_answered(one: socket.socket) -> bool:
    """True when something comes back in time."""
    try:
        return bool(one.recv(100))
    except OSError:
        return False


def knocked(instance: Instance, stack: ExitStack, name: str, address: str) -> int:
    """Try to connect where nobody answers, more often than a pod may have flows; how many are half open."""
    for _ in range(QUOTA):
        one = stack.enter_context(instance.inside(name, socket.socket))
        one.setblocking(False)
        one.connect_ex((address, SILENT))
    with maps_of(instance) as maps:
        return sum(flow.age == Age.TCP_OPENING for _key, flow in read_flows(maps.flows))


class Lines:
    """Open connections from a pod to the web pod's, which speaks first."""

    def __init__(self, instance: Instance, stack: ExitStack, name: str, address: str) -> None:
        listener = instance.inside("web", lambda: socket.create_server((address, PUSHED), backlog=LINES))
        stack.enter_context(listener)
        self._pairs = []
        for _ in range(LINES):
            one = instance.inside(name, lambda: socket.create_connection((address, PUSHED), ANSWER_SECONDS))
            other, _peer = listener.accept()
            self._pairs.append((stack.enter_context(one), stack.enter_context(other)))

    def pushed(self) -> int:
        """How many get what the other end sends now, of itself."""
        for _one, other in self._pairs:
            other.sendall(b"!")
        return sum(is_answered(one) for one, _other in self._pairs)


def at_quota(instance: Instance, flood: int) -> Outcome:
    """A pod with open connections makes ``flood`` more flows than it may have: it loses none of those to
    half-open ones and datagrams, its new flows are answered, others' go on, what is forbidden stays so."""
    outcome = Outcome("an endpoint at its quota of flows", rounds=1)
    world = BASE + pod("greedy")
    world += ingress_from("too", "web", "greedy") + ingress_from("shut", "greedy", "nobody")
    with instance.start() as client, ExitStack() as stack:
        replace(client, world)
        where, web, number = ends(client), addresses(client, "web")[0], endpoint(client, "greedy").number
        lines = Lines(instance, stack, "greedy", web)
        kind = Open(ways(instance, where) + forbidden(instance, "greedy", where.friend), (), 0.005, 0.2)
        instance.inside("web", lambda: subprocess.run(["nft", "-f", "-"], input=HOLE, text=True, check=True))
        with flowing(kind) as traffic:
            before = owned(instance)
            half_open = knocked(instance, stack, "greedy", web)
            outcome.tried += flood
            outcome.made += asked(instance, "greedy", web, flood)
            after = owned(instance)
            totals = traffic.end()
        outcome.tried += LINES
        outcome.made += lines.pushed()
        outcome.wrong += totals.wrong
        for tally in totals.rounds:
            outcome.add(tally)
        have = by_owner(after)[number]
        kept = after[number, Age.TCP_OPEN]
        if not half_open:
            outcome.say("no connection was half open")
        if have > QUOTA or kept < LINES:
            outcome.say(f"{have} flows of {QUOTA}, {kept} open connections of {LINES}")
        had, has = by_owner(before), by_owner(after)
        lost = {
            owner: had[owner] - has[owner] for owner in had if owner != number and had[owner] > has[owner]
        }
        if lost:
            outcome.say(f"others lost flows: {lost}")
    return outcome


def forbidden(instance: Instance, name: str, where: tuple[str, str]) -> tuple[Way, ...]:
    """From a pod to the friend, both families: nothing of it may arrive."""
    source, target = name_of(instance, name), name_of(instance, "friend")
    return tuple(Way(source, target, address, False) for address in where)


def table_full(instance: Instance) -> Outcome:
    """Pods fill the whole table with flows that live. A pod without any is judged packet by packet: what is
    allowed in both directions passes, what is not does not; by a service it gets nothing, which is counted.
    When the others are gone, there is room again."""
    outcome = Outcome("the whole flow table full", rounds=1)
    base = OPEN_TO_ALL + pod("friend") + pod("stranger") + service("web", PORT) + pod("quiet")
    world = (
        base
        + "".join(map(pod, GREEDY))
        + "".join(ingress_from(f"lid-{name}", "web", name) for name in ("friend", "quiet", *GREEDY))
    )
    with instance.start() as client:
        replace(client, world)
        where, web = ends(client), addresses(client, "web")[0]
        for name in GREEDY:
            outcome.tried += REGION
            outcome.made += asked(instance, name, web, REGION)
        if used(client) < FLOWS:
            outcome.say(f"the table is not full: {used(client)} of {FLOWS}")
        stranger, target, quiet = (name_of(instance, name) for name in ("stranger", "web", "quiet"))
        both = [(quiet, True), (stranger, False)]
        found = tuple(Way(source, target, address, may) for address in where.web for source, may in both)
        with flowing(Open(found, (), 0.01, 0.1)) as traffic, maps_of(instance) as maps:
            before = read_reasons(maps.reasons)[Reason.FLOW_TABLE_FULL]
            if instance.reaches("quiet", where.service[0], 7000, timeout=0.5):
                outcome.say("a service's flow passed that could not be remembered")
            if read_reasons(maps.reasons)[Reason.FLOW_TABLE_FULL] == before:
                outcome.say("what could not be remembered was not counted")
            time.sleep(2.0)
            client.delete(objects("".join(map(pod, GREEDY))))
            wait_for(lambda: used(client) < REGION, 25.0)
            outcome.tried += 1
            outcome.made += instance.reaches("quiet", where.service[0], 7000)
            totals = traffic.end()
        outcome.wrong += totals.wrong
        for tally in totals.rounds:
            outcome.add(tally)
    return outcome


def used(client: Client) -> int:
    """Entries of the flow table."""
    return next(shown.entries for shown in client.maps() if shown.map == "flows")


def ring_full(instance: Instance) -> Outcome:
    """Nobody reads events, and there are more than the ring holds: packets are judged all the same, and what
    was lost is told exactly as soon as somebody reads."""
    outcome = Outcome("the ring buffer full", rounds=1)
    with instance.start() as client:
        replace(client, BASE)
        web = addresses(client, "web")[0]
        before, pid = client.status(), instance.pid()
        hearing = instance.inside("web", lambda: bound((web, 7000)))
        with hearing, instance.inside("stranger", lambda: socket.socket(type=socket.SOCK_DGRAM)) as one:
            os.kill(pid, signal.SIGSTOP)
            try:
                for number in range(DENIED):
                    one.sendto(b"%d" % number, (web, 7000))
                outcome.tried += 20
                outcome.made += sum(instance.reaches("friend", web) for _ in range(20))
            finally:
                os.kill(pid, signal.SIGCONT)
            wait_for(lambda: client.status().events_seen > before.events_seen)
            time.sleep(0.5)
            for _ in range(2):
                one.sendto(b"last", (web, 7000))
            outcome.forbidden += DENIED + 2
            outcome.arrived += is_answered(hearing)

        def told() -> int:
            status = client.status()
            seen = status.events_seen - before.events_seen
            return seen + status.events_suppressed - before.events_suppressed

        wait_for(lambda: told() >= DENIED + 2)
        lost = client.status().events_suppressed - before.events_suppressed
        if lost < DENIED // 2:
            outcome.say(f"the ring was not full: {lost} of {DENIED} events lost")
        if not any(event.suppressed for event in client.flows()):
            outcome.say("no event says how many were left out before it")
    return outcome


def bound(address: tuple[str, int]) -> socket.socket:
    """A UDP socket that hears what comes to this address."""
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(0.3)
    return made

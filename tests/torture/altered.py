"""The kernel's state altered from outside, under traffic: found, said and mended; elsewhere nothing is lost.

What an alteration itself touches, the web pod's ways and those through the host's stack, it may close, and a
few may open them: what that comes to is counted apart, with the seconds until all is whole again. Traffic
between other pods goes on meanwhile, in flows that live through everything. Afterwards nothing may be lost or
arrive anywhere.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cloche.agent.client import Client
from cloche.datapath import bpf, links, namespaces
from e2e.agent_lab import Instance, Machine, addresses, ingress_from, pod, service, wait_for
from e2e.altered_devices import DEVICES, HAS_LINKS
from e2e.altered_tables import (
    TABLES,
    add_prefix,
    alter_address,
    alter_atoms,
    alter_cells,
    alter_configuration,
    alter_heads,
    forget_generation,
    hide_addresses,
    unprotect,
)
from e2e.altered_world import Running, running
from torture.census import left_over, settled
from torture.outcome import Altered
from torture.running import DEAF, differences, ends, flowing, name_of, ways
from torture.wire import PORT, Open, Way

Alteration = Callable[[Running], str]
HERE, NEAR, FAR = "192.0.2.1", "192.0.2.2", "192.0.2.66"
"""The host's address, and two beyond it: one that the envoy may reach, one that he may not."""
ELSEWHERE = (
    pod("calm") + pod("peer") + pod("foe") + ingress_from("calm", "calm", "peer") + service("calm", PORT)
)
OPENS: tuple[Alteration, ...] = (alter_address, alter_cells, alter_heads, unprotect, add_prefix)
"""Those that let something through which may not pass, until they are mended."""
EVERYBODY: tuple[Alteration, ...] = (
    alter_cells,
    alter_heads,
    alter_atoms,
    forget_generation,
    hide_addresses,
    alter_configuration,
)
"""Those that touch every way; sets that decide alike have the same cells."""
SOON_SECONDS = 30.0
LEAD_SECONDS, AFTER_SECONDS, LATE_SECONDS = 0.4, 0.6, 0.3
RATE, NEW_RATE = 0.005, 0.05
POLL_SECONDS = 0.02


def detach_uplink(up: Running) -> str:
    """The program on the device that leads outside is detached."""
    (pin,) = up.pin("links").glob("uplink-*")
    fd = bpf.get_pinned(str(pin))
    links.detach(fd)
    os.close(fd)
    return f"{pin.name}: the program was detached"


EVERYTHING: tuple[Alteration, ...] = (*TABLES, *DEVICES, *((detach_uplink,) if HAS_LINKS else ()))


class Site(NamedTuple):
    """A running instance, the namespace beyond its host, and the ways."""

    up: Running
    near: tuple[Way, ...]
    elsewhere: tuple[Way, ...]


@contextmanager
def beyond(host: Machine) -> Iterator[str]:
    """A network namespace that the host leads to; its name."""
    name = f"{host.name}-out"
    namespaces.create(name)
    inside = (
        "link set lo up",
        "link set eth0 up",
        f"addr add {NEAR}/24 dev eth0",
        f"addr add {FAR}/24 dev eth0",
    )
    try:
        for command in (
            f"link add up0 type veth peer eth0 netns {name}",
            f"addr add {HERE}/24 dev up0",
            "link set up0 up",
        ):
            subprocess.run(["ip", "-n", host.name, *command.split()], check=True)
        for command in (*inside, f"route add default via {HERE}"):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        namespaces.remove(name)


@contextmanager
def site(host: Machine, instance: Instance) -> Iterator[Site]:
    """The world of the alterations, with other pods beside it."""
    with beyond(host) as out, running(instance, DEAF + ELSEWHERE) as up:
        wait_for(lambda: up.client.status().uplinks == ("up0",))
        web, envoy = name_of(instance, "web"), name_of(instance, "envoy")
        outside = (
            Way(envoy, out, NEAR, True),
            Way(envoy, out, FAR, False),
            Way(out, web, up.web, False),
        )
        yield Site(up, (*ways(instance, ends(up.client)), *outside), elsewhere(instance, up.client))


def elsewhere(instance: Instance, client: Client) -> tuple[Way, ...]:
    """What goes on between pods that nobody alters anything of, both families, by a service too."""
    calm, peer, foe = (name_of(instance, name) for name in ("calm", "peer", "foe"))
    service = next(shown for shown in client.services() if shown.service == "default/calm")
    to = (*addresses(client, "calm"), service.addresses[0])
    return tuple(Way(source, calm, address, source == peer) for source in (peer, foe) for address in to)


class Alterations:
    """One instance, altered again and again."""

    def __init__(self, host: Machine, instance: Instance) -> None:
        self._host, self._instance = host, instance
        self.rows: dict[Alteration, Altered] = {}

    def run(self, alterations: Iterable[Alteration], tick: Callable[[], None]) -> list[Altered]:
        """Each of them, one after another; what they came to. ``tick`` is called after each."""
        wanted = list(alterations)
        apart = [alter for alter in wanted if alter not in EVERYBODY]
        with site(self._host, self._instance) as found:
            before = settled(self._instance)
            with flowing(Open(found.elsewhere, (), RATE, NEW_RATE)) as others:
                for alter in apart:
                    others.mark()
                    self._round(found.up, alter, found.near)
                    tick()
                totals = others.end()
            for alter, tally in zip(apart, totals.rounds[1:], strict=True):
                self.rows[alter].add(tally)
            if totals.wrong:
                bad = [self.rows[alter] for alter in apart if not self.rows[alter].clean]
                (bad or list(self.rows.values()))[0].wrong += totals.wrong
            for alter in (alter for alter in wanted if alter in EVERYBODY):
                self._round(found.up, alter, (*found.near, *found.elsewhere))
                tick()
            rows = list(self.rows.values())
            left = left_over(self._instance, before)
            if left:
                rows[-1].say(f"after everything there is left or missing: {left}")
        self._instance.kill()
        with self._instance.start() as client:
            if differences(self._instance, client):
                rows[-1].say(f"after a restart tables differ: {differences(self._instance, client)}")
        return rows

    def _round(self, up: Running, alter: Alteration, near: tuple[Way, ...]) -> None:
        row = self.rows.setdefault(alter, Altered((alter.__doc__ or "").rstrip(".")))
        with flowing(Open(near, (), RATE, NEW_RATE)) as traffic:
            time.sleep(LEAD_SECONDS)
            wall, begin = time.time(), time.monotonic()
            what = alter(up)
            until(lambda: bool(told(up.client, what, wall)), begin)
            found = min(told(up.client, what, wall), default=2 * SOON_SECONDS)
            whole = until(lambda: is_whole(up), begin)
            totals = traffic.end(LATE_SECONDS)
        row.met(totals.rounds, found, whole)
        if alter not in OPENS and any(tally.arrived for tally in totals.rounds):
            row.say(f"it opened what it should not: {totals.wrong}")
        if max(found, whole) > SOON_SECONDS:
            row.say(f"{what}: found after {found:.1f} s, whole after {whole:.1f} s")
        with flowing(Open(near, (), RATE, NEW_RATE)) as traffic:
            time.sleep(AFTER_SECONDS)
            totals = traffic.end()
        for tally in totals.rounds:
            row.add(tally)
        row.wrong += totals.wrong


def until(condition: Callable[[], bool], begin: float) -> float:
    """The seconds until it holds, or more than there may be."""
    while time.monotonic() - begin <= SOON_SECONDS and not condition():
        time.sleep(POLL_SECONDS)
    return time.monotonic() - begin


def told(client: Client, what: str, since: float) -> list[float]:
    """The seconds after a moment of the wall clock at which events say that this was found."""
    return [
        event.time - since
        for event in client.flows()
        if event.kind == "repaired" and event.time >= since and what in event.detail
    ]


def is_whole(up: Running) -> bool:
    """True when the maps are those of the model again, and the friend reaches the web pod."""
    if up.client.status().problems or not up.client.attest().exact:
        return False
    return up.instance.reaches("friend", up.web, timeout=0.5)

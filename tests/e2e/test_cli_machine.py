"""What the machine has already is found before anything is made; a refused ``up`` changes nothing of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.datapath import namespaces
from cloche.datapath.ownership import ETC
from e2e.agent_lab import Machine
from e2e.cli_lab import ROOT, SECONDS, Said, Sandbox, leftovers, sandbox

SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/up0/accept_ra")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {containers: [{name: c, image: c, ports: [{containerPort: 80}]}]}
"""
KEPT = POD + 'status: {podIPs: [{ip: "%s"}]}\n'
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: "%s", selector: {app: a}, ports: [{port: 80}]}
"""


class Place(NamedTuple):
    """A machine with one uplink, 203.0.113.1/24 and 2001:db8::1/64, and a sandbox that is to be on it."""

    host: Machine
    made: Sandbox

    def here(self, *words: str, stdin: str = "") -> Said:
        """What these words say on the machine."""
        done = subprocess.run(
            ["nsenter", f"--net={self.host.path}", *words],
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.made.environment,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def up(self, stdin: str, *more: str) -> Said:
        """Bring it up, detached."""
        ranges = [] if more else self.made.ranges
        return self.here(*self.made.command("up", "--detach", "-f", "-", *ranges, *more), stdin=stdin)

    def state(self) -> list[str]:
        """Everything of the machine that an instance could change: settings, devices, routes, tables."""
        commands = ("ip -o -d link", "ip -o addr", "ip route show table all", "ip -6 route show table all")
        said = [self.here(*command.split()).out for command in (*commands, "nft list ruleset")]
        return said + [self.here("cat", f"/proc/sys/{name}").out for name in SETTINGS]


@pytest.fixture
def place(host: Machine) -> Iterator[Place]:
    """Nothing of the sandbox is there yet."""
    with sandbox(1) as made:
        found = Place(host, made)
        for command in (
            "link add up0 type veth peer out0",
            "link set up0 addrgenmode none",
            "link set out0 addrgenmode none",
            "addr add 203.0.113.1/24 dev up0",
            "addr add 2001:db8::1/64 dev up0 nodad",
            "link set up0 up",
            "link set out0 up",
        ):
            assert found.here("ip", *command.split()).status == 0
        found.here("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
        found.here(*made.command("check", "-f", "-"), stdin=POD)
        yield found
        found.here(*made.command("clean"))


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (
            KEPT % "203.0.113.77",
            "<stdin>:2: error: status.podIPs: the address 203.0.113.77 of pod default/a overlaps 203.0.113.",
        ),
        (KEPT % "2001:db8::77", "the address 2001:db8::77 of pod default/a overlaps 2001:db8::/64"),
        (KEPT % "203.0.113.1", "<stdin>:2: error: status.podIPs: default/a has 203.0.113.1"),
        (POD + SERVICE % "203.0.113.1", "<stdin>:8: error: spec.clusterIP: default/s has 203.0.113.1"),
        (POD + SERVICE % "2001:db8::1", "<stdin>:8: error: spec.clusterIP: default/s has 2001:db8::1"),
        (POD + SERVICE % "192.0.0.8", "<stdin>:11: error: spec.clusterIP: 192.0.0.8"),
    ],
)
def test_addresses_of_the_machine_are_refused(place: Place, world: str, said: str) -> None:
    """Kept addresses and cluster addresses that are the machine's, or that it reaches elsewhere, are refused
    with the place and a hint; no setting, device, route or file is changed."""
    before = place.state()
    answer = place.up(world)
    assert answer.status == 2
    assert said in answer.err
    assert "(" in answer.err
    assert place.state() == before
    assert leftovers(place.made.name) == []


def test_ranges_that_cannot_work_are_refused(place: Place) -> None:
    """Link-local, multicast and class E ranges, and one that discards on this machine: nothing is changed."""
    place.here("ip", "route", "add", "blackhole", "10.171.0.0/16")
    before = place.state()
    for text in ("169.254.0.0/16", "224.0.0.0/16", "240.0.0.0/16", "ff02::/64", "10.171.0.0/17"):
        answer = place.up(POD, "--pod-cidr", text)
        assert answer.status == 2, answer
        assert text in answer.err
    assert place.state() == before
    assert leftovers(place.made.name) == []


def test_what_strangers_made_is_refused(place: Place) -> None:
    """A device, a namespace and a resolv.conf with the sandbox's names: each is named, nothing is changed,
    and clean leaves them."""
    name = place.made.name
    netns, folder = f"{name}.default.a", ETC / f"{name}.default.a"
    place.here("ip", "link", "add", f"{name}-1", "type", "veth", "peer", "mine")
    namespaces.create(netns)
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    try:
        for said in (
            (f"{name}-1: this machine has a device",),
            (f"{netns}: this machine has", "this file is"),
        ):
            before = place.state()
            answer = place.up(POD)
            assert answer.status == 2
            assert [what for what in said if what not in answer.err] == []
            assert place.state() == before
            if said[0].startswith(f"{name}-1"):
                place.here("ip", "link", "set", f"{name}-1", "name", "other")
        before = place.state()
        assert place.here(*place.made.command("clean")).status == 0
        assert place.state() == before
        assert netns in namespaces.names_of(name)
        assert (folder / "resolv.conf").read_text() == "nameserver 192.0.2.53\n"
    finally:
        (folder / "resolv.conf").unlink()
        folder.rmdir()
        namespaces.remove(netns)


def test_a_running_sandbox_refuses_the_machines_addresses(place: Place) -> None:
    """apply of a service with the host's own address is refused with file, line and field, and changes
    nothing; the world goes on."""
    up = place.up(POD)
    assert up.status == 0, up.err
    with place.made.client() as client:
        generation = client.status().generation
        answer = place.made.run("apply", "-f", "-", stdin=SERVICE % "203.0.113.1")
        assert answer.status == 2
        assert "<stdin>:3: error: spec.clusterIP: default/s has 203.0.113.1" in answer.err
        assert client.status().generation == generation
        assert place.made.run("apply", "-f", "-", stdin=KEPT % "203.0.113.77").status == 2
        assert client.status().generation == generation
        assert client.status().problems == ()
    assert place.made.run("exec", "a", "--", "true").status == 0

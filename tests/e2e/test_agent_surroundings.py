"""The host changes under a running agent: uplinks come and go, and the host gets new addresses."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.agent.client import Client
from cloche.datapath import namespaces
from e2e.agent_lab import Instance, Machine, addresses, pod, policy, replace, wait_for

WORLD = (
    pod("open") + pod("friend") + pod("shut") + policy("shut", "{podSelector: {matchLabels: {name: shut}}}")
)
PORT = 9999
FAMILIES = pytest.mark.parametrize("which", [0, 1], ids=["IPv4", "IPv6"])
HERE, THERE = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2")


class Site(NamedTuple):
    """A machine with a running instance, and a namespace beyond it that no device leads to yet."""

    host: Machine
    instance: Instance
    client: Client
    beyond: str

    def ip(self, *commands: str) -> None:
        """Run ``ip`` on the machine with each of these."""
        for command in commands:
            namespaces.call_in(
                self.host.path, lambda c=command: subprocess.run(["ip", *c.split()], check=True)
            )

    def outside(self, *commands: str) -> None:
        """Run ``ip`` beyond the machine with each of these."""
        for command in commands:
            subprocess.run(["ip", "-n", self.beyond, *command.split()], check=True)

    def link(self, name: str = "up0") -> None:
        """A device on the machine that leads to the namespace beyond, both ends up, without addresses."""
        self.ip(f"link add {name} type veth peer eth0 netns {self.beyond}", f"link set {name} up")
        self.outside("link set eth0 up")

    def give_addresses(self, name: str = "up0") -> None:
        """Addresses on both ends, and routes back from beyond."""
        self.ip(f"addr add {HERE[0]}/24 dev {name}", f"addr add {HERE[1]}/64 dev {name} nodad")
        self.outside(f"addr add {THERE[0]}/24 dev eth0", f"addr add {THERE[1]}/64 dev eth0 nodad")
        self.outside(f"route add default via {HERE[0]}", f"-6 route add default via {HERE[1]}")

    def uplinks(self) -> tuple[str, ...]:
        """What the agent says its uplinks are."""
        return self.client.status().uplinks


@pytest.fixture
def site(host: Machine) -> Iterator[Site]:
    """An instance without any uplink."""
    instance = host.instance()
    beyond = f"{host.name}-out"
    namespaces.create(beyond)
    try:
        with instance.start() as client:
            replace(client, WORLD)
            yield Site(host, instance, client, beyond)
    finally:
        namespaces.remove(beyond)


def ear(site: Site, address: str) -> socket.socket:
    """A UDP socket in the pod ``open``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = site.instance.inside("open", lambda: socket.socket(family, socket.SOCK_DGRAM))
    made.bind((address, PORT))
    made.settimeout(0.5)
    return made


def speak(site: Site, source: str, target: str) -> None:
    """A datagram from beyond the machine under this address, which says what address that is."""

    def send() -> None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.bind((source, 0))
            made.sendto(source.encode(), (target, PORT))

    namespaces.call_in(namespaces.netns_path(site.beyond), send)


@FAMILIES
def test_a_later_uplink_does_not_speak_as_a_pod(site: Site, which: int) -> None:
    """A device that gets its addresses after the start is an uplink at once: what comes from there under a
    pod's address is dropped, what comes under its own arrives."""
    site.link()
    assert site.uplinks() == ()
    site.give_addresses()
    wait_for(lambda: site.uplinks() == ("up0",), 3)
    claimed, target = (addresses(site.client, name)[which] for name in ("friend", "open"))
    site.outside(f"addr add {claimed}/{(32, 128)[which]} dev eth0" + (" nodad" if which else ""))
    with ear(site, target) as heard:
        for source in (THERE[which], claimed, claimed, THERE[which]):
            speak(site, source, target)
        for _ in range(2):
            assert heard.recv(100) == THERE[which].encode()
        with pytest.raises(TimeoutError):
            heard.recv(100)
    reasons = {event.reason for event in site.client.flows() if event.kind == "drop"}
    assert "spoofed-address" in reasons


def test_uplinks_follow_addresses_and_default_routes(site: Site) -> None:
    """A device is an uplink while it holds an address or a default route, and no longer; show tells them."""
    site.link()
    site.ip("route add default dev up0")
    wait_for(lambda: site.uplinks() == ("up0",), 3)
    site.give_addresses()
    wait_for(lambda: {a for d in site.client.devices() for a in d.addresses} == set(HERE), 3)
    roles = {shown.device: shown.role for shown in site.client.devices()}
    assert roles == {site.instance.config.instance: "stack", "up0": "uplink"}
    site.ip("addr flush dev up0 scope global", "-6 addr flush dev up0 scope global")
    site.ip("route replace default dev up0")
    wait_for(lambda: {a for d in site.client.devices() for a in d.addresses} == set(), 3)
    wait_for(lambda: site.uplinks() == ("up0",), 3)
    site.ip("route del default dev up0")
    wait_for(lambda: site.uplinks() == (), 3)
    site.ip("link del up0")


@FAMILIES
def test_a_later_host_address_is_the_hosts(site: Site, which: int) -> None:
    """A process of the host reaches an isolated pod also from an address that the host got after the start,
    and not from one that is not the host's any more."""
    site.link()
    target = addresses(site.client, "shut")[which]

    def reaches() -> bool:
        def call() -> bool:
            try:
                socket.create_connection((target, 80), 0.3, source_address=(HERE[which], 0)).close()
            except OSError:
                return False
            return True

        return namespaces.call_in(site.host.path, call)

    assert not site.instance.reaches("friend", target, timeout=0.3)
    assert not reaches()
    generation = site.client.status().generation
    site.give_addresses()
    wait_for(reaches, 4)
    wait_for(lambda: site.client.status().generation > generation, 4)  # told a moment after it is in force
    assert not site.instance.reaches("friend", target, timeout=0.3)
    assert site.client.status().problems == ()


def test_uplinks_chosen_by_name(site: Site) -> None:
    """With names given only those are uplinks, whatever holds addresses; one that is not there yet is a
    problem until it comes."""
    named = site.host.instance(devices=("up9",))
    site.link()
    site.give_addresses()
    with named.start() as client:
        assert client.status().uplinks == ()
        assert any("up9" in problem for problem in client.status().problems)
        site.ip("link add up9 type veth peer up9x")
        wait_for(lambda: client.status().uplinks == ("up9",), 3)
        assert client.status().problems == ()
        client.down()


def test_a_later_clash_is_told(site: Site) -> None:
    """A route that somebody lays through the pods' range is named among the problems, and gone with it."""
    block = str(site.instance.config.pod_ranges[0])
    site.link()
    site.ip(f"route add {block} dev up0 metric 5")
    wait_for(lambda: any(block in problem for problem in site.client.status().problems), 3)
    site.ip(f"route del {block} dev up0 metric 5")
    wait_for(lambda: site.client.status().problems == (), 3)

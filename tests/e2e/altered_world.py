"""The world in which tests alter the kernel's state from outside, and what they need to know to do so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cloche.agent.client import Client
from cloche.datapath import namespaces
from cloche.datapath.pins import Maps, opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.model.address import parse_address, parse_block
from cloche.tables.schema import AddressKey, EndpointEntry, MemberKey, PrefixKey, ServiceEntry, ServiceKey
from e2e.agent_lab import Instance, addresses, endpoint, ingress_from, pod, policy, replace, service

PORTS = (80, 7000)
"""What the web pod may be reached at."""
NEAR, FAR = "192.0.2.0/28", "192.0.2.64/28"
"""Beyond the machine: what the envoy may reach, and what he may not."""
ENVOY = policy(
    "envoy",
    "{podSelector: {matchLabels: {name: envoy}}, policyTypes: [Egress], "
    f"egress: [{{to: [{{ipBlock: {{cidr: {NEAR}}}}}]}}]}}",
)
WORLD = pod("web") + pod("friend") + pod("stranger") + ingress_from("lid", "web", "friend")
WORLD += service("web", PORTS[1]) + pod("envoy") + ENVOY


class Running(NamedTuple):
    """A sandbox, a connection to its agent, the maps it has pinned, and the web pod's IPv4 address."""

    instance: Instance
    client: Client
    maps: Maps
    web: str

    def on_host(self, function: Callable[[], object]) -> None:
        """Do something in the machine's network namespace."""
        namespaces.call_in(self.instance.host, function)

    def command(self, *words: str) -> None:
        """Run a command in the machine's network namespace."""
        self.on_host(lambda: subprocess.run(words, check=True, capture_output=True))

    def pin(self, *parts: str) -> Path:
        """Where something of the instance is pinned."""
        return pin_directory(self.instance.config.instance).joinpath(*parts)

    def key(self, name: str) -> AddressKey:
        """The key of a pod's IPv4 address in the addresses map."""
        wanted = parse_address(addresses(self.client, name)[0])
        return next(key for key in read_back(self.maps).addresses if key.address == wanted)

    def set_of_web(self) -> tuple[int, int]:
        """The active generation, and the number of the web pod's ingress set in it."""
        tables = read_back(self.maps)
        entry = tables.endpoints[endpoint(self.client, "web").number]
        return tables.generation, entry.ingress.at(tables.generation)


def endpoint_entry(up: Running) -> EndpointEntry:
    """The web pod's entry of the endpoints map."""
    return read_back(up.maps).endpoints[endpoint(up.client, "web").number]


def near(up: Running) -> PrefixKey:
    """The key of the block that the envoy may reach."""
    return PrefixKey(up.key("envoy").network, parse_block(NEAR))


def services(up: Running) -> dict[ServiceKey, ServiceEntry]:
    """The web pod's service in the services map: an entry for each of its ports and addresses."""
    shown = next(one for one in up.client.services() if one.service == "default/web")
    wanted = {parse_address(address) for address in shown.addresses}
    return {key: entry for key, entry in read_back(up.maps).services.items() if key.address in wanted}


def members(up: Running) -> list[MemberKey]:
    """The keys of the web pod as a backend in the members map."""
    numbers = {entry.number for entry in services(up).values()}
    return [key for key in read_back(up.maps).members if key.service in numbers]


@contextmanager
def running(instance: Instance, more: str = "") -> Iterator[Running]:
    """The instance with ``WORLD``, and more, until the end of the test."""
    with instance.start() as client:
        replace(client, WORLD + more)
        maps = opened_maps(pin_directory(instance.config.instance))
        assert maps is not None
        try:
            yield Running(instance, client, maps, addresses(client, "web")[0])
        finally:
            maps.close()

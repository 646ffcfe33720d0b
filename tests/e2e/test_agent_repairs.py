"""Kernel state altered from outside is found and mended soon, said aloud; what is closed stays closed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cloche.agent.client import Client
from cloche.config import Loader
from cloche.datapath import bpf, devices, encode, links, namespaces
from cloche.datapath.arrays import Arrays
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import CONFIG_OFFSETS, FRONT_OFFSETS, FRONT_SIZE
from cloche.datapath.pins import Maps, opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.model.address import parse_address
from cloche.tables.schema import AddressKey
from e2e.agent_lab import (
    Instance,
    Machine,
    addresses,
    endpoint,
    ingress_from,
    machine,
    pod,
    replace,
    wait_for,
)

WORLD = pod("web") + pod("friend") + pod("stranger") + ingress_from("lid", "web", "friend")
SOON = 30.0


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


@pytest.fixture(scope="module")
def up() -> Iterator[Running]:
    """Three pods and a policy, looked after every half second; whatever a test alters is mended again."""
    with machine() as host:
        instance = host.instance(look_seconds=0.5, replay_ms=0.0)
        with instance.start() as client:
            replace(client, WORLD)
            maps = opened_maps(pin_directory(instance.config.instance))
            assert maps is not None
            try:
                yield Running(instance, client, maps, addresses(client, "web")[0])
            finally:
                maps.close()


def alter_address(up: Running) -> str:
    """The stranger's address gets the friend's class."""
    tables, codec = read_back(up.maps), encode.HASHES["addresses"]
    entry = tables.addresses[up.key("stranger")]._replace(class_=tables.addresses[up.key("friend")].class_)
    up.maps.addresses.put(codec.key(up.key("stranger")), codec.value(entry))
    return "of the map addresses was altered"


def remove_address(up: Running) -> str:
    """The friend's address goes."""
    up.maps.addresses.remove(encode.HASHES["addresses"].key(up.key("friend")))
    return "of the map addresses was removed"


def add_link(up: Running) -> str:
    """A device that is no endpoint's becomes one's."""
    up.maps.links.put((4242).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    return "the entry 4242 of the map links was added"


def alter_cells(up: Running) -> str:
    """Every cell of every row of the web pod's set allows."""
    generation, number = up.set_of_web()
    tables, arrays = read_back(up.maps), Arrays(up.maps)
    for row in {word.at(generation) for (of, _), word in tables.rows.items() if of == number} - {0}:
        arrays.cells.write(row, 0, [1 for _ in tables.cells[row]])
    return "of the map cells was altered"


def alter_rows(up: Running) -> str:
    """The rows of the web pod's set are empty."""
    _, number = up.set_of_web()
    arrays = Arrays(up.maps)
    for of, class_ in read_back(up.maps).rows:
        if of == number:
            index = arrays.row_index(of, class_)
            arrays.rows.fill(index, index, 0)
    return "of the map rows was altered"


def alter_atoms(up: Running) -> str:
    """Port 80/tcp is in an atom of its own."""
    Arrays(up.maps).atoms.fill(80, 80, 7 | 7 << 24)
    return "the entry 80 of the map atoms was altered"


def alter_front(up: Running) -> str:
    """A service's front names another backend."""
    at = Fronts(up.maps).used()[0] * FRONT_SIZE + FRONT_OFFSETS["addresses"]
    up.maps.fronts.mapped()[at + 15] ^= 1
    return "of the map fronts was altered"


def remove_front(up: Running) -> str:
    """A service has no front."""
    fronts = Fronts(up.maps)
    fronts.clear(fronts.used()[0])
    return "of the map fronts was removed"


def add_front(up: Running) -> str:
    """A service has a second front."""
    fronts, memory = Fronts(up.maps), up.maps.fronts.mapped()
    front = fronts.used()[0] * FRONT_SIZE
    free = next(place for place in range(fronts.places) if not fronts.is_used(place)) * FRONT_SIZE
    memory[free : free + FRONT_SIZE] = memory[front : front + FRONT_SIZE]
    return "of the map fronts was added"


def hide_fronts(up: Running) -> str:
    """No front is looked for."""
    memory = up.maps.front_blocks.mapped()
    memory[:] = bytes(len(memory))
    return "of the map front_blocks was altered"


def unprotect(up: Running) -> str:
    """The web pod has no ingress set."""
    number = endpoint(up.client, "web").number
    entry = read_back(up.maps).endpoints[number]
    Arrays(up.maps).endpoints.write(number, entry._replace(ingress=entry.ingress._replace(old=0, new=0)))
    return "of the map endpoints was altered"


def forget_generation(up: Running) -> str:
    """No generation is active: everything is denied."""
    Arrays(up.maps).config[CONFIG_OFFSETS["generation"] // 8] = 0
    return "the active generation was set to 0"


def alter_configuration(up: Running) -> str:
    """The gateway has another address."""
    at = CONFIG_OFFSETS["gateway4"]
    up.maps.config.mapped()[at + 15] ^= 1
    return "the configuration entry was altered"


def web_link(up: Running) -> Path:
    """Where the link of the program on the web pod's device is pinned."""
    return up.pin("links", f"endpoint-{endpoint(up.client, 'web').number:x}")


def detach_program(up: Running) -> str:
    """The program on the web pod's device is detached."""
    fd = bpf.get_pinned(str(web_link(up)))
    links.detach(fd)
    os.close(fd)
    return "default/web: the program was detached"


def remove_pin(up: Running) -> str:
    """The pin of the program's link goes, and the link with it."""
    web_link(up).unlink()
    return "default/web: the pin of the program's link was removed"


def exchange_program(up: Running) -> str:
    """The link runs the program of the uplinks."""
    fd = bpf.get_pinned(str(web_link(up)))
    other = bpf.get_pinned(str(up.pin("programs", "from_uplink")))
    links.replace_program(fd, other)
    os.close(fd)
    os.close(other)
    return "default/web: the link ran another program"


def remove_map_pin(up: Running) -> str:
    """A map's pin goes."""
    up.pin("maps", "cells").unlink()
    return "the pin of the map cells was removed"


def set_down(up: Running) -> str:
    """The web pod's device is down."""
    up.command("ip", "link", "set", endpoint(up.client, "web").link, "down")
    return "default/web: its device"


def remove_route(up: Running) -> str:
    """The route to the pods goes."""
    block = str(up.instance.config.pod_ranges[0])
    up.command("ip", "route", "del", block)
    return f"the route to {block} was removed"


def remove_table(up: Running) -> str:
    """The nftables table goes."""
    up.command("nft", "delete", "table", "inet", f"cloche-{up.instance.config.instance}")
    return "the nftables table"


def stop_forwarding(up: Running) -> str:
    """The machine does not forward."""
    up.on_host(lambda: devices.set_sysctl("net/ipv4/ip_forward", "0"))
    return "the sysctl net/ipv4/ip_forward was set to 0"


def remove_device(up: Running) -> str:
    """The web pod's device goes."""
    name = endpoint(up.client, "web").link
    up.on_host(lambda: devices.delete(name))
    return "default/web: its device"


def remove_namespace(up: Running) -> str:
    """The name of the web pod's namespace goes."""
    namespaces.remove(up.instance.netns("web").name)
    return "default/web: its network namespace"


def remove_pair(up: Running) -> str:
    """The instance's own pair goes."""
    up.on_host(lambda: devices.delete(up.instance.config.instance))
    return "the instance's pair"


ALTERATIONS: tuple[Callable[[Running], str], ...] = (
    alter_address,
    remove_address,
    add_link,
    alter_cells,
    alter_rows,
    alter_atoms,
    alter_front,
    remove_front,
    add_front,
    hide_fronts,
    unprotect,
    forget_generation,
    alter_configuration,
    detach_program,
    remove_pin,
    exchange_program,
    remove_map_pin,
    set_down,
    remove_route,
    remove_table,
    stop_forwarding,
    remove_device,
    remove_namespace,
    remove_pair,
)


def told(client: Client, what: str) -> int:
    """How many events say that this was found."""
    return sum(event.kind == "repaired" and what in event.detail for event in client.flows())


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_found_and_mended(up: Running, alter: Callable[[Running], str]) -> None:
    """Whatever is altered: an event says what was found, the kernel is exactly as it should be again, the
    policy is judged as before by real packets, and a connection of others has not ended."""
    before = up.client.status().repairs
    line = up.instance.dial("friend", addresses(up.client, "stranger")[0])
    what = alter(up)
    wait_for(lambda: told(up.client, what) > 0, SOON)
    wait_for(lambda: up.client.attest().exact, SOON)
    wait_for(lambda: up.instance.reaches("friend", up.web, timeout=0.5), SOON)
    assert not up.instance.reaches("stranger", up.web, timeout=0.3)
    assert line.answers(timeout=5.0)
    line.close()
    status = up.client.status()
    assert status.problems == () and status.repairs > before


def test_flow_that_slipped_through_is_cut(up: Running) -> None:
    """A connection opened while cells were altered is judged again once they are mended."""
    alter_cells(up)
    line = up.instance.dial("stranger", up.web)
    wait_for(lambda: not line.answers(timeout=0.3), SOON)
    line.close()
    kept = up.instance.dial("friend", up.web)
    assert kept.answers()
    kept.close()


def test_nothing_altered_nothing_mended(host: Machine) -> None:
    """Changes, deletions and restarts of the agent's own are not taken for anybody else's."""
    instance = host.instance(look_seconds=0.5)
    with instance.start() as client:
        for number in range(4):
            replace(client, WORLD + "".join(pod(f"p{n}") for n in range(number)))
        replace(client, WORLD)
        assert client.status().repairs == 0
    instance.kill()
    with instance.start() as client:
        replace(client, WORLD + pod("more"))
        generation = client.status().generation
        wait_for(lambda: client.status().uptime_s > 4)
        assert client.status().repairs == 0
        assert client.status().generation == generation


def test_filter_that_was_taken_off_is_put_back(host: Machine) -> None:
    """Where programs are filters, the qdisc deleted under one is found: the program is there again."""
    instance = host.instance(look_seconds=0.5, loader=Loader.CLSACT)
    with instance.start() as client:
        replace(client, WORLD)
        link, web = endpoint(client, "web").link, addresses(client, "web")[0]
        command = ["tc", "qdisc", "del", "dev", link, "clsact"]
        namespaces.call_in(instance.host, lambda: subprocess.run(command, check=True))
        wait_for(lambda: client.status().repairs > 0, SOON)
        said = f"default/web: the program's filter was removed on {link}"
        assert said in [event.detail for event in client.flows()]
        assert instance.reaches("friend", web)
        assert not instance.reaches("stranger", web, timeout=0.5)

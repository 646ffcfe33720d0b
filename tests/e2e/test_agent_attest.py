"""attest: what the kernel holds, read back, against the model compiled anew; every altered part is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from cloche.agent.client import Client
from cloche.datapath import encode
from cloche.datapath.arrays import Arrays
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import FRONT_OFFSETS, FRONT_SIZE
from cloche.datapath.pins import Maps, opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.model.address import Address, parse_address
from cloche.tables.schema import AddressKey
from e2e.agent_lab import Instance, Machine, addresses, endpoint, ingress_from, objects, pod, replace
from e2e.test_agent_rollback import cloche

SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {name: web}, ports: [{port: 8080, targetPort: 80}]}
"""
WORLD = pod("web") + pod("friend") + pod("stranger") + ingress_from("lid", "web", "friend") + SERVICE


class Running(NamedTuple):
    """A sandbox, a connection to its agent, and the maps it has pinned."""

    instance: Instance
    client: Client
    maps: Maps


@pytest.fixture
def up(host: Machine) -> Iterator[Running]:
    """Three pods, a service and a policy, reached over some changes so that numbers have a history."""
    instance = host.instance(look_seconds=0.0, replay_ms=0.0)
    with instance.start() as client:
        replace(client, WORLD.replace("{name: friend}", "{name: nobody}") + pod("gone"))
        replace(client, WORLD)
        maps = opened_maps(pin_directory(instance.config.instance))
        assert maps is not None
        try:
            yield Running(instance, client, maps)
        finally:
            maps.close()


def test_host_enforces_exactly_its_generation(up: Running) -> None:
    """After changes, a roll-back and a restart, kernel and model have one hash, which status knows too."""
    said = up.client.attest()
    status = up.client.status()
    assert (said.exact, said.differences) == (True, ())
    assert said.kernel == said.model == status.digest
    assert said.generation == status.generation
    up.client.rollback()
    assert up.client.attest().exact
    up.instance.kill()
    with up.instance.start() as client:
        assert client.attest().exact
        assert client.status().loop_longest_block_ms < 1000


def test_it_does_not_hold_up_changes(up: Running) -> None:
    """Changes made while it reads go through, and what it says in the end is of one generation."""
    ended = threading.Event()
    count = 0

    def change() -> None:
        nonlocal count
        with Client(up.instance.config) as client:
            while not ended.is_set():
                replace(client, WORLD + (pod("extra") if count % 2 else ""))
                count += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        said = up.client.attest()
    finally:
        ended.set()
        thread.join()
    assert said.exact, said
    assert count > 0


def alter_cell(up: Running) -> str:
    """A cell that denies, allows."""
    tables = read_back(up.maps)
    number = endpoint(up.client, "web").number
    entry = tables.endpoints[number]
    set_ = entry.ingress.at(tables.generation)
    rows = {word.at(tables.generation) for (of, _), word in tables.rows.items() if of == set_}
    arrays = Arrays(up.maps)
    for row in rows - {0}:
        cells = tables.cells[row]
        if 2 in [cell & 3 for cell in cells]:
            arrays.cells.write(row, 0, [1 for _ in cells])
    return "ingress set of default/web"


def alter_class(up: Running) -> str:
    """The stranger's address has the friend's class."""
    tables = read_back(up.maps)
    found = {key.address: key for key in tables.addresses}
    stranger, friend = (address_key(found, up, name) for name in ("stranger", "friend"))
    codec = encode.HASHES["addresses"]
    entry = tables.addresses[stranger]._replace(class_=tables.addresses[friend].class_)
    up.maps.addresses.put(codec.key(stranger), codec.value(entry))
    return f"address {addresses(up.client, 'stranger')[0]}"


def address_key(found: dict[Address, AddressKey], up: Running, name: str) -> AddressKey:
    """The key of a pod's IPv4 address."""
    return found[parse_address(addresses(up.client, name)[0])]


def remove_address(up: Running) -> str:
    """The stranger's address is not there."""
    found = {key.address: key for key in read_back(up.maps).addresses}
    up.maps.addresses.remove(encode.HASHES["addresses"].key(address_key(found, up, "stranger")))
    return f"address {addresses(up.client, 'stranger')[0]} (network 1): is missing"


def add_link(up: Running) -> str:
    """A device that is no endpoint's is one's."""
    up.maps.links.put((4242).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    return "link of device 4242"


def remove_backend(up: Running) -> str:
    """A service's backends are empty."""
    arrays = Arrays(up.maps)
    for place in read_back(up.maps).backends:
        arrays.records["backends"].write(place, bytes(24))
    return "service "


def alter_front(up: Running) -> str:
    """A service's front names another backend."""
    at = Fronts(up.maps).used()[0] * FRONT_SIZE + FRONT_OFFSETS["addresses"]
    up.maps.fronts.mapped()[at + 15] ^= 1
    return "front of service "


def open_without_sets(up: Running) -> str:
    """The web pod has no ingress set any more."""
    number = endpoint(up.client, "web").number
    entry = read_back(up.maps).endpoints[number]
    empty = entry.ingress._replace(old=0, new=0)
    Arrays(up.maps).endpoints.write(number, entry._replace(ingress=empty))
    return "endpoint default/web"


ALTERATIONS: tuple[Callable[[Running], str], ...] = (
    alter_cell,
    alter_class,
    remove_address,
    add_link,
    remove_backend,
    alter_front,
    open_without_sets,
)


def test_altered_part_is_named(up: Running) -> None:
    """What is altered in pinned maps is found and named part by part, and the command ends with status 1."""
    count = 0
    for alter in ALTERATIONS:
        part = alter(up)
        said = cloche(up.instance, "attest", "--json")
        assert said.returncode == 1, said.stderr
        answer = json.loads(said.stdout)["attested"]
        assert not answer["exact"] and answer["kernel"] != answer["model"]
        assert any(part in difference for difference in answer["differences"]), answer["differences"]
        count = answer["count"]
    assert count >= len(ALTERATIONS)


def test_command_says_exactly(up: Running) -> None:
    """Nothing altered: status 0, and a sentence with the generation."""
    said = cloche(up.instance, "attest")
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"this host enforces exactly generation {up.client.status().generation}" in said.stdout
    up.client.apply(objects(pod("more")))
    assert cloche(up.instance, "attest").returncode == 0

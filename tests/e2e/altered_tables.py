"""What somebody else may alter in an instance's maps; each says what the agent is to find."""

from __future__ import annotations

from collections.abc import Callable

from cloche.datapath import encode
from cloche.datapath.arrays import Arrays
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import (
    CONFIG_OFFSETS,
    FRONT_OFFSETS,
    FRONT_SIZE,
    HEAD_SIZE,
    NODE_SLOTS,
    EndpointState,
)
from cloche.datapath.prefixes import Entries, standing
from cloche.datapath.readback import read_back
from cloche.datapath.tree import BLOCK, Walk
from cloche.tables.schema import NUMBER_BITS, SLOT_TCP, SLOT_UDP
from e2e.agent_lab import endpoint
from e2e.altered_world import FAR, NEAR, PORTS, Running, endpoint_entry, members, near, services

APART = 4
"""Slots from ``NEAR`` to ``FAR``."""


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


def alter_heads(up: Running) -> str:
    """The heads of the rows of the web pod's set say that every cell allows."""
    generation, number = up.set_of_web()
    heads, cells = up.maps.heads.mapped().cast("Q"), Arrays(up.maps).cells
    rows = {word.at(generation) for (of, _), word in read_back(up.maps).rows.items() if of == number} - {0}
    for row in rows:
        at = cells.find(row) * HEAD_SIZE // 8
        heads[at], heads[at + 1] = 0, 1 | row << 32
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
    """The web pod's ports are in an atom of their own, which no row knows."""
    view = Arrays(up.maps).atoms
    for slot in (SLOT_TCP, SLOT_UDP):
        for port in PORTS:
            view.fill(slot << 16 | port, slot << 16 | port, 7 | 7 << NUMBER_BITS)
    return f"the entry {PORTS[0]} of the map atoms was altered"


def unprotect(up: Running) -> str:
    """The web pod has no ingress set."""
    number, entry = endpoint(up.client, "web").number, endpoint_entry(up)
    Arrays(up.maps).endpoints.write(number, entry._replace(ingress=entry.ingress._replace(old=0, new=0)))
    return "of the map endpoints was altered"


def remove_link(up: Running) -> str:
    """The web pod's device is no endpoint's."""
    index = endpoint_entry(up).ifindex
    up.maps.links.remove(encode.HASHES["links"].key(index))
    return f"the entry {index} of the map links was removed"


def slot(up: Running) -> int:
    """Where the block that the envoy may reach stands in the tree: the index of its only slot."""
    number = standing(up.maps).numbers[near(up)]
    visits = Walk(up.maps.prefix_nodes.mapped().cast("Q"))
    places = ((visit, place) for visit in visits for place in range(NODE_SLOTS))
    return next(v.number * NODE_SLOTS + place for v, place in places if v.slots[place] & BLOCK == number)


def remove_prefix(up: Running) -> str:
    """The block that the envoy may reach goes from the tree."""
    nodes, at = up.maps.prefix_nodes.mapped().cast("Q"), slot(up)
    nodes[at] ^= nodes[at] & BLOCK
    return f"the entry {NEAR} of network {near(up).network} of the map prefixes was removed"


def alter_prefix(up: Running) -> str:
    """The block that the envoy may reach has the class of an address that he may not."""
    key, tables = near(up), read_back(up.maps)
    entry = tables.prefixes[key]._replace(class_=tables.addresses[up.key("stranger")].class_)
    Entries(up.maps).write(standing(up.maps).numbers[key], key, entry)
    return f"the entry {NEAR} of network {key.network} of the map prefixes was altered"


def add_prefix(up: Running) -> str:
    """A block that the envoy may not reach is the one that he may."""
    nodes, at = up.maps.prefix_nodes.mapped().cast("Q"), slot(up)
    nodes[at + APART] |= nodes[at] & BLOCK
    return f"the entry {FAR} of network {near(up).network} of the map prefixes was added"


def alter_set(up: Running) -> str:
    """The web pod's ingress set counts for another one, and has rules by name."""
    _, number = up.set_of_web()
    entry = read_back(up.maps).sets[number]
    altered = entry._replace(counter_first=entry.counter_first + 1, flags=1)
    Arrays(up.maps).records["sets"].write(number, encode.RECORDS["sets"].value(altered))
    return f"the entry {number} of the map sets was altered"


def remove_service(up: Running) -> str:
    """The service's ports go."""
    for key in services(up):
        up.maps.services.remove(encode.HASHES["services"].key(key))
    return "of the map services was removed"


def alter_service(up: Running) -> str:
    """The service has no backend."""
    codec = encode.HASHES["services"]
    for key, entry in services(up).items():
        up.maps.services.put(codec.key(key), codec.value(entry._replace(backends=0)))
    return "of the map services was altered"


def alter_backends(up: Running) -> str:
    """The service's only backend is the stranger."""
    arrays, codec = Arrays(up.maps), encode.RECORDS["backends"]
    numbers = {entry.number for entry in services(up).values()}
    for number, entry in read_back(up.maps).backends.items():
        if entry.service in numbers:
            there = codec.value(entry._replace(address=up.key("stranger").address))
            arrays.records["backends"].write(number, there)
    return "of the map backends was altered"


def front(up: Running) -> int:
    """Where the front of one port of the service is."""
    place = Fronts(up.maps).find(min(services(up)))
    assert place is not None
    return place


def alter_front(up: Running) -> str:
    """A front of the service names a backend that there is not."""
    at = front(up) * FRONT_SIZE + FRONT_OFFSETS["addresses"]
    up.maps.fronts.mapped()[at + 14] ^= 0x40
    return "of the map fronts was altered"


def remove_front(up: Running) -> str:
    """A port of the service has no front."""
    Fronts(up.maps).clear(front(up))
    return "of the map fronts was removed"


def add_front(up: Running) -> str:
    """A port of the service has a second front."""
    fronts, memory, at = Fronts(up.maps), up.maps.fronts.mapped(), front(up) * FRONT_SIZE
    free = next(place for place in range(fronts.places) if not fronts.is_used(place)) * FRONT_SIZE
    memory[free : free + FRONT_SIZE] = memory[at : at + FRONT_SIZE]
    return "of the map fronts was added"


def hide_fronts(up: Running) -> str:
    """No front is looked for."""
    memory = up.maps.front_blocks.mapped()
    memory[:] = bytes(len(memory))
    return "of the map front_blocks was altered"


def hide_addresses(up: Running) -> str:
    """No address is looked up."""
    memory = up.maps.address_blocks.mapped()
    memory[:] = bytes(len(memory))
    return "of the map address_blocks was altered"


def remove_members(up: Running) -> str:
    """The web pod is no backend of the service any more."""
    for key in members(up):
        up.maps.members.remove(encode.HASHES["members"].key(key))
    return "of the map members was removed"


def add_member(up: Running) -> str:
    """The stranger is a backend of the service."""
    key = members(up)[0]._replace(address=up.key("stranger").address)
    up.maps.members.put(encode.HASHES["members"].key(key), encode.HASHES["members"].value(1))
    return "of the map members was added"


def close_endpoint(up: Running) -> str:
    """The web pod is closed."""
    number = endpoint(up.client, "web").number
    Arrays(up.maps).endpoints.write(number, endpoint_entry(up)._replace(state=int(EndpointState.CLOSED)))
    return f"the entry {number} of the map endpoints was altered"


def forget_generation(up: Running) -> str:
    """No generation is active: everything is denied."""
    Arrays(up.maps).config[CONFIG_OFFSETS["generation"] // 8] = 0
    return "the active generation was set to 0"


def alter_configuration(up: Running) -> str:
    """The gateway has another address."""
    at = CONFIG_OFFSETS["gateway4"]
    up.maps.config.mapped()[at + 15] ^= 1
    return "the configuration entry was altered"


TABLES: tuple[Callable[[Running], str], ...] = (
    alter_address,
    remove_address,
    add_link,
    remove_link,
    remove_prefix,
    alter_prefix,
    add_prefix,
    alter_cells,
    alter_heads,
    alter_rows,
    alter_atoms,
    alter_set,
    remove_service,
    alter_service,
    alter_backends,
    alter_front,
    remove_front,
    add_front,
    hide_fronts,
    hide_addresses,
    remove_members,
    add_member,
    unprotect,
    close_endpoint,
    forget_generation,
    alter_configuration,
)

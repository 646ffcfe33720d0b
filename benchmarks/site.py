"""The real program by test run on a small host: a client, servers with many rules, services before them.

Nothing is delivered; what the program decided is checked for each packet. Needs root.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks import world
from benchmarks.rounds import PORT
from cloche.compiler import Compiler
from cloche.datapath.devices import netlink
from cloche.datapath.frames import make_frame
from cloche.datapath.loader import OBJECT
from cloche.datapath.namespaces import private_namespace
from cloche.datapath.settings import HOST_MARK, Settings, StackDevice
from cloche.datapath.testrun import Engine, Result
from cloche.model.address import Address, parse_address
from cloche.model.flow import Delivery, Packet, TcpFlag, Verdict
from cloche.model.policy import Direction
from cloche.model.state import Event, Put
from cloche.model.topology import TCP, Attachment, Backend, Endpoint, Host, Service, ServicePort
from cloche.tables.schema import Capacity, Write

SERVERS = 3
SERVICE_PORT = 80
CLIENT, SERVER = 1, 2
"""Numbers of the client and the first server, and of their devices."""

FLAGS_AT = 14 + 20 + 13
HOST_ADDRESS = parse_address("192.168.77.1")
OUTSIDE, OUTSIDE_PORT = parse_address("172.16.1.5"), 1031
"""Who and what the second rule of either side allows."""

STACK = StackDevice(77, bytes.fromhex("020000007777"))
FIRST_PORT = 1024
SYN, ACK = TcpFlag.SYN, TcpFlag.ACK


class Ends(NamedTuple):
    """Source and destination of a packet, with their ports."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int

    def back(self) -> Ends:
        """The other way round."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


class Site:
    """A loaded program with its tables. ``services`` are addresses, each before all servers."""

    def __init__(self, engine: Engine, devices: tuple[int, ...], services: list[Address]) -> None:
        self.engine, self.devices, self.services = engine, devices, services
        self.client, *self.servers = (world.addresses(1 + number)[0] for number in range(1 + SERVERS))
        self.macs = [_macs(number) for number in range(1 + SERVERS)]
        self._port = FIRST_PORT - 1

    def fresh(self) -> int:
        """A client's port that was not used for long."""
        self._port = FIRST_PORT + (self._port + 1 - FIRST_PORT) % (65536 - FIRST_PORT)
        return self._port

    def from_client(self, ends: Ends, flags: int) -> Result:
        """A TCP segment from the client."""
        return self._from(0, ends, flags)

    def from_server(self, number: int, ends: Ends, flags: int) -> Result:
        """A TCP segment from a server, 0 and up."""
        return self._from(1 + number, ends, flags)

    def _from(self, number: int, ends: Ends, flags: int) -> Result:
        mac, gateway = self.macs[number]
        return self.engine.run("from_endpoint", frame(ends, flags, mac, gateway), self.devices[number])

    def from_stack(self, ends: Ends, flags: int, host: bool = False) -> Result:
        """A TCP segment through the host's stack, or of the host itself."""
        mark = HOST_MARK if host else 0
        return self.engine.run("from_stack", frame(ends, flags, STACK.mac, STACK.mac), self.devices[0], mark)

    def server_of(self, done: Result) -> int:
        """The server that a packet was delivered to, 0 and up. Raises RuntimeError when none was."""
        if done.verdict is not Verdict.ALLOW or done.delivery is not Delivery.ENDPOINT:
            raise RuntimeError(f"a packet was not delivered: {done.verdict.name}, {done.reason.name}")
        return done.endpoint - SERVER


def frame(ends: Ends, flags: int, mac: bytes, gateway: bytes) -> bytes:
    """A TCP segment without payload."""
    packet = Packet(
        protocol=TCP,
        source=ends.source,
        destination=ends.destination,
        source_port=ends.source_port,
        destination_port=ends.destination_port,
    )
    made = bytearray(make_frame(packet, mac, gateway))
    made[FLAGS_AT] = flags
    return bytes(made)


def _macs(number: int) -> tuple[bytes, bytes]:
    return bytes([2, 0, 0, 0, 1, number]), bytes([2, 0, 0, 0, 2, number])


def _endpoints() -> tuple[Endpoint, list[Endpoint]]:
    """The client, and servers whom policies cannot tell apart."""
    servers = [world.endpoint("server", 2, world.HOST)]
    for number in range(1, SERVERS):
        one = msgspec.structs.replace(
            servers[0], name=f"server-{number}", addresses=world.addresses(2 + number)
        )
        servers.append(one)
    return world.endpoint("client", 1, world.HOST), servers


def _services(count: int, servers: list[Endpoint]) -> Iterator[Service]:
    backends = tuple(Backend(one.addresses[0], PORT) for one in servers)
    for number in range(count):
        address = parse_address(f"10.{100 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}")
        yield Service("front", f"front-{number}", (address,), (ServicePort("", TCP, SERVICE_PORT, backends),))


def _events(rules: int, services: list[Service], devices: tuple[int, ...]) -> Iterator[Event]:
    client, servers = _endpoints()
    yield from world.events(client, servers[0], rules, PORT)
    yield Put(Host(world.HOST, (HOST_ADDRESS,)))
    for one in (*servers[1:], *services):
        yield Put(one)
    for number, (endpoint, device) in enumerate(zip((client, *servers), devices, strict=True)):
        yield Put(Attachment(endpoint.key, 1 + number, 1 + number, device, *_macs(number)))


@contextmanager
def devices() -> Iterator[tuple[int, ...]]:
    """The calling thread in a namespace of its own, with a device for each endpoint."""
    with private_namespace():
        with netlink() as route:
            found = []
            for number in range(1 + SERVERS):
                route.link("add", ifname=f"site{number}", kind="veth", peer={"ifname": f"peer{number}"})
                found.append(route.link_lookup(ifname=f"site{number}")[0])
        yield tuple(found)


class Plan(NamedTuple):
    """What such a host is made of: the endpoints' devices, the services' addresses, the tables' writes."""

    devices: tuple[int, ...]
    services: list[Address]
    writes: tuple[Write, ...]


def plan(at: tuple[int, ...], rules: int, services: int) -> Plan:
    """The tables of so many rules and services."""
    _, servers = _endpoints()
    made = list(_services(services, servers))
    change = Compiler(world.HOST, Capacity()).update(_events(rules, made, at))
    return Plan(at, [one.addresses[0] for one in made], tuple(change.writes))


def site(of: Plan, path: Path = OBJECT) -> Site:
    """The program of an object with tables; it is closed by its engine.

    Raises OSError from the kernel, MachineError for an object that does not load.
    """
    engine = Engine(Capacity(), path)
    engine.configure(Settings(), STACK)
    engine.write(of.writes)
    return Site(engine, of.devices, of.services)


__all__ = ["ACK", "SYN", "Direction", "Ends", "Plan", "Site", "devices", "plan", "site"]

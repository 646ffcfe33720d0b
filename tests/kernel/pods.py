"""Builds a host with endpoints on it, open to each other by tables without any policy."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import TypeVar

from cloche.config import Loader
from cloche.datapath import Datapath, Settings
from cloche.datapath.layout import EndpointState
from cloche.datapath.namespaces import call_in, netns_path
from cloche.datapath.ownership import create_namespace
from cloche.datapath.testrun import SMALL
from cloche.model.address import Address, Block, format_address, is_ipv4, parse_address, parse_block
from cloche.model.reasons import Reason
from cloche.model.topology import (
    DEFAULT_MTU,
    DEFAULT_NETWORK,
    GATEWAY4,
    GATEWAY6,
    HAIRPIN4,
    HAIRPIN6,
    Attachment,
)
from cloche.tables.schema import (
    AddressEntry,
    AddressFlag,
    AddressKey,
    BackendEntry,
    EndpointEntry,
    Flip,
    Grace,
    MemberKey,
    PrefixEntry,
    PrefixFlag,
    PrefixKey,
    Put,
    Remove,
    ServiceEntry,
    ServiceKey,
    Write,
    settled,
)

RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
SERVICE_RANGES = (parse_block("10.96.0.0/24"), parse_block("fd00:96::/112"))
SERVICES = (parse_address("10.96.0.9"), parse_address("fd00:96::9"))
HOST = ("192.0.2.1", "2001:db8::1")
OUTSIDE = ("192.0.2.2", "2001:db8::2")
NONE = settled(0)
CLOSED = EndpointState.CLOSED
T = TypeVar("T")


def run_ip(arguments: str) -> None:
    """Run ``ip`` with these arguments in the calling thread's namespace."""
    subprocess.run(["ip", *arguments.split()], check=True)


def addresses_of(number: int) -> tuple[Address, Address]:
    """The addresses of pod ``number``, IPv4 and IPv6."""
    return parse_address(f"10.244.0.{number}"), parse_address(f"fd00:244::{number:x}")


def fixed_writes(ranges: Sequence[Block] = RANGES) -> list[Write]:
    """What is there before any endpoint: the reserved addresses and the ranges."""
    gateway, hairpin = AddressFlag.GATEWAY, AddressFlag.HAIRPIN
    flags = {GATEWAY4: gateway, GATEWAY6: gateway, HAIRPIN4: hairpin, HAIRPIN6: hairpin}
    reserved: list[Write] = [
        Put("addresses", AddressKey(DEFAULT_NETWORK, address), AddressEntry(NONE, 0, int(flag)))
        for address, flag in flags.items()
    ]
    ours = int(PrefixFlag.OURS)
    return reserved + [
        Put("prefixes", PrefixKey(DEFAULT_NETWORK, block), PrefixEntry(NONE, ours)) for block in ranges
    ]


def endpoint_entry(
    attachment: Attachment, addresses: Sequence[Address], state: EndpointState = EndpointState.OPEN
) -> EndpointEntry:
    """An endpoint without policy in either direction."""
    first = {is_ipv4(address): address for address in reversed(addresses)}
    return EndpointEntry(
        egress=NONE,
        ingress=NONE,
        state=int(state),
        ifindex=attachment.ifindex,
        network=DEFAULT_NETWORK,
        incarnation=attachment.incarnation,
        mac=attachment.mac,
        gateway_mac=attachment.gateway_mac,
        flags=0,
        address4=first.get(True, bytes(16)),
        address6=first.get(False, bytes(16)),
        slot_first=attachment.number * SMALL.quota,
        slot_count=SMALL.quota,
        mtu=attachment.mtu,
    )


def endpoint_writes(
    attachment: Attachment, addresses: Sequence[Address], state: EndpointState = EndpointState.OPEN
) -> list[Write]:
    """All that the tables say of an endpoint."""
    own: list[Write] = [
        Put("addresses", AddressKey(DEFAULT_NETWORK, address), AddressEntry(settled(1), attachment.number, 0))
        for address in addresses
    ]
    return [
        Put("endpoints", attachment.number, endpoint_entry(attachment, addresses, state)),
        *own,
        Put("links", attachment.ifindex, attachment.number),
    ]


def service_writes(key: ServiceKey, number: int, backends: Sequence[tuple[Address, int]]) -> list[Write]:
    """A service port with these backends (address, port), in the place that its number gives it."""
    first = number * 16
    writes: list[Write] = [
        Put("backends", first + index, BackendEntry(address, port, number))
        for index, (address, port) in enumerate(backends)
    ]
    writes += [Put("members", MemberKey(number, address, port), 1) for address, port in backends]
    flag = AddressEntry(NONE, 0, int(AddressFlag.SERVICE))
    return [
        *writes,
        Put("services", key, ServiceEntry(number, first, len(backends), 1, 0)),
        Put("addresses", AddressKey(key.network, key.address), flag),
    ]


class OpenHost:
    """An instance on this host, with a generation that allows everything, and pods by number."""

    def __init__(
        self,
        instance: str,
        ranges: Sequence[Block] = RANGES,
        generation: int = 1,
        loader: Loader = Loader.AUTO,
    ) -> None:
        self.instance, self.generation = instance, generation
        self.datapath = Datapath.open(instance, SMALL, how=loader)
        self.datapath.prepare_host((*ranges, *SERVICE_RANGES) if ranges is RANGES else ranges)
        self.datapath.configure(Settings())
        self.write(fixed_writes(ranges))
        self.write([Flip(generation)])
        self._incarnation = 100
        self._made: list[tuple[Attachment, Sequence[Address]]] = []
        self._counted = self.datapath.reasons()

    def begin(self) -> None:
        """Without the pods that an earlier test left, reasons counted and events read from here."""
        while self._made:
            attachment, addresses = self._made.pop()
            self.write([Put("endpoints", attachment.number, endpoint_entry(attachment, addresses, CLOSED))])
            self.write([Remove("links", attachment.ifindex), Remove("endpoints", attachment.number)])
            self.write([Remove("addresses", AddressKey(DEFAULT_NETWORK, a)) for a in addresses])
            self.datapath.detach_endpoint(attachment, addresses)
        self._counted = self.datapath.reasons()
        self.datapath.events().read()

    def counted(self, reason: Reason) -> int:
        """How many packets had this reason since ``begin``."""
        return self.datapath.reasons()[reason] - self._counted[reason]

    def flip(self) -> None:
        """Make the next generation the active one."""
        self.generation += 1
        self.write([Flip(self.generation), Grace()])

    def write(self, writes: Sequence[Write]) -> None:
        """Apply writes to their end."""
        for _ in self.datapath.write(writes):
            pass

    def pod(
        self,
        number: int,
        *addresses: Address,
        state: EndpointState = EndpointState.OPEN,
        mtu: int = DEFAULT_MTU,
    ) -> Attachment:
        """A pod called ``test/pod-<number>`` with these addresses (none: those of its number)."""
        own = addresses or addresses_of(number)
        self._incarnation += 1
        attachment = self.datapath.attach_endpoint(f"test/pod-{number}", number, self._incarnation, own, mtu)
        self._made.append((attachment, own))
        self.write(endpoint_writes(attachment, own, state))
        return attachment

    def inside(self, number: int, function: Callable[[], T]) -> T:
        """The function's result, run in the pod's namespace; sockets it opens stay there."""
        return call_in(self.datapath.netns_path(f"test/pod-{number}"), function)

    def outside(self, function: Callable[[], T]) -> T:
        """The function's result, run in the namespace beyond the uplink; see ``give_uplink``."""
        return call_in(netns_path(f"{self.instance}.outside.x"), function)

    def give_uplink(self) -> None:
        """An uplink with an address of each family, told to the tables, and a namespace beyond it that
        knows these addresses and nothing else."""
        beyond = f"{self.instance}.outside.x"
        create_namespace(self.instance, beyond)
        run_ip(f"link add up0 type veth peer eth0 netns {beyond}")
        for where, device, last in (("", "up0", 1), (f"-n {beyond}", "eth0", 2)):
            run_ip(f"{where} addr add 192.0.2.{last}/24 dev {device}")
            run_ip(f"{where} addr add 2001:db8::{last}/64 dev {device} nodad")
            run_ip(f"{where} link set {device} up")
        for text in HOST:
            key = AddressKey(DEFAULT_NETWORK, parse_address(text))
            self.write([Put("addresses", key, AddressEntry(NONE, 0, int(AddressFlag.HOST)))])
        self.datapath.attach_uplinks()


def family(address: Address) -> socket.AddressFamily:
    """The socket family of an address."""
    return socket.AF_INET if is_ipv4(address) else socket.AF_INET6


def listen(address: Address, port: int = 80) -> socket.socket:
    """A TCP listener in the calling thread's namespace."""
    return socket.create_server((format_address(address), port), family=family(address))


def connect(address: Address, port: int = 80, timeout: float = 2.0) -> socket.socket:
    """A TCP connection; TimeoutError when nobody answers in ``timeout`` seconds."""
    return socket.create_connection((format_address(address), port), timeout=timeout)


def talks(listener: socket.socket, connection: socket.socket) -> bool:
    """True when what one side of a fresh connection says arrives at the other, both ways."""
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(2.0)
        connection.sendall(b"ask" * 5000)
        heard = b""
        while len(heard) < 15000:
            heard += peer.recv(65536)
        peer.sendall(b"answer")
        return heard == b"ask" * 5000 and connection.recv(100) == b"answer"

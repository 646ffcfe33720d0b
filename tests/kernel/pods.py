"""Builds a host with endpoints on it, open to each other by tables without any policy."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from cloche.datapath import Datapath, Settings
from cloche.datapath.layout import EndpointState
from cloche.datapath.namespaces import call_in, netns_path
from cloche.datapath.testrun import SMALL
from cloche.model.address import Address, Block, format_address, is_ipv4, parse_address, parse_block
from cloche.model.topology import DEFAULT_NETWORK, GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6, Attachment
from cloche.tables.schema import (
    AddressEntry,
    AddressFlag,
    AddressKey,
    EndpointEntry,
    Flip,
    PrefixEntry,
    PrefixFlag,
    PrefixKey,
    Put,
    Write,
    settled,
)

RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
NONE = settled(0)
T = TypeVar("T")


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


def endpoint_writes(
    attachment: Attachment, addresses: Sequence[Address], state: EndpointState = EndpointState.OPEN
) -> list[Write]:
    """An endpoint without policy in either direction."""
    first = {is_ipv4(address): address for address in reversed(addresses)}
    entry = EndpointEntry(
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
    )
    own: list[Write] = [
        Put("addresses", AddressKey(DEFAULT_NETWORK, address), AddressEntry(settled(1), attachment.number, 0))
        for address in addresses
    ]
    return [
        Put("endpoints", attachment.number, entry),
        *own,
        Put("links", attachment.ifindex, attachment.number),
    ]


class OpenHost:
    """An instance on this host, with a generation that allows everything, and pods by number."""

    def __init__(self, instance: str, ranges: Sequence[Block] = RANGES, generation: int = 1) -> None:
        self.datapath = Datapath.open(instance, SMALL)
        self.datapath.prepare_host(ranges)
        self.datapath.configure(Settings())
        self.write(fixed_writes(ranges))
        self.write([Flip(generation)])

    def write(self, writes: Sequence[Write]) -> None:
        """Apply writes to their end."""
        for _ in self.datapath.write(writes):
            pass

    def pod(self, number: int, *addresses: Address, state: EndpointState = EndpointState.OPEN) -> Attachment:
        """A pod called ``test/pod-<number>`` with these addresses (none: those of its number)."""
        own = addresses or addresses_of(number)
        attachment = self.datapath.attach_endpoint(f"test/pod-{number}", number, 100 + number, own)
        self.write(endpoint_writes(attachment, own, state))
        return attachment

    def inside(self, number: int, function: Callable[[], T]) -> T:
        """The function's result, run in the pod's namespace; sockets it opens stay there."""
        return call_in(self.datapath.netns_path(f"test/pod-{number}"), function)

    @staticmethod
    def inside_named(name: str, function: Callable[[], T]) -> T:
        """The function's result, run in any named namespace."""
        return call_in(netns_path(name), function)

    def own_address(self, text: str) -> None:
        """Tell the tables that this is the host's own address."""
        key = AddressKey(DEFAULT_NETWORK, parse_address(text))
        self.write([Put("addresses", key, AddressEntry(NONE, 0, int(AddressFlag.HOST)))])


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

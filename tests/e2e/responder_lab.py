"""A few namespaces joined by a router of their own: where the responder is tested."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from pyroute2 import netns

from cloche.model.address import Address, parse_address
from cloche.responder.messages import Listener, Served

Result = TypeVar("Result")
NOBODY4, NOBODY6 = "10.9.0.200", "fd00:9::dead"
"""Addresses from which no answer ever comes, not even that nobody has them."""

_numbers = itertools.count()


class Pod(NamedTuple):
    """One namespace of the lab."""

    name: str
    space: str
    ipv4: Address
    ipv6: Address

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.space}"

    @property
    def addresses(self) -> tuple[Address, Address]:
        return self.ipv4, self.ipv6

    def served(self, listeners: Sequence[tuple[int, int]], dns: bool = False) -> Served:
        return Served(self.name, self.netns, self.addresses, tuple(Listener(*one) for one in listeners), dns)

    def inside(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, called in a thread inside this namespace."""

        def run() -> Result:
            netns.setns(self.space)
            return work()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()


def connect(pod: Pod, address: str, port: int) -> socket.socket:
    """A TCP connection from inside ``pod``, with a time limit."""
    return pod.inside(lambda: socket.create_connection((address, port), timeout=5))


def read_line(connection: socket.socket) -> str:
    """What comes up to the end of a line."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {bytes(line)!r}"
        line += byte
    return line.decode().strip()


def _ip(space: str, lines: Sequence[str]) -> None:
    subprocess.run(["ip", "-n", space, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _set(space: str, *settings: str) -> None:
    subprocess.run(["ip", "netns", "exec", space, "sysctl", "-qw", *settings], check=True)


def remove(pod: Pod) -> None:
    """Delete the pod's namespace, as if it had gone."""
    subprocess.run(["ip", "netns", "del", pod.space], check=True)


@contextmanager
def pods(count: int) -> Iterator[list[Pod]]:
    """So many namespaces, each with an IPv4 and an IPv6 address, that reach each other by a router."""
    prefix = f"crt{os.getpid()}-{next(_numbers)}"
    router = f"{prefix}-r"
    made = [
        Pod(
            f"lab/p{i}",
            f"{prefix}-{i}",
            parse_address(f"10.9.0.{i + 1}"),
            parse_address(f"fd00:9::{i + 1:x}"),
        )
        for i in range(count)
    ]
    spaces = [router, *(pod.space for pod in made)]
    try:
        for space in spaces:
            subprocess.run(["ip", "netns", "add", space], check=True)
            _set(space, "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.router_solicitations=0")
        _route(router, made)
        yield made
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


def _route(router: str, made: Sequence[Pod]) -> None:
    lines = ["link set lo up", f"route add blackhole {NOBODY4}/32", f"route add blackhole {NOBODY6}/128"]
    for i, pod in enumerate(made):
        lines += [
            f"link add v{i} type veth peer name eth0 netns {pod.space}",
            f"link set v{i} up",
            f"addr add 10.8.0.1/32 dev v{i}",
            f"addr add fd00:8::1/128 dev v{i} nodad",
            f"route add 10.9.0.{i + 1}/32 dev v{i}",
            f"route add fd00:9::{i + 1:x}/128 dev v{i}",
        ]
    _ip(router, lines)
    _set(router, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for i, pod in enumerate(made):
        own = [f"addr add 10.9.0.{i + 1}/32 dev eth0", f"addr add fd00:9::{i + 1:x}/128 dev eth0 nodad"]
        ways = [f"route add {a} dev eth0" for a in ("10.8.0.1", "fd00:8::1")]
        ways += [f"route add default via {a}" for a in ("10.8.0.1", "fd00:8::1")]
        _ip(pod.space, ["link set lo up", *own, "link set eth0 up", *ways])


def socket_path(folder: Path) -> Path:
    """Where the lab's responder listens."""
    return folder / "responder.sock"

"""Paths between two namespaces that judge nothing: a bare veth pair, and a Linux bridge."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_numbers = itertools.count()
MTU = 1500


class SkippedError(Exception):
    """A way that this machine cannot make, with the reason that the machine gave."""


class Way(NamedTuple):
    """A way from the namespace ``client`` to ``server``, where something listens on ``address``.

    ``instance``: whose programs judge on it, empty when none of Cloche's do.
    """

    name: str
    client: str
    server: str
    address: str
    instance: str = ""


def run(space: str, *command: str) -> None:
    """Run a command inside a namespace. Raises CalledProcessError."""
    subprocess.run(["ip", "netns", "exec", space, *command], check=True, stdin=subprocess.DEVNULL)


def ip(space: str, lines: Sequence[str]) -> None:
    """Run ``ip`` commands inside a namespace, in one go. Raises CalledProcessError."""
    subprocess.run(["ip", "-n", space, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def congestion_control() -> str:
    """What every namespace uses: cubic where that is allowed in namespaces, else reno.

    The kernel's own default may be one that paces itself by a queueing discipline that is not there.
    """
    allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
    return "cubic" if "cubic" in allowed else "reno"


def tune(space: str) -> None:
    """Give a namespace what all have in common."""
    run(space, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={congestion_control()}")


@contextmanager
def namespaces(*names: str) -> Iterator[tuple[str, ...]]:
    """Namespaces of our own, with unique names, as traffic needs them; deleted at the end."""
    prefix = f"cbn{os.getpid()}-{next(_numbers)}"
    made = tuple(f"{prefix}{name}" for name in names)
    try:
        for space in made:
            subprocess.run(["ip", "netns", "add", space], check=True)
            tune(space)
            ip(space, ["link set lo up"])
        yield made
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def bare_veth() -> Iterator[Way]:
    """One veth pair from one namespace to the other: nothing can be faster between two containers."""
    with namespaces("a", "b") as (client, server):
        ip(client, [f"link add eth0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns {server}"])
        ip(client, ["addr add 10.77.0.1/24 dev eth0", "link set eth0 up"])
        ip(server, ["addr add 10.77.0.2/24 dev eth0", "link set eth0 up"])
        yield Way("veth", client, server, "10.77.0.2")


@contextmanager
def linux_bridge() -> Iterator[Way]:
    """Two veth pairs and a bridge between them, as the CNI bridge plugin makes it; netfilter is kept out."""
    with namespaces("a", "b", "s") as (client, server, switch):
        lines = ["link add name joined type bridge", "link set joined up"]
        for number, space in enumerate((client, server), 1):
            lines += [
                f"link add v{number} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {space}",
                f"link set v{number} master joined up",
            ]
        ip(switch, lines)
        for number, space in enumerate((client, server), 1):
            ip(space, [f"addr add 10.77.0.{number}/24 dev eth0", "link set eth0 up"])
        if Path("/proc/sys/net/bridge").exists():
            run(switch, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0")
        yield Way("bridge", client, server, "10.77.0.2")

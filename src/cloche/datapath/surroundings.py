"""The host as it is now, beside the instance: which devices are uplinks, which addresses are its own, and a
socket that tells when that may have changed (rtnetlink(7))."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import NamedTuple

from cloche.datapath import devices
from cloche.datapath.host import check_overlap, host_addresses
from cloche.datapath.instance import Datapath
from cloche.errors import InputError
from cloche.model.address import Address, Block

_LINKS = 0x1
_ADDRESSES_AND_ROUTES = 0x10 | 0x40 | 0x100 | 0x400
_AT_ONCE = 1 << 16


class Surroundings(NamedTuple):
    """What was found: uplinks that have the program, the host's global addresses, what is wrong in words."""

    uplinks: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    problems: tuple[str, ...] = ()


def look(datapath: Datapath, named: Sequence[str], blocks: Sequence[Block]) -> Surroundings:
    """Put the program on every uplink of now, off all others, and say what the host is.

    ``named``: the uplinks that were chosen by name, empty for those that are found. ``blocks``: ranges and
    addresses that are the instance's. Raises OSError.
    """
    attached = datapath.attach_uplinks(named or None)
    problems = [f"the uplink {name} is not there" for name in sorted(set(named) - set(attached))]
    try:
        check_overlap(datapath.instance, blocks)
    except InputError as error:
        problems += [f"{finding.field} {finding.message}" for finding in error.findings]
    return Surroundings(tuple(attached), tuple(host_addresses()), tuple(problems))


def addresses_by_device() -> dict[str, list[Address]]:
    """The global addresses of each device that has some. Raises OSError."""
    found: dict[str, list[Address]] = {}
    for route in devices.addresses():
        found.setdefault(route.device, []).append(route.block.address)
    return found


def open_monitor(links: bool) -> socket.socket:
    """A socket that is readable after addresses or routes have changed, with ``links`` devices too, in the
    network namespace of the calling thread. It does not block. Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    opened.bind((0, _ADDRESSES_AND_ROUTES | (_LINKS if links else 0)))
    return opened


def drain(monitor: socket.socket) -> None:
    """Take in what waits, unread: that something changed is all that counts, lost messages included."""
    while True:
        try:
            monitor.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # messages were lost; the rest is still there to be taken
                raise

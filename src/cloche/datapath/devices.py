"""Devices by netlink: veth pairs into endpoints' namespaces, addresses, routes, sysctls.

Everything happens in the network namespace of the calling thread. Refusals are OSError with the
kernel's words.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cloche.datapath.namespaces import call_in, netns_path
from cloche.model.address import (
    Address,
    Block,
    format_address,
    host_block,
    is_ipv4,
    parse_address,
    parse_block,
)
from cloche.model.topology import DEFAULT_MTU, GATEWAY4, GATEWAY6

CONTAINER_DEVICE = "eth0"
LEAST_MTU, MOST_MTU = 1280, 65535
LONGEST_NAME = 15
_ONLINK, _SCOPE_LINK, _NODAD = 4, 253, 2
_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))
_TO_MANY = (3, 4, 5)
"""Routes of the types broadcast, anycast and multicast come with the addresses that others tell of."""
_MAIN = 254
_DAY_MS = "86400000"
_QUIET = {
    "net/ipv6/conf/{}/accept_ra": "0",
    "net/ipv6/conf/{}/addr_gen_mode": "1",
    "net/ipv6/conf/{}/accept_dad": "0",
    "net/ipv6/conf/{}/dad_transmits": "0",
    "net/ipv6/conf/{}/router_solicitations": "0",
    "net/ipv6/conf/{}/mldv1_unsolicited_report_interval": _DAY_MS,
    "net/ipv6/conf/{}/mldv2_unsolicited_report_interval": _DAY_MS,
}
_CONTAINER = {
    "net/ipv6/conf/{}/disable_ipv6": "0",
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/ping_group_range": "0 2147483647",
}


class Device(NamedTuple):
    """A device of this namespace; ``kind`` is ``veth``, ``bridge``, ... or empty for hardware; ``group`` is 0
    unless whoever made it chose another."""

    name: str
    ifindex: int
    mac: bytes
    kind: str
    group: int = 0


class Route(NamedTuple):
    """A route or an address of this namespace; ``device`` is empty for routes without one."""

    block: Block
    device: str


class Macs(NamedTuple):
    """Both ends of an endpoint's pair."""

    container: bytes
    host: bytes


@contextmanager
def netlink() -> Iterator[Any]:
    """An open netlink socket; NetlinkError comes out as OSError with the kernel's words.

    pyroute2 is imported here because that takes 0.4 s, which those who never ask should not pay.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise OSError(error.code, f"netlink: {error}") from error


def get_sysctl(name: str) -> str:
    """A sysctl's value (a path below /proc/sys). OSError."""
    return Path("/proc/sys", name).read_text().strip()


def set_sysctl(name: str, value: str) -> str:
    """Write a sysctl (a path below /proc/sys) unless it is so already; the old value. OSError."""
    path = Path("/proc/sys", name)
    old = get_sysctl(name)
    if old.split() != value.split():
        path.write_text(value)
    return old


def _apply(sysctls: Mapping[str, str], device: str) -> None:
    for name, value in sysctls.items():
        with suppress(FileNotFoundError):
            set_sysctl(name.format(device), value)


def silence(device: str) -> None:
    """Let a device speak for itself no more: no link-local address, no solicitations, no DAD,
    no repeated multicast reports."""
    _apply(_QUIET, device)


def mac_text(mac: bytes) -> str:
    """``02:c1:...``."""
    return mac.hex(":")


def devices() -> list[Device]:
    """Every device of this namespace."""
    with netlink() as route:
        return [_device(message) for message in route.get_links()]


def _device(message: Any) -> Device:
    information = message.get("linkinfo")
    kind = (information.get("kind") if information else "") or ""
    mac = bytes.fromhex((message.get("address") or "").replace(":", ""))
    return Device(message.get("ifname"), message["index"], mac, kind, message.get("group") or 0)


def find(name: str) -> Device | None:
    """The device of that name, None when there is none."""
    ifindex = _index(name)
    if not ifindex:
        return None
    with netlink() as route:
        return _device(route.get_links(ifindex)[0])


def _index(name: str) -> int:
    """The device's ifindex, 0 when there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def delete(name: str) -> bool:
    """Delete a device, its peer with it; False when there was none."""
    ifindex = _index(name)
    if not ifindex:
        return False
    try:
        with netlink() as route:
            route.link("del", index=ifindex)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    return True


def create_pair(name: str, peer: str, group: int = 0) -> None:
    """A veth pair with both ends here, quiet and down."""
    with netlink() as route:
        route.link("add", ifname=name, kind="veth", group=group, peer={"ifname": peer, "group": group})
    silence(name)
    silence(peer)


def create_endpoint_pair(name: str, netns: str, macs: Macs, mtu: int = DEFAULT_MTU, group: int = 0) -> int:
    """A veth pair, one end here and down, the other ``eth0`` in a named namespace; our end's ifindex.

    ``mtu`` is of both ends. ValueError for less than IPv6 needs (RFC 8200, 5) or more than a veth has.
    """
    if not LEAST_MTU <= mtu <= MOST_MTU:
        raise ValueError(f"an MTU of {mtu}: between {LEAST_MTU} and {MOST_MTU} are possible")
    peer = {"ifname": CONTAINER_DEVICE, "net_ns_fd": netns, "address": mac_text(macs.container), "mtu": mtu}
    own = {"ifname": name, "address": mac_text(macs.host), "mtu": mtu, "group": group}
    with netlink() as route:
        route.link("add", kind="veth", peer=peer, **own)
    set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    return socket.if_nametoindex(name)


def set_up(name: str, noarp: bool = False) -> None:
    """Bring a device up; ``noarp``: its neighbours need no resolving, whatever their address."""
    with netlink() as route:
        index = socket.if_nametoindex(name)
        if noarp:
            route.link("set", index=index, arp=False)
        route.link("set", index=index, state="up")


def furnish(netns: str, addresses: Sequence[Address]) -> None:
    """Inside an endpoint's namespace: addresses as /32 and /128 without DAD, default routes by the
    gateway, which the program answers for, loopback up."""
    call_in(netns_path(netns), lambda: _furnish(addresses))


def _furnish(addresses: Sequence[Address]) -> None:
    silence(CONTAINER_DEVICE)
    _apply(_CONTAINER, CONTAINER_DEVICE)
    index = socket.if_nametoindex(CONTAINER_DEVICE)
    with netlink() as route:
        route.link("set", index=socket.if_nametoindex("lo"), state="up")
        route.link("set", index=index, state="up")
        for address in addresses:
            length = 32 if is_ipv4(address) else 128
            route.addr("add", index=index, address=format_address(address), prefixlen=length, flags=_NODAD)
        for gateway in {GATEWAY4 if is_ipv4(address) else GATEWAY6 for address in addresses}:
            family = _FAMILIES[0] if is_ipv4(gateway) else _FAMILIES[1]
            by = {"gateway": format_address(gateway), "flags": _ONLINK, "family": family}
            route.route("add", dst="default", oif=index, **by)


def add_route(block: Block, name: str) -> None:
    """Lead a block into a device of this namespace; nothing when it leads there already. A route of others
    to the same block is left as it is: FileExistsError."""
    try:
        with netlink() as route:
            route.route("add", oif=socket.if_nametoindex(name), **_route(block))
    except FileExistsError:
        if Route(block, name) not in routes():
            raise


def delete_route(block: Block, name: str) -> None:
    """Undo ``add_route``; nothing when there is no such route."""
    ifindex = _index(name)
    if not ifindex:
        return
    try:
        with netlink() as route:
            route.route("del", oif=ifindex, **_route(block))
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _route(block: Block) -> dict[str, object]:
    if block.ipv4:
        return {"dst": str(block), "family": _FAMILIES[0], "scope": _SCOPE_LINK}
    return {"dst": str(block), "family": _FAMILIES[1]}


def routes() -> list[Route]:
    """Every route of every table that decides about single addresses: default routes and local addresses,
    those that discard or refuse too; one for each device of a route that has several."""
    found, names = [], dict(socket.if_nameindex())
    with netlink() as route:
        for family in _FAMILIES:
            for message in route.get_routes(family=family):
                if message["type"] not in _TO_MANY:
                    block = _block(family, message.get("dst"), message["dst_len"])
                    ways = message.get("multipath") or ()
                    indexes = [message.get("oif"), *(way["oif"] for way in ways)]
                    own = {names.get(index, "") for index in indexes if index} or {""}
                    found += [Route(block, name) for name in sorted(own)]
    return found


def rules() -> list[Route]:
    """The destinations for which a rule of the machine's (ip-rule(8)) does not ask the main table."""
    found = []
    with netlink() as route:
        for family in _FAMILIES:
            for message in route.get_rules(family=family):
                if message["dst_len"] and message["table"] != _MAIN:
                    found.append(Route(_block(family, message.get("dst"), message["dst_len"]), ""))
    return found


def blocks_to(name: str) -> set[Block]:
    """The blocks that are routed into a device; quick, however many other devices there are."""
    ifindex, found = _index(name), set()
    with netlink() as route:
        for family in _FAMILIES:
            for message in route.get_routes(family=family):
                if message["type"] == 1 and message.get("oif") == ifindex:  # unicast
                    found.add(_block(family, message.get("dst"), message["dst_len"]))
    return found


def _block(family: int, destination: str | None, length: int) -> Block:
    zero = "0.0.0.0" if family == socket.AF_INET else "::"
    return parse_block(f"{destination or zero}/{length}")


def addresses() -> list[Route]:
    """Every global address of this namespace with its device."""
    found, names = [], dict(socket.if_nameindex())
    with netlink() as route:
        for message in route.get_addr():
            if message["scope"] == 0:
                text = message.get("local") or message.get("address")
                found.append(Route(host_block(parse_address(text)), names[message["index"]]))
    return found

"""The host's side of an instance: the veth pair by which its stack meets the endpoints.

The host's routes to endpoints and services lead into the device ``<instance>``; what the stack sends
there is judged on its peer ``<instance>-p``, and what endpoints send to the stack is received on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from cloche.datapath import devices, nft
from cloche.datapath.ownership import device_group, is_own
from cloche.datapath.settings import StackDevice
from cloche.errors import Finding, InputError
from cloche.model.address import Address, Block, host_block, is_ipv4

_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_LOOSE = "2"


class Change(NamedTuple):
    """A setting of the machine that was changed and is not changed back, as others may rely on it by
    then: its path below /proc/sys, what it was, what it is."""

    sysctl: str
    old: str
    new: str


class HostSide(NamedTuple):
    """The instance's pair and what else was changed on the machine for it."""

    stack: StackDevice
    peer_ifindex: int
    changes: tuple[Change, ...]


def peer_name(instance: str) -> str:
    """The other end of the instance's device."""
    return f"{instance}-p"


def endpoint_device(instance: str, number: int) -> str:
    """The host side of an endpoint's pair, at most 15 characters."""
    return f"{instance}-{number:x}"


def make_pair(instance: str) -> StackDevice:
    """The instance's pair, both ends down when it is new; as it is when there is one.

    OSError when a stranger's device has one of the names.
    """
    if devices.find(instance) is None:
        devices.create_pair(instance, peer_name(instance), device_group(instance))
        for name in (instance, peer_name(instance)):  # where the machine has IPv6 off for all devices
            devices.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        devices.set_sysctl(f"net/ipv4/conf/{instance}/rp_filter", _LOOSE)
        devices.set_sysctl(f"net/ipv4/conf/{instance}/send_redirects", "0")
    device = devices.find(instance)
    if device is None:
        raise OSError(f"{instance} went away while it was made")
    if not is_own(instance, device):
        raise OSError(f"there is a device {instance} already, which this instance did not make")
    return StackDevice(device.ifindex, device.mac)


def open_stack(instance: str, ranges: Sequence[Block]) -> tuple[Change, ...]:
    """Bring the pair up, lead ``ranges`` into it, let the machine forward and masquerade.

    Only after the programs are on the pair. What was changed on the machine is returned.
    """
    devices.set_up(instance, noarp=True)
    devices.set_up(peer_name(instance))
    for block in ranges:
        devices.add_route(block, instance)
    nft.masquerade(instance)
    return tuple(_forward())


def _forward() -> list[Change]:
    """Enable forwarding. Devices that get their IPv6 routes by router advertisements go on doing so."""
    wanted = dict.fromkeys(_FORWARDING, "1")
    for name in uplinks():
        path = f"net/ipv6/conf/{name}/accept_ra"
        with suppress(OSError):
            if devices.get_sysctl(path) == "1":
                wanted[path] = _LOOSE
    changes = []
    for path, value in sorted(wanted.items(), reverse=True):
        old = devices.set_sysctl(path, value)
        if old != value:
            changes.append(Change(path, old, value))
    return changes


def uplinks() -> list[str]:
    """The devices that hold a global address or a default route, ``lo`` excepted, sorted."""
    names = {address.device for address in devices.addresses()}
    names |= {route.device for route in devices.routes() if _is_default(route.block)}
    return sorted(names - {"lo", ""})


def host_addresses() -> list[Address]:
    """The machine's own global addresses, sorted, IPv4 first."""
    found = {route.block.address for route in devices.addresses()}
    return sorted(found, key=lambda address: (not is_ipv4(address), address))


def _is_default(block: Block) -> bool:
    return block.length == (96 if block.ipv4 else 0)


def check_overlap(instance: str, blocks: Sequence[Block]) -> None:
    """Refuse ranges and kept addresses that the machine or another instance routes elsewhere, discards,
    or has a rule for.

    Changes nothing. Raises InputError with a finding for each block that clashes.
    """
    all_of_them = {*devices.routes(), *devices.addresses(), *devices.rules()}
    there = sorted(all_of_them, key=lambda route: (route.block.length, route.device))
    others = [r for r in there if r.device != instance and not _is_default(r.block)]
    findings = []
    for block in blocks:
        clash = next((r for r in others if block.covers(r.block) or r.block.covers(block)), None)
        if clash is not None:
            by = (
                f"which this machine reaches by {clash.device}" if clash.device else "for which it has a rule"
            )
            what = f"overlaps {clash.block}, {by}"
            findings.append(Finding("machine", 0, str(block), what, _hint(block)))
    if findings:
        raise InputError(findings)


def _hint(block: Block) -> str:
    if block == host_block(block.address):
        return "leave status.podIPs out, so that an address of the pod range is taken"
    return "choose ranges that nothing else uses, with --pod-cidr or --service-cidr"

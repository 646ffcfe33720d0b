"""Who made a device or a network namespace: only what carries an instance's mark is its own.

A name alone proves nothing: ``eth0`` is a lawful name of an instance. A device is marked by its group
(ip-link(8)), which the kernel takes in the same message that makes it, so that no kill comes between. A
namespace is marked by an empty folder beside the instance's pins, made before the namespace; a resolv.conf
by its first line. Pins, the nftables table and the state's folders have ``cloche`` in their own names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from cloche.datapath import devices, faults, namespaces
from cloche.datapath.devices import Device
from cloche.datapath.faults import Point
from cloche.datapath.pins import pin_directory
from cloche.errors import Finding, InputError

ETC = Path("/etc/netns")


def device_group(instance: str) -> int:
    """The group of the instance's devices: 31 bits of a hash of its name, not 0, the group of all others."""
    digest = hashlib.sha256(f"cloche:{instance}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1 or 1


def _named(instance: str) -> list[Device]:
    """The devices that are called as the instance's pair and the host sides of its endpoints' pairs."""
    names = re.compile(rf"{re.escape(instance)}(-[0-9a-f]+|-p)?")
    return [device for device in devices.devices() if names.fullmatch(device.name)]


def is_own(instance: str, device: Device) -> bool:
    """True when the device carries the instance's mark."""
    return device.group == device_group(instance)


def own_devices(instance: str) -> list[Device]:
    """The instance's own devices."""
    return [device for device in _named(instance) if is_own(instance, device)]


def delete_device(instance: str, name: str) -> bool:
    """Delete a device of the instance, its peer with it; False when there is none, or it is a stranger's."""
    device = devices.find(name)
    return device is not None and is_own(instance, device) and devices.delete(name)


def _mark(instance: str, name: str) -> Path:
    """The folder that marks a namespace; bpffs keeps names with dots to itself, pods' have no colon."""
    return pin_directory(instance) / "namespaces" / name.replace(".", ":")


def is_own_namespace(instance: str, name: str) -> bool:
    """True when the namespace carries the instance's mark."""
    return _mark(instance, name).is_dir()


def own_namespaces(instance: str) -> list[str]:
    """The names of the namespaces that the instance made, sorted."""
    marks = _mark(instance, "").parent / "namespaces"
    return sorted(mark.name.replace(":", ".") for mark in marks.iterdir()) if marks.is_dir() else []


def create_namespace(instance: str, name: str) -> None:
    """Make a named namespace and mark it. OSError, FileExistsError when somebody's is there."""
    if namespaces.netns_path(name).exists():
        raise FileExistsError(f"there is a network namespace {name} already")
    _mark(instance, name).mkdir(parents=True, exist_ok=True)
    faults.passing(Point.NAMESPACE_MARKED)
    namespaces.create(name)


def remove_namespace(instance: str, name: str) -> bool:
    """Remove a namespace that the instance made; False when there is none, or it is a stranger's."""
    if not is_own_namespace(instance, name):
        return False
    there = namespaces.remove(name)
    faults.passing(Point.NAMESPACE_REMOVED)
    _mark(instance, name).rmdir()
    return there


def _etc_line(instance: str) -> str:
    return f"# cloche:{instance}\n"


def write_resolv_conf(instance: str, name: str, content: str) -> None:
    """What programs in a namespace see as /etc/resolv.conf, as ip-netns(8) finds it. OSError."""
    folder = ETC / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text(_etc_line(instance) + content)


def remove_resolv_conf(instance: str, name: str) -> None:
    """Undo ``write_resolv_conf``; a stranger's stays."""
    file = ETC / name / "resolv.conf"
    if file.is_file() and file.read_text(errors="replace").startswith(_etc_line(instance)):
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


def remove_etc(instance: str, kept: Collection[str] = ()) -> None:
    """Remove every resolv.conf that the instance wrote, but for the namespaces that are ``kept``."""
    for folder in list(ETC.iterdir()) if ETC.is_dir() else []:
        if folder.name.startswith(f"{instance}.") and folder.name not in kept:
            remove_resolv_conf(instance, folder.name)


def check_devices(instance: str) -> None:
    """Refuse to work where strangers' devices have the instance's names.

    Changes nothing. Raises InputError with a finding for each.
    """
    hint = "nothing of it is touched: choose another name with --instance, or rename it"
    what = "this machine has a device of that name already"
    strangers = (device for device in _named(instance) if not is_own(instance, device))
    findings = [Finding("machine", 0, device.name, what, hint) for device in strangers]
    if findings:
        raise InputError(findings)


def check_namespaces(instance: str, wanted: Iterable[str]) -> None:
    """Refuse to make namespaces under names that strangers' have, or whose resolv.conf they wrote.

    Changes nothing. Raises InputError with a finding for each.
    """
    hint = "nothing of it is touched: choose another name with --instance, or remove it"
    findings = []
    for name in wanted:
        if not is_own_namespace(instance, name) and namespaces.netns_path(name).exists():
            what = "this machine has a network namespace of that name already"
            findings.append(Finding("machine", 0, name, what, hint))
        file = ETC / name / "resolv.conf"
        if file.is_file() and not file.read_text(errors="replace").startswith(_etc_line(instance)):
            findings.append(Finding("machine", 0, str(file), "this file is there already", hint))
    if findings:
        raise InputError(findings)

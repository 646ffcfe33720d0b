"""Removes everything of one instance from the kernel, and nothing else; needs no agent, runs twice.

Devices go before programs, so that no packet passes unjudged on the way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cloche.datapath import devices, hooks, machine, namespaces, nft
from cloche.datapath.loader import PINS, pin_directory


def remove_instance(instance: str, folders: Sequence[Path] = ()) -> list[str]:
    """Remove the instance's devices, namespaces, links, pins, nftables table and ``folders``.

    What was removed is returned, in words; an empty list: there was nothing.
    """
    removed = []
    for device in _devices(instance):
        if devices.delete(device):
            removed.append(f"device {device}")
    for name in namespaces.names_of(instance):
        namespaces.remove(name)
        removed.append(f"namespace {name}")
    namespaces.remove_etc(instance)
    removed += _pins(instance)
    if shutil.which("nft"):
        nft.remove(instance)
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
            removed.append(f"folder {folder}")
    return removed


def _devices(instance: str) -> list[str]:
    """The instance's own devices: its pair and the host sides of its endpoints' pairs."""
    own = re.compile(rf"{re.escape(instance)}(-[0-9a-f]+|-p)?")
    return [d.name for d in devices.devices() if d.kind == "veth" and own.fullmatch(d.name)]


def _pins(instance: str) -> list[str]:
    directory = pin_directory(instance)
    if not machine.is_bpffs(machine.BPFFS) or not directory.is_dir():
        return []
    for name in hooks.hook_names(instance):
        hooks.unhook(instance, name)
    for part in ("links", "programs", "maps"):
        if (directory / part).is_dir():
            for pin in (directory / part).iterdir():
                pin.unlink()
            (directory / part).rmdir()
    directory.rmdir()
    if not any(PINS.iterdir()):
        PINS.rmdir()
    return [f"pins {directory}"]


def instances() -> list[str]:
    """The instances that have something pinned, sorted."""
    return sorted(entry.name for entry in PINS.iterdir()) if PINS.is_dir() else []

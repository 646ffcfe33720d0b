"""Removes everything of one instance from the kernel, and nothing else (``ownership``); needs no agent, runs
twice.

Devices go before programs, so that no packet passes unjudged on the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cloche.datapath import devices, hooks, machine, nft, ownership
from cloche.datapath.pins import PINS, pin_directory, remove_pins

Tick = Callable[[int, int], None]
"""Told of the steps done and of all steps."""


def unheard(_done: int, _total: int) -> None:
    """Tells nobody."""


def remove_instance(instance: str, folders: Sequence[Path] = (), tick: Tick = unheard) -> list[str]:
    """Remove the instance's devices, namespaces, links, pins, nftables table and ``folders``.

    What was removed is returned, in words; an empty list: there was nothing. ``tick`` is told of each
    device and namespace.
    """
    removed = []
    found, spaces = ownership.own_devices(instance), ownership.own_namespaces(instance)
    total = len(found) + len(spaces)
    for done, device in enumerate(found, 1):
        if devices.delete(device.name):
            removed.append(f"device {device.name}")
        tick(done, total)
    for done, name in enumerate(spaces, len(found) + 1):
        if ownership.remove_namespace(instance, name):
            removed.append(f"namespace {name}")
        tick(done, total)
    ownership.remove_etc(instance)
    removed += _pins(instance)
    if shutil.which("nft"):
        nft.remove(instance)
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
            removed.append(f"folder {folder}")
    return removed


def _pins(instance: str) -> list[str]:
    if machine.is_bpffs(machine.BPFFS):
        hooks.unstage(instance)
        for name in hooks.hook_names(instance):
            hooks.unhook(instance, name)
    return [f"pins {pin_directory(instance)}"] if remove_pins(instance) else []


def instances() -> list[str]:
    """The instances that have something pinned, sorted."""
    return sorted(entry.name for entry in PINS.iterdir()) if PINS.is_dir() else []

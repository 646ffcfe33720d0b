"""Programs on the instance's devices by links that are pinned, so that they outlive the agent."""

from __future__ import annotations

import os
from pathlib import Path

from cloche.datapath import bpf, links
from cloche.datapath.links import Hook
from cloche.datapath.pins import pin_directory


def _pin(instance: str, name: str) -> Path:
    return pin_directory(instance) / "links" / name


def hook(instance: str, name: str, program_fd: int, ifindex: int, where: Hook = Hook.INGRESS) -> None:
    """Put a program on a device, pinned under ``name``; kept as it is when it is there already.

    OSError when the kernel refuses.
    """
    path = _pin(instance, name)
    if hooked(instance, name, ifindex):
        return
    unhook(instance, name)
    fd = links.attach(program_fd, ifindex, where)
    try:
        bpf.pin(fd, str(path))
    finally:
        os.close(fd)


def hooked(instance: str, name: str, ifindex: int) -> bool:
    """True when the pinned link is there and on that device."""
    path = _pin(instance, name)
    if not path.exists():
        return False
    fd = bpf.get_pinned(str(path))
    try:
        return links.info(fd).ifindex == ifindex
    finally:
        os.close(fd)


def unhook(instance: str, name: str) -> None:
    """Take the program off and the pin away; nothing when there is none."""
    path = _pin(instance, name)
    if not path.exists():
        return
    fd = bpf.get_pinned(str(path))
    try:
        links.detach(fd)
    finally:
        os.close(fd)
    path.unlink()


def hook_names(instance: str) -> list[str]:
    """The names under which links are pinned, sorted."""
    directory = pin_directory(instance) / "links"
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []

"""Programs on the instance's devices, so that they outlive the agent: by TCX links that are pinned, or on
kernels without TCX by filters on the clsact qdisc.

Which of the two an instance uses is settled when it is made: one with filters has the folder ``filters``
beside its pins, and in it an empty folder ``<hook>:<ifindex>:<where>`` for each. A filter's folder is made
before the filter and removed after it, so whatever is on a device is known, whenever the agent was killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloche.config import Loader
from cloche.datapath import bpf, faults, filters, links
from cloche.datapath.faults import Point
from cloche.datapath.links import Hook
from cloche.datapath.machine import has_tcx
from cloche.datapath.pins import NEXT, pin_directory
from cloche.errors import MachineError

SECTION = "filters"


class Placed(NamedTuple):
    """What is known of one hook: its name, its device, and where there."""

    name: str
    ifindex: int
    where: Hook


def settle(instance: str, wanted: Loader) -> Loader:
    """Which loader the instance uses from now on; its pin folder is there.

    ``auto`` keeps what an instance that is there uses, else takes TCX where the kernel has it. MachineError
    when another than the one in use is asked for, or one that this kernel has not.
    """
    directory = pin_directory(instance)
    used = Loader.CLSACT if (directory / SECTION).is_dir() else Loader.TCX
    is_new = used is Loader.TCX and not any((directory / "maps").iterdir())
    if not is_new:
        if wanted not in (Loader.AUTO, used):
            raise MachineError(f"instance {instance} uses the loader {used}; for {wanted} take it down first")
        return used
    chosen = wanted if wanted is not Loader.AUTO else Loader.TCX if has_tcx() else Loader.CLSACT
    if chosen is Loader.TCX and not has_tcx():
        raise MachineError("TCX links are needed by the loader tcx (kernel 6.6 or newer): use clsact or auto")
    if chosen is Loader.CLSACT:
        (directory / SECTION).mkdir()
    return chosen


def loader_of(instance: str) -> Loader:
    """The loader that the instance uses."""
    return Loader.CLSACT if (pin_directory(instance) / SECTION).is_dir() else Loader.TCX


def _pin(instance: str, name: str) -> Path:
    return pin_directory(instance) / "links" / name


def _filter_name(instance: str, name: str) -> str:
    return f"{instance}/{name}"


def placed(instance: str) -> list[Placed]:
    """Every hook of the instance, sorted; ``ifindex`` 0 of a link whose device is gone."""
    if loader_of(instance) is Loader.CLSACT:
        parts = (p.name.rsplit(":", 2) for p in (pin_directory(instance) / SECTION).iterdir())
        return sorted(Placed(name, int(ifindex), Hook[where]) for name, ifindex, where in parts)
    directory = pin_directory(instance) / "links"
    return sorted(_of_link(pin) for pin in directory.iterdir()) if directory.is_dir() else []


def _of_link(pin: Path) -> Placed:
    fd = bpf.get_pinned(str(pin))
    try:
        info = links.info(fd)
    finally:
        os.close(fd)
    return Placed(pin.name, info.ifindex, Hook(info.hook))


def hook(instance: str, name: str, program_fd: int, ifindex: int, where: Hook = Hook.INGRESS) -> None:
    """Put a program on a device, kept under ``name``; left as it is when it is there already.

    OSError when the kernel refuses.
    """
    if hooked(instance, name, ifindex):
        return
    unhook(instance, name)
    if loader_of(instance) is Loader.CLSACT:
        (pin_directory(instance) / SECTION / f"{name}:{ifindex}:{where.name}").mkdir()
        filters.attach(_filter_name(instance, name), program_fd, ifindex, where)
        faults.passing(Point.LINK_MADE)
        return
    fd = links.attach(program_fd, ifindex, where)
    try:
        faults.passing(Point.LINK_MADE)
        bpf.pin(fd, str(_pin(instance, name)))
    finally:
        os.close(fd)


def hooked(instance: str, name: str, ifindex: int) -> bool:
    """True when the link or filter is there and on that device."""
    if loader_of(instance) is Loader.CLSACT:
        known = any((p.name, p.ifindex) == (name, ifindex) for p in placed(instance))
        return known and filters.find(_filter_name(instance, name), ifindex) is not None
    path = _pin(instance, name)
    return path.exists() and _of_link(path).ifindex == ifindex


def unhook(instance: str, name: str) -> bool:
    """Take the program off and forget the hook; False when there is none."""
    if loader_of(instance) is Loader.CLSACT:
        found = [there for there in placed(instance) if there.name == name]
        for there in found:
            _unfilter(instance, there)
        return bool(found)
    path = _pin(instance, name)
    if not path.exists():
        return False
    fd = bpf.get_pinned(str(path))
    try:
        links.detach(fd)
    finally:
        os.close(fd)
    path.unlink()
    return True


def _unfilter(instance: str, there: Placed) -> None:
    found = filters.find(_filter_name(instance, there.name), there.ifindex)
    if found is not None:
        filters.detach(found)
    (pin_directory(instance) / SECTION / f"{there.name}:{there.ifindex}:{there.where.name}").rmdir()


def hook_names(instance: str) -> list[str]:
    """The names of all hooks, sorted."""
    if loader_of(instance) is Loader.CLSACT:
        return [there.name for there in placed(instance)]
    directory = pin_directory(instance) / "links"
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def stage(instance: str, programs: Mapping[str, int]) -> None:
    """Put these programs, by name, before those of the same name on their devices. Nothing of it outlives
    ``unstage``, which also takes off what a start that was killed left."""
    if loader_of(instance) is Loader.CLSACT:
        for there in placed(instance):
            name = _filter_name(instance, there.name)
            found = filters.find(name, there.ifindex)
            if found is not None and found.program in programs:
                place = (there.ifindex, there.where, filters.STAGED)
                filters.attach(name, programs[found.program], *place)
        return
    for there in placed(instance):
        name = _running(_pin(instance, there.name))
        if there.ifindex and name in programs:
            fd = links.attach(programs[name], there.ifindex, there.where, links.F_BEFORE)
            try:
                bpf.pin(fd, str(pin_directory(instance) / NEXT / "links" / there.name))
            finally:
                os.close(fd)


def unstage(instance: str) -> None:
    """Take off what ``stage`` put there; nothing when there is nothing."""
    if loader_of(instance) is Loader.CLSACT:
        for there in placed(instance):
            found = filters.find(_filter_name(instance, there.name), there.ifindex, filters.STAGED)
            if found is not None:
                filters.detach(found)
    directory = pin_directory(instance) / NEXT / "links"
    for pin in directory.iterdir() if directory.is_dir() else ():
        fd = bpf.get_pinned(str(pin))
        try:
            links.detach(fd)
        finally:
            os.close(fd)
        pin.unlink()


def _running(pin: Path) -> str:
    """The name of the program that a pinned link runs."""
    link = bpf.get_pinned(str(pin))
    try:
        running = bpf.open_id(bpf.Command.PROG_BY_ID, links.info(link).program_id)
    finally:
        os.close(link)
    try:
        return bpf.program_info(running).name
    finally:
        os.close(running)


def swap(instance: str, program: str, program_fd: int) -> None:
    """Put a program in the place of every one of the same name (``program``), each in one step."""
    if loader_of(instance) is Loader.CLSACT:
        for there in placed(instance):
            found = filters.find(_filter_name(instance, there.name), there.ifindex)
            if found is not None and found.program == program:
                filters.replace(found, program_fd)
        return
    for pin in (pin_directory(instance) / "links").iterdir():
        if _running(pin) == program:
            link = bpf.get_pinned(str(pin))
            try:
                links.replace_program(link, program_fd)
            finally:
                os.close(link)

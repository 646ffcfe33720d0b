"""Going into a pod's network namespace, with the pod's own resolv.conf, and becoming another program there.

What ``ip netns exec`` does, without needing it: the files under ``/etc/netns/<name>`` are seen in place of
those under ``/etc``, in a mount namespace that nobody else is in.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from cloche.errors import Finding, InputError, MachineError

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
NETNS_FILES = Path("/etc/netns")
MISSING = (
    "this machine has no {target}, so the pod's own is not seen; hint: create one, an empty one will do\n"
)

_libc = ctypes.CDLL(None, use_errno=True)


def become(netns: str, command: list[str]) -> None:
    """Replace this process by ``command`` inside the namespace at path ``netns``; returns never.

    Raises MachineError when the namespace cannot be entered, InputError when there is no such command.
    """
    enter(netns)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        hint = "the machine's own programs can be run in a pod"
        raise InputError([Finding(command[0], 0, "", error.strerror or "cannot be run", hint)]) from None


def enter(netns: str) -> None:
    """Move this thread into the namespace at path ``netns``. Raises MachineError.

    A file that the machine has none of cannot be put in its place: said on standard error.
    """
    try:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"{netns}: {error.strerror}") from None
    try:
        _call("setns", descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)
    _call("unshare", CLONE_NEWNS)
    _mount("none", "/", MS_SLAVE | MS_REC)
    folder = NETNS_FILES / Path(netns).name
    for file in folder.iterdir() if folder.is_dir() else ():
        if (target := Path("/etc") / file.name).exists():
            _mount(str(file), str(target), MS_BIND)
        else:
            sys.stderr.write(MISSING.format(target=target))


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise MachineError(f"{name}: {os.strerror(ctypes.get_errno())}; entering a pod needs root")

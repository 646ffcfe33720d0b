"""Programs on devices: TCX links made, pinned, found, swapped and undone.

TCX exists since kernel 6.6. Device indexes are those of the calling thread's network namespace.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from cloche.datapath.bpf import Attr, Command, call, ids, info_bytes, open_id

_TYPE_TCX = 11
F_BEFORE, F_AFTER = 1 << 3, 1 << 4


class Hook(IntEnum):
    """Where on a device: what it receives, or what it sends."""

    INGRESS = 46
    EGRESS = 47


class LinkInfo(NamedTuple):
    """A TCX link: kernel-wide ids of link and program; ``ifindex`` 0 when the device is gone."""

    id: int
    program_id: int
    ifindex: int
    hook: int


def attach(program_fd: int, ifindex: int, hook: Hook, flags: int = 0) -> int:
    """Put a program on a device by a new link; its file descriptor. Flags: F_BEFORE first, F_AFTER last."""
    attr = Attr("<4IQQ", program_fd, ifindex, int(hook), flags, 0, 0)
    return call(Command.LINK_CREATE, attr, f"{hook.name.lower()} of device {ifindex}")


def replace_program(link_fd: int, program_fd: int) -> None:
    """Let the link run another program, in one step."""
    call(Command.LINK_UPDATE, Attr("<4I", link_fd, program_fd, 0, 0), f"to program fd {program_fd}")


def detach(link_fd: int) -> None:
    """Undo the link now, whoever else holds or pins it; nothing when its device is gone already."""
    try:
        call(Command.LINK_DETACH, Attr("<I", link_fd), f"fd {link_fd}")
    except OSError as error:
        if info(link_fd).ifindex != 0:
            raise error


def info(link_fd: int) -> LinkInfo:
    """What the kernel says of a TCX link; ValueError when it is another kind."""
    raw = info_bytes(link_fd)
    kind, number, program = struct.unpack_from("<3I", raw)
    if kind != _TYPE_TCX:
        raise ValueError(f"link {number} is no TCX link")
    return LinkInfo(number, program, *struct.unpack_from("<2I", raw, 16))


def all_links() -> Iterator[LinkInfo]:
    """Every TCX link of the kernel, of all network namespaces."""
    for number in ids(Command.LINK_NEXT_ID):
        try:
            fd = open_id(Command.LINK_BY_ID, number)
        except FileNotFoundError:
            continue
        try:
            yield info(fd)
        except ValueError:
            continue
        finally:
            os.close(fd)

"""The bpf(2) system call and what surrounds it: pins, ids, info, test runs, grace periods.

Attribute layouts are those of the kernel's include/uapi/linux/bpf.h. Every failure is an OSError that
names the operation.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_BPF_NUMBERS = {"x86_64": (321, 324), "aarch64": (280, 283)}
_ATTR_SIZE = 152
_MEMBARRIER_GLOBAL = 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Command(IntEnum):
    """``enum bpf_cmd``, as far as it is used."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_NEXT_ID = 11
    MAP_NEXT_ID = 12
    PROG_BY_ID = 13
    MAP_BY_ID = 14
    OBJ_INFO = 15
    PROG_QUERY = 16
    BTF_BY_ID = 19
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_BY_ID = 30
    LINK_NEXT_ID = 31
    ENABLE_STATS = 32
    LINK_DETACH = 34


class Attr:
    """One call's attributes: a zeroed block that is filled by ``struct`` formats."""

    __slots__ = ("buffer",)

    def __init__(self, layout: str, *values: int) -> None:
        self.buffer = ctypes.create_string_buffer(_ATTR_SIZE)
        struct.pack_into(layout, self.buffer, 0, *values)

    def read(self, layout: str, offset: int) -> tuple[int, ...]:
        """What the kernel left at an offset."""
        return struct.unpack_from(layout, self.buffer, offset)


def _numbers() -> tuple[int, int]:
    try:
        return _BPF_NUMBERS[platform.machine()]
    except KeyError:
        raise OSError(f"bpf(2): its number on {platform.machine()} is not known here") from None


def address_of(buffer: object) -> int:
    """Where a ctypes buffer lies."""
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


def call(command: Command, attr: Attr, what: str = "") -> int:
    """The call's result, 0 or a file descriptor; OSError names the command and ``what``."""
    result = int(_libc.syscall(_numbers()[0], int(command), attr.buffer, _ATTR_SIZE))
    if result < 0:
        raise failure(command.name.lower(), what)
    return result


def failure(operation: str, what: str) -> OSError:
    """The OSError of the last failed call, with the operation named."""
    number = ctypes.get_errno()
    return OSError(number, f"{operation} {what}".strip() + f": {os.strerror(number)}")


def wait_grace() -> None:
    """Return when no packet that began before the call is still in a program (an RCU grace period).

    Blocks, some 10 ms. membarrier(2) with MEMBARRIER_CMD_GLOBAL is a synchronize_rcu in the kernel.
    """
    if _libc.syscall(_numbers()[1], _MEMBARRIER_GLOBAL, 0, 0) < 0:
        raise failure("membarrier", "global")


def pin(fd: int, path: str) -> None:
    """Pin a map, program or link at ``path`` on a bpffs."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    call(Command.OBJ_PIN, Attr("<QII", address_of(text), fd, 0), path)


def get_pinned(path: str) -> int:
    """A new file descriptor of what is pinned at ``path``."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    return call(Command.OBJ_GET, Attr("<QII", address_of(text), 0, 0), path)


def info_bytes(fd: int, size: int = 256) -> bytes:
    """``struct bpf_{map,prog,link}_info`` of a file descriptor, at most ``size`` bytes."""
    buffer = ctypes.create_string_buffer(size)
    attr = Attr("<IIQ", fd, size, address_of(buffer))
    call(Command.OBJ_INFO, attr, f"fd {fd}")
    return buffer.raw


class ProgramInfo(NamedTuple):
    """A loaded program: its kernel-wide id, name (at most 15 bytes) and the tag of its instructions."""

    id: int
    name: str
    tag: str


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program."""
    raw = info_bytes(fd)
    return ProgramInfo(struct.unpack_from("<I", raw, 4)[0], c_text(raw[64:80]), raw[8:16].hex())


def c_text(raw: bytes) -> str:
    """The text before the first zero byte."""
    return raw.split(b"\0", 1)[0].decode()


def ids(command: Command) -> Iterator[int]:
    """Every id that PROG_NEXT_ID, MAP_NEXT_ID or LINK_NEXT_ID walks over, of the whole kernel."""
    current = 0
    while True:
        attr = Attr("<II", current, 0)
        try:
            call(command, attr)
        except FileNotFoundError:
            return
        (current,) = attr.read("<I", 4)
        yield current


def open_id(command: Command, number: int) -> int:
    """A file descriptor by id; FileNotFoundError when it is gone."""
    return call(command, Attr("<I", number), f"id {number}")


SKB_SIZE = 192
SKB_MARK, SKB_INGRESS_IFINDEX, SKB_IFINDEX, SKB_CB, SKB_SEGMENTS, SKB_SEGMENT = 8, 36, 40, 48, 164, 176


class SkbContext(NamedTuple):
    """The fields of ``struct __sk_buff`` that a test run sets and gets back. ``segment``: into how many bytes
    of payload each the packet will be cut, 0: it is one (``gso_size``)."""

    ifindex: int
    mark: int = 0
    cb: tuple[int, ...] = (0, 0, 0, 0, 0)
    segment: int = 0


class TestRun(NamedTuple):
    """What one test run left: the program's return value, the frame, the context, ns per run."""

    retval: int
    frame: bytes
    context: SkbContext
    duration_ns: int


class Runner:
    """Runs one classifier on crafted frames, its buffers made once (BPF_PROG_TEST_RUN)."""

    OUT_SIZE = 8192

    def __init__(self, program_fd: int) -> None:
        self._fd = program_fd
        self._context_in = ctypes.create_string_buffer(SKB_SIZE)
        self._context_out = ctypes.create_string_buffer(SKB_SIZE)
        self._out = ctypes.create_string_buffer(self.OUT_SIZE)

    def run(self, frame: bytes, context: SkbContext, repeat: int = 1) -> TestRun:
        """Run on ``frame`` (an Ethernet frame of 14 bytes to about 3500).

        The devices' indexes are resolved in the calling thread's network namespace. OSError when
        the kernel refuses the frame or the context.
        """
        struct.pack_into("<I", self._context_in, SKB_MARK, context.mark)
        struct.pack_into("<II", self._context_in, SKB_INGRESS_IFINDEX, context.ifindex, context.ifindex)
        struct.pack_into("<5I", self._context_in, SKB_CB, *context.cb)
        segments = -(-len(frame) // context.segment) if context.segment else 0
        struct.pack_into("<I", self._context_in, SKB_SEGMENTS, segments)
        struct.pack_into("<I", self._context_in, SKB_SEGMENT, context.segment)
        data = ctypes.create_string_buffer(frame, len(frame))
        values = (self._fd, 0, len(frame), self.OUT_SIZE, address_of(data), address_of(self._out))
        contexts = (SKB_SIZE, SKB_SIZE, address_of(self._context_in), address_of(self._context_out))
        attr = Attr("<4I2Q4I2Q", *values, repeat, 0, *contexts)
        call(Command.PROG_TEST_RUN, attr, f"a frame of {len(frame)} bytes")
        (retval,) = attr.read("<I", 4)
        (length,) = attr.read("<I", 12)
        (duration,) = attr.read("<I", 36)
        left = SkbContext(
            struct.unpack_from("<I", self._context_out, SKB_IFINDEX)[0],
            struct.unpack_from("<I", self._context_out, SKB_MARK)[0],
            struct.unpack_from("<5I", self._context_out, SKB_CB),
        )
        return TestRun(retval, self._out.raw[:length], left, duration)

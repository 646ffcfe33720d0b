"""What this machine can do: features that the datapath needs or is better with, since which kernel each
exists, what is lost without it, and whether it is here. ``doctor`` adds what takes longer to find.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cloche.datapath.bpf import Attr, Command, call
from cloche.errors import MachineError

BTF = Path("/sys/kernel/btf/vmlinux")
IPV6 = Path("/proc/sys/net/ipv6")
BPFFS = Path("/sys/fs/bpf")
OLDEST = (6, 1)
"""Debian 12's own, on which the kernel tests are run too (tests/kernel/kernel-6.1.json)."""
LIBBPF = "libbpf.so.1"
_BPF_MAGIC = 0xCAFE4A11
_TCX_INGRESS = 46
_LOOPBACK = 1


class Found(NamedTuple):
    """What a probe found: ``present`` None when it cannot be asked here; more in words, and what to do."""

    present: bool | None
    detail: str = ""
    hint: str = ""


class Feature(NamedTuple):
    """One feature: since which kernel it exists, whether nothing works without it, and what is lost."""

    name: str
    since: str
    needed: bool
    lost: str
    probe: Callable[[], Found]


class Answer(NamedTuple):
    """A feature, asked of this machine."""

    name: str
    present: bool | None
    since: str
    needed: bool
    lost: str
    detail: str
    hint: str

    @property
    def missing(self) -> bool:
        """True when Cloche does not work here because of this."""
        return self.needed and self.present is False


def kernel_version(release: str = "") -> tuple[int, int]:
    """Major and minor number of the running kernel, or of the release given."""
    found = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    if not found:
        raise MachineError(f"kernel release {os.uname().release!r} cannot be read")
    return int(found[1]), int(found[2])


def has_tcx() -> bool | None:
    """Whether this kernel has TCX, asked of it; None when it does not answer (not root)."""
    try:
        call(Command.PROG_QUERY, Attr("<4I", _LOOPBACK, _TCX_INGRESS, 0, 0), "of loopback")
    except OSError as error:
        return None if error.errno == errno.EPERM else False
    return True


def _root() -> Found:
    return Found(os.geteuid() == 0, f"user {os.geteuid()}", "run as root")


def _kernel() -> Found:
    here = os.uname().release
    return Found(kernel_version() >= OLDEST, here, f"this kernel is {here}")


def _btf() -> Found:
    return Found(BTF.exists(), str(BTF), f"{BTF} is missing: CONFIG_DEBUG_INFO_BTF=y is needed")


def _bpffs() -> Found:
    detail = f"mounted at {BPFFS}" if is_bpffs(BPFFS) else f"not mounted at {BPFFS} yet"
    return Found("bpf" in _filesystems(), detail, "CONFIG_BPF_SYSCALL=y is needed")


def _ipv6() -> Found:
    return Found(IPV6.is_dir(), str(IPV6), f"{IPV6} is missing: boot without ipv6.disable=1")


def _libbpf() -> Found:
    try:
        version = ctypes.CDLL(LIBBPF).libbpf_version_string
    except (OSError, AttributeError):
        return Found(False, "", f"{LIBBPF} cannot be loaded (Debian: apt-get install libbpf1)")
    version.restype = ctypes.c_char_p
    return Found(True, version().decode())


def _tcx() -> Found:
    found = has_tcx()
    here = f"this kernel is {os.uname().release}"
    return Found(found, "" if found else here if found is False else "only root may ask", here)


TABLE: tuple[Feature, ...] = (
    Feature("root", "any", True, "loading programs and making network namespaces", _root),
    Feature("kernel", "6.1", True, "programs and maps as they are here", _kernel),
    Feature("BTF of the kernel", "5.4", True, "libbpf cannot tell types", _btf),
    Feature("bpffs", "4.4", True, "nothing outlives the agent", _bpffs),
    Feature("IPv6", "any", True, "pods have no IPv6 addresses, and none can be given", _ipv6),
    Feature("libbpf", "any", True, "the program cannot be loaded", _libbpf),
    Feature(
        "TCX links",
        "6.6",
        False,
        "programs are filters on the clsact qdisc: whoever deletes the qdisc or the filter takes the program "
        "off, as no link holds it; each filter is swapped in one step, but others' filters "
        "can be put before it",
        _tcx,
    ),
)


def ask(table: Iterable[Feature]) -> Iterator[Answer]:
    """Every feature of the table, asked of this machine now. Changes nothing."""
    for feature in table:
        found = feature.probe()
        hint = "" if found.present else found.hint
        yield Answer(feature.name, found.present, *feature[1:4], found.detail, hint)


def features() -> Iterator[Answer]:
    """The features that are quickly asked for, needed or not."""
    return ask(TABLE)


def require() -> None:
    """Raise MachineError naming the first feature that is missing and since which kernel it exists."""
    for one in ask(feature for feature in TABLE if feature.needed):
        if one.missing:
            since = "" if one.since == "any" else f" (kernel {one.since} or newer)"
            raise MachineError(f"{one.name} is needed{since}: {one.hint}")


def _filesystems() -> set[str]:
    return {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines() if line.strip()}


def is_bpffs(path: Path) -> bool:
    """True when a bpffs is mounted there (statfs(2), f_type)."""
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) != 0:
        return False
    return int(struct.unpack_from("<q", buffer)[0]) == _BPF_MAGIC


def mount_bpffs() -> None:
    """Mount the bpffs at its usual place unless it is there; MachineError when that is refused."""
    if is_bpffs(BPFFS):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpffs", os.fsencode(BPFFS), b"bpf", 0, b"mode=0700") != 0:
        why = os.strerror(ctypes.get_errno())
        raise MachineError(f"bpffs cannot be mounted at {BPFFS} (kernel 4.4 or newer): {why}")

"""What this machine can do: the features the datapath stands on, and since which kernel each exists."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cloche.errors import MachineError

BTF = Path("/sys/kernel/btf/vmlinux")
IPV6 = Path("/proc/sys/net/ipv6")
BPFFS = Path("/sys/fs/bpf")
OLDEST = (6, 6)
_BPF_MAGIC = 0xCAFE4A11


class Feature(NamedTuple):
    """One feature: whether it is here, since which kernel it exists, and what to do when it is missing."""

    name: str
    present: bool
    since: str
    hint: str


def kernel_version(release: str = "") -> tuple[int, int]:
    """Major and minor number of the running kernel, or of the release given."""
    found = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    if not found:
        raise MachineError(f"kernel release {os.uname().release!r} cannot be read")
    return int(found[1]), int(found[2])


def features() -> Iterator[Feature]:
    """Every feature the datapath needs, asked of this machine now. Changes nothing."""
    yield Feature("root", os.geteuid() == 0, "any kernel", "run as root")
    btf = BTF.exists()
    yield Feature("BTF of the kernel", btf, "5.4", f"{BTF} is missing: CONFIG_DEBUG_INFO_BTF=y is needed")
    tcx = kernel_version() >= OLDEST
    yield Feature("TCX links", tcx, "6.6", f"this kernel is {os.uname().release}")
    yield Feature("IPv6", IPV6.is_dir(), "any kernel", f"{IPV6} is missing: boot without ipv6.disable=1")
    mountable = "bpf" in _filesystems()
    yield Feature("bpffs", mountable, "4.4", "CONFIG_BPF_SYSCALL=y is needed")


def require() -> None:
    """Raise MachineError naming the first feature that is missing and since which kernel it exists."""
    for feature in features():
        if not feature.present:
            raise MachineError(f"{feature.name} is needed (kernel {feature.since} or newer): {feature.hint}")


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

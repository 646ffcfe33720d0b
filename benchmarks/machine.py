"""What was measured on: enough to know why another machine's numbers differ."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """The machine and what on it bears on the speed of packets. ``mitigations`` by vulnerability."""

    kernel: str
    architecture: str
    processor: str
    processors: int
    memory_mib: int
    virtual: bool
    load_before: float
    jit: bool
    mitigations: dict[str, str]


def _read(path: str, default: str = "") -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return default


def describe() -> Machine:
    """This machine, now."""
    lines = [line.partition(":") for line in _read("/proc/cpuinfo").splitlines()]
    facts = {name.strip(): value.strip() for name, _colon, value in lines}
    memory = next((line.split()[1] for line in _read("/proc/meminfo").splitlines()), "0")
    vulnerabilities = Path("/sys/devices/system/cpu/vulnerabilities")
    found = sorted(vulnerabilities.iterdir()) if vulnerabilities.exists() else []
    return Machine(
        kernel=platform.release(),
        architecture=platform.machine(),
        processor=facts.get("model name", ""),
        processors=os.cpu_count() or 0,
        memory_mib=int(memory) // 1024,
        virtual="hypervisor" in facts.get("flags", "").split(),
        load_before=os.getloadavg()[0],
        jit=_read("/proc/sys/net/core/bpf_jit_enable") != "0",
        mitigations={entry.name: _read(str(entry)) for entry in found},
    )

"""Builds the wheel once and checks that it is whole: the eBPF object is in it, and no compiler is needed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ELF, EM_BPF = b"\x7fELF", 247


def build(folder: str) -> Path:
    """The wheel of this project, built into ``folder`` without looking at any index."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, str(ROOT)], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = Path(folder).glob("cloche-*.whl")
    return wheel


def problem(wheel: Path) -> str:
    """What the wheel lacks, "" when nothing."""
    with zipfile.ZipFile(wheel) as archive:
        objects = [name for name in archive.namelist() if name.endswith(".bpf.o")]
        if not objects:
            return "no eBPF object in it"
        for name in objects:
            head = archive.read(name)[:20]
            if head[:4] != ELF or int.from_bytes(head[18:20], "little") != EM_BPF:
                return f"{name} is no eBPF object"
    return ""


def main() -> int:
    """0 when the wheel is whole."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(folder)
        found = problem(wheel)
        print(f"{wheel.name}: {found or 'whole'}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Compiles bpf/cloche.bpf.c to src/cloche/datapath/cloche.bpf.o with the clang that ziglang carries.

``python tools/build_bpf.py`` compiles when the object is missing or older than a source; ``--force``
always. The build hook does the same for the wheel, so where Cloche runs no compiler is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bpf"
OBJECT = ROOT / "src/cloche/datapath/cloche.bpf.o"
FLAGS = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
STRIPS = ("llvm-strip", *(f"llvm-strip-{version}" for version in range(22, 13, -1)))


def is_stale() -> bool:
    """True when the object is missing or older than what it is made from."""
    if not OBJECT.exists():
        return True
    made = OBJECT.stat().st_mtime
    return any(source.stat().st_mtime > made for source in (*SOURCES.iterdir(), Path(__file__)))


def build(output: Path = OBJECT, sources: Path = SOURCES) -> None:
    """Compile ``sources``, and strip the debugging information (BTF stays) where a strip for BPF is at hand.

    Written in one step: whoever loads the object meanwhile gets the old one or the new one. Raises
    CalledProcessError with the compiler's words on standard error.
    """
    import ziglang  # here, as the build hook is read before its requirements are installed

    includes = Path(ziglang.__file__).parent / "lib/libc/include"
    fresh = output.with_suffix(".o.new")
    command = [sys.executable, "-m", "ziglang", "clang", *FLAGS, f"-ffile-prefix-map={ROOT}=."]
    for name in ("any-linux-any", "x86-linux-any"):
        command += ["-isystem", str(includes / name)]
    command += ["-c", str(sources / "cloche.bpf.c"), "-o", str(fresh)]
    subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    strip = next(filter(None, map(shutil.which, STRIPS)), None)
    if strip:
        subprocess.run([strip, "--strip-debug", str(fresh)], check=True, stdin=subprocess.DEVNULL)
    fresh.replace(output)


def main() -> int:
    """0 when the object is there and not older than its sources."""
    if "--force" in sys.argv[1:] or is_stale():
        build()
        print(f"{OBJECT.relative_to(ROOT)}: {OBJECT.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compiles the C of benchmarks and tests with the packaged compiler, once for each version of its source."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import ziglang

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "build" / "benchmarks"
BPF_HEADERS = Path(ziglang.__file__).parent / "lib/libc/include"


def _compile(arguments: list[str], sources: list[Path], output: Path) -> Path:
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        fresh = output.with_suffix(".new")
        command = [sys.executable, "-m", "ziglang", *arguments, "-o", str(fresh), *map(str, sources)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        fresh.rename(output)
    return output


def _digest(sources: list[Path]) -> str:
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def traffic_program() -> Path:
    """The path of the compiled ``nb.c``. Raises CalledProcessError when it does not compile."""
    return program(HERE / "nb.c")


def program(source: Path) -> Path:
    """The path of a compiled C program. Raises CalledProcessError when it does not compile."""
    return _compile(["cc", "-O2", "-s"], [source], OUTPUT / f"{source.stem}-{_digest([source])}")


def library(sources: list[Path], headers: list[Path]) -> Path:
    """The path of C sources of one folder compiled to a shared library, named as the folder is.

    ``headers`` are what else it is made from. Raises CalledProcessError when they do not compile.
    """
    name = f"{sources[0].parent.name}-{_digest([*sources, *headers])}.so"
    flags = ["-O2", "-s", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    return _compile(["cc", *flags], sources, OUTPUT / name)


def bpf_object(
    source: Path, headers: list[Path], options: tuple[str, ...] = ("-c",), suffix: str = ".bpf.o"
) -> Path:
    """The path of the BPF object of ``source``, or of what else these options make of it.

    ``headers`` are what else it is made from. Raises CalledProcessError when it does not compile.
    """
    sources = [source, *headers]
    includes = [f"-isystem{BPF_HEADERS / kind}" for kind in ("any-linux-any", "x86-linux-any")]
    arguments = ["clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", *options]
    if source.suffix == ".c":
        arguments += includes
    return _compile(arguments, [source], OUTPUT / f"{source.stem}-{_digest(sources)}{suffix}")

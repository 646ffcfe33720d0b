"""The same program with another layout of nearly every map, as a later version might have it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from build_bpf import SOURCES, build  # noqa: E402

WIDER = (
    "config",
    "endpoint",
    "address",
    "prefix",
    "set",
    "name_entry",
    "service",
    "backend",
    "front",
    "affinity",
)
WRITTEN = ("flow", "owner", "fragment", "event")


def other_layout(folder: Path) -> Path:
    """The object, compiled into ``folder``: structs and keys with a field more in front, one field wider."""
    sources = folder / "bpf"
    shutil.copytree(SOURCES, sources)
    header = sources / "types.h"
    text = header.read_text()
    for name in (*WIDER, *WRITTEN):
        text = put(text, f"struct {name} {{\n", f"struct {name} {{\n\t__u64 added;\n")
    for name in ("flow_key", "fragment_key", "affinity_key"):
        text = put(text, f"struct {name} {{\n", f"struct {name} {{\n\t__u32 added;\n")
    moved = "\t__u32 service;            /* number */\n\t__u32 epoch;"
    text = put(text, moved, "\t__u64 service;            /* number */\n\t__u32 epoch;")
    text = re.sub(r"(#define CLOCHE_LAYOUT) (\d+)", lambda found: f"{found[1]} {int(found[2]) + 1}", text)
    header.write_text(text)
    made = folder / "other.bpf.o"
    build(made, sources)
    return made


def put(text: str, old: str, new: str) -> str:
    """The text with what is there once replaced."""
    assert text.count(old) == 1, f"{text.count(old)} times in types.h: {old}"
    return text.replace(old, new)

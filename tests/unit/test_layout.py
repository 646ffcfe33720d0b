"""The generated layout: the bytes that Python writes are those that the program reads."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from cloche.datapath import btf, layout
from cloche.model import flow

ROOT = Path(__file__).resolve().parents[2]


def test_generated_files_are_not_stale() -> None:
    """layout.py and reasons.py are what the headers say now."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_limits_are_the_programs() -> None:
    """What the reference tracker allows at a time is what the program allows."""
    names = ("ANSWER_NS", "ANSWERS_AT_ONCE", "FRAGMENTS_EACH")
    assert [getattr(flow, name) for name in names] == [getattr(layout, name) for name in names]


def test_flow_key_is_packed_field_by_field() -> None:
    """A flow key's fields lie at the offsets that C gives them, padding zero."""
    key = layout.FlowKey(1, 2, 3, 0x1234, 0x5678, b"a" * 16, b"b" * 16, 6, 1)

    class Twin(ctypes.LittleEndianStructure):
        _fields_ = (
            ("network", ctypes.c_uint32),
            ("low_incarnation", ctypes.c_uint32),
            ("high_incarnation", ctypes.c_uint32),
            ("low_port", ctypes.c_uint16),
            ("high_port", ctypes.c_uint16),
            ("low", ctypes.c_uint8 * 16),
            ("high", ctypes.c_uint8 * 16),
            ("protocol", ctypes.c_uint8),
            ("kind", ctypes.c_uint8),
            ("pad", ctypes.c_uint8 * 2),
        )

    twin = Twin(1, 2, 3, 0x1234, 0x5678, (ctypes.c_uint8 * 16)(*b"a" * 16), (ctypes.c_uint8 * 16)(*b"b" * 16))
    twin.protocol, twin.kind = 6, 1
    assert key.pack() == bytes(twin)
    assert ctypes.sizeof(Twin) == layout.FLOW_KEY_SIZE


@pytest.mark.parametrize("kind", [layout.Config, layout.Endpoint, layout.Event, layout.Fragment, layout.Flow])
def test_unpacking_is_the_inverse_of_packing(kind: type[layout.Config]) -> None:
    """A value read from any bytes is written and read back as itself, in as many bytes."""
    size = getattr(layout, f"{kind.__name__.upper()}_SIZE")
    value = kind.unpack(bytes(i % 251 for i in range(size)))
    assert kind.unpack(value.pack()) == value
    assert len(value.pack()) == size


def test_what_is_not_an_object_is_refused() -> None:
    """Reading something that is no ELF object is a ValueError, not an empty answer."""
    with pytest.raises(ValueError, match="ELF"):
        btf.read_elf(b"#!/bin/sh\n" + bytes(64))


def test_constants_of_the_header_are_evaluated() -> None:
    """Constants that the header computes from others have their value in Python."""
    assert layout.ATOMS_SIZE == 5 * 65536 + 256
    assert layout.FLOW_FIN_HIGH == 128
    assert layout.ENDPOINT_OFFSETS["state"] == 16


def test_generator_refuses_unlike_names_in_one_enum() -> None:
    """An enum whose enumerators do not share a prefix is refused by the generator."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools/generate.py")
    assert spec and spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    with pytest.raises(ValueError, match="begins with A_"):
        list(generate.enum_lines(btf.EnumType("odd", (("A_ONE", 1), ("B_TWO", 2)))))

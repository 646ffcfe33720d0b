"""libbpf by ctypes: opens an object file, sizes its maps, sets its constants, loads it.

Needs libbpf.so.1 (Debian: libbpf1 1.1 or newer). Errors are OSError with what libbpf and the kernel's
verifier printed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import cache
from pathlib import Path

from cloche.datapath.btf import read_elf
from cloche.datapath.machine import LIBBPF
from cloche.errors import MachineError

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_LOG_TAIL = 6000
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "libbpf_set_print": (c_void_p, [_PRINT]),
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint]),
    "bpf_map__key_size": (c_uint, [c_void_p]),
    "bpf_map__value_size": (c_uint, [c_void_p]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__initial_value": (c_void_p, [c_void_p, ctypes.POINTER(c_size_t)]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
}
_printed: list[str] = []


class _Library:
    """The loaded library with its print function taken over."""

    def __init__(self) -> None:
        try:
            self.so = ctypes.CDLL(LIBBPF, use_errno=True)
        except OSError as error:
            raise MachineError(f"{LIBBPF} (1.1 or newer) is not installed: {error}") from None
        self._libc = ctypes.CDLL(None)
        self._libc.vasprintf.argtypes = [ctypes.POINTER(c_void_p), c_char_p, c_void_p]
        self._libc.free.argtypes = [c_void_p]
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.so, name)
            function.restype, function.argtypes = result, arguments
        self._print = _PRINT(self._collect)
        self.so.libbpf_set_print(self._print)

    def _collect(self, level: int, layout: bytes, arguments: int) -> int:
        if level > 0:
            return 0
        text = c_void_p()
        if self._libc.vasprintf(ctypes.byref(text), layout, arguments) >= 0 and text.value:
            _printed.append(ctypes.string_at(text.value).decode(errors="replace"))
            self._libc.free(text)
        return 0


@cache
def _library() -> _Library:
    return _Library()


class ObjectFile:
    """One object file, open but not loaded until ``load``. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._lib = _library().so
        self._path = path
        _printed.clear()
        self._object = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise self._failure("opening")
        maps = self._walk(self._lib.bpf_object__next_map)
        self._maps = {self._lib.bpf_map__name(m).decode(): m for m in maps}

    def __enter__(self) -> ObjectFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.bpf_object__close(self._object)

    def _walk(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        item = following(self._object, None)
        while item:
            yield item
            item = following(self._object, item)

    def _failure(self, doing: str) -> OSError:
        number = ctypes.get_errno()
        text = "".join(_printed)[-_LOG_TAIL:]
        return OSError(number, f"{doing} {self._path}: {os.strerror(number)}\n{text}")

    def _checked(self, result: int, doing: str) -> None:
        if result < 0:
            raise self._failure(doing)

    def map_names(self) -> list[str]:
        """The object's maps, the compiler's own (``.rodata`` and so on) left out."""
        return [name for name in self._maps if "." not in name]

    def resize(self, name: str, entries: int) -> None:
        """How many entries the map will have."""
        self._checked(self._lib.bpf_map__set_max_entries(self._maps[name], entries), f"sizing {name}")

    def shape(self, name: str) -> tuple[int, int]:
        """Sizes in bytes of the map's keys and values, as the object wants them."""
        found = self._maps[name]
        return self._lib.bpf_map__key_size(found), self._lib.bpf_map__value_size(found)

    def reuse(self, name: str, fd: int) -> None:
        """Use an existing map of the same shape instead of making one."""
        self._checked(self._lib.bpf_map__reuse_fd(self._maps[name], fd), f"reusing {name}")

    def set_constants(self, values: Mapping[str, int]) -> None:
        """Set those ``const volatile`` numbers of the object that are named; KeyError for others."""
        elf = read_elf(self._path.read_bytes())
        rodata = next(m for name, m in self._maps.items() if name.endswith(".rodata"))
        length = c_size_t()
        start = self._lib.bpf_map__initial_value(rodata, ctypes.byref(length))
        for name, value in values.items():
            symbol = elf.symbols[name]
            if symbol.section != ".rodata":
                raise KeyError(name)
            ctypes.memmove(start + symbol.offset, value.to_bytes(symbol.size, "little"), symbol.size)

    def load(self) -> None:
        """Make the maps and load the programs; the verifier's last words are in the error."""
        self._checked(self._lib.bpf_object__load(self._object), "loading")

    def maps(self, names: Iterable[str]) -> dict[str, int]:
        """After ``load``: file descriptors of these maps, the caller's own."""
        return {name: os.dup(self._lib.bpf_map__fd(self._maps[name])) for name in names}

    def programs(self, names: Collection[str]) -> dict[str, int]:
        """After ``load``: file descriptors of these programs, the caller's own. KeyError: one is missing."""
        walked = self._walk(self._lib.bpf_object__next_program)
        found = {self._lib.bpf_program__name(program).decode(): program for program in walked}
        return {name: os.dup(self._lib.bpf_program__fd(found[name])) for name in names}

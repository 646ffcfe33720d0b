"""Reads what a compiled object says of itself: ELF sections and symbols, and the types in its BTF.

Follows the kernel's Documentation/bpf/btf.rst, little-endian only; sizes and offsets are in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from typing import NamedTuple

INT, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 = (
    1,
    3,
    4,
    5,
    6,
    8,
    13,
    14,
    15,
    17,
    19,
)
_QUALIFIERS = (TYPEDEF, 9, 10, 11, 18)
_MAGIC = 0xEB9F
_FIXED_TAIL = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_MEMBER_TAIL = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}


class Symbol(NamedTuple):
    """A named place in an ELF section."""

    section: str
    offset: int
    size: int


class Elf(NamedTuple):
    """An object file's sections by name and its symbols by name."""

    sections: dict[str, bytes]
    symbols: dict[str, Symbol]


class Scalar(NamedTuple):
    """A whole number of ``size`` bytes."""

    size: int
    signed: bool


class Member(NamedTuple):
    """One field: ``length`` is 0 for a scalar, else how many elements the array has."""

    name: str
    offset: int
    element: Scalar
    length: int


class StructType(NamedTuple):
    """A struct of scalars and arrays of scalars."""

    name: str
    size: int
    members: tuple[Member, ...]


class EnumType(NamedTuple):
    """An enum and its enumerators in order."""

    name: str
    values: tuple[tuple[str, int], ...]


class _Raw(NamedTuple):
    kind: int
    name: str
    size_or_type: int
    tail: bytes


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode("ascii")


def read_elf(image: bytes) -> Elf:
    """The sections and symbols of a 64-bit little-endian ELF image; ValueError when it is none."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF object")
    (table,) = struct.unpack_from("<Q", image, 40)
    size, count, names_index = struct.unpack_from("<3H", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * size) for i in range(count)]
    contents = [image[h[4] : h[4] + h[5]] if h[1] != 8 else bytes(h[5]) for h in headers]
    names = [_text(contents[names_index], h[0]) for h in headers]
    symbols: dict[str, Symbol] = {}
    for index, header in enumerate(headers):
        if header[1] != 2:
            continue
        for name, _info, _other, section, value, length in struct.iter_unpack("<IBBHQQ", contents[index]):
            if name and 0 < section < count:
                symbols[_text(contents[header[6]], name)] = Symbol(names[section], value, length)
    return Elf(dict(zip(names, contents, strict=True)), symbols)


class Btf:
    """The types of one ``.BTF`` section. Raises ValueError when it does not hold together."""

    def __init__(self, section: bytes) -> None:
        magic, _version, _flags, header = struct.unpack_from("<HBBI", section)
        if magic != _MAGIC:
            raise ValueError("not BTF")
        type_offset, type_length, text_offset, text_length = struct.unpack_from("<4I", section, 8)
        texts = section[header + text_offset : header + text_offset + text_length]
        self._types = [_Raw(0, "void", 0, b"")]
        at, end = header + type_offset, header + type_offset + type_length
        while at < end:
            name, info, size_or_type = struct.unpack_from("<3I", section, at)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            length = _FIXED_TAIL.get(kind, _MEMBER_TAIL.get(kind, 0) * count)
            tail = section[at + 12 : at + 12 + length]
            self._types.append(_Raw(kind, _text(texts, name), size_or_type, tail))
            at += 12 + length
        self._texts = texts

    def structs(self, names: Container[str] | None = None) -> dict[str, StructType]:
        """The structs of these names, or all, by name. ValueError when one is not made of scalars and
        arrays of them."""
        named = (r for r in self._types if r.kind == STRUCT and r.name and (names is None or r.name in names))
        return {raw.name: self._struct(raw) for raw in named}

    def enums(self) -> dict[str, EnumType]:
        """Every named enum, by name."""
        return {raw.name: self._enum(raw) for raw in self._types if raw.kind == ENUM and raw.name}

    def _enum(self, raw: _Raw) -> EnumType:
        pairs = struct.iter_unpack("<Ii", raw.tail)
        return EnumType(raw.name, tuple((_text(self._texts, name), value) for name, value in pairs))

    def _struct(self, raw: _Raw) -> StructType:
        members = []
        for name, type_id, bits in struct.iter_unpack("<3I", raw.tail):
            element, count = self._scalar(type_id)
            members.append(Member(_text(self._texts, name), bits // 8, element, count))
        return StructType(raw.name, raw.size_or_type, tuple(members))

    def _scalar(self, type_id: int) -> tuple[Scalar, int]:
        raw = self._types[type_id]
        while raw.kind in _QUALIFIERS:
            raw = self._types[raw.size_or_type]
        if raw.kind == ARRAY:
            element, _index, count = struct.unpack("<3I", raw.tail)
            return self._scalar(element)[0], count
        if raw.kind == ENUM:
            return Scalar(raw.size_or_type, False), 0
        if raw.kind != INT:
            raise ValueError(f"{raw.name or 'a field'} is not a whole number or an array of them")
        return Scalar(raw.size_or_type, bool(raw.tail[3] & 1)), 0

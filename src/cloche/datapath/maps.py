"""One map of the kernel: single and batched access, and mmapped arrays for aligned stores."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from cloche.datapath.bpf import Attr, Command, address_of, c_text, call, get_pinned, info_bytes

BATCH = 1024
_NO_EXIST = 1
F_NO_PREALLOC, F_MMAPABLE = 1, 1 << 10


class MapType(IntEnum):
    """``enum bpf_map_type``, as far as it is used."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    RINGBUF = 27


class MapInfo(NamedTuple):
    """What the kernel says of a map; sizes in bytes, ``name`` at most 15 bytes long."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


def map_info(fd: int) -> MapInfo:
    """What the kernel says of the map behind a file descriptor."""
    raw = info_bytes(fd)
    return MapInfo._make((*struct.unpack_from("<6I", raw), c_text(raw[24:40])))


def create_map(info: MapInfo) -> Map:
    """A new map of this type and these sizes (``id`` is ignored)."""
    layout = (info.type, info.key_size, info.value_size, info.max_entries, info.flags, 0, 0)
    attr = Attr("<7I", *layout)
    struct.pack_into("16s", attr.buffer, 28, info.name.encode()[:15])
    return Map(call(Command.MAP_CREATE, attr, info.name))


def open_map(path: str) -> Map:
    """The map pinned at ``path``."""
    return Map(get_pinned(path))


def possible_cpus() -> int:
    """How many values a per-CPU entry has (/sys/devices/system/cpu/possible)."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().replace("-", ",").split(",")[-1]) + 1


class Map:
    """A map by its file descriptor, which it owns. Keys and values are their exact bytes.
    One thread at a time.

    ``stride`` is the distance in bytes of two values of an array, or of two CPUs' values of a
    per-CPU one: the value's size rounded up to 8.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = map_info(fd)
        self.stride = (self.info.value_size + 7) & ~7
        per_cpu = self.info.type == MapType.PERCPU_ARRAY
        self._value_size = self.stride * possible_cpus() if per_cpu else self.info.value_size
        self._key = ctypes.create_string_buffer(max(self.info.key_size, 1))
        self._value = ctypes.create_string_buffer(max(self._value_size, 1))
        self._mapped: mmap.mmap | None = None

    def _attr(self, key: bytes, value: bytes | None = None) -> Attr:
        if len(key) != self.info.key_size or (value is not None and len(value) != self._value_size):
            raise ValueError(f"{self.info.name}: a key or value of the wrong size")
        self._key.raw = key
        if value is not None:
            self._value.raw = value
        return Attr("<IIQQ", self.fd, 0, address_of(self._key), address_of(self._value))

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key``, None when there is none; a per-CPU map's values one after another."""
        try:
            call(Command.MAP_LOOKUP, self._attr(key), self.info.name)
        except FileNotFoundError:
            return None
        return self._value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Write one entry, as one step for the packets that read it (not so for plain arrays)."""
        call(Command.MAP_UPDATE, self._attr(key, value), self.info.name)

    def put_new(self, key: bytes, value: bytes) -> bool:
        """Write one entry of a hash unless there is one already; False when there is."""
        attr = self._attr(key, value)
        struct.pack_into("<Q", attr.buffer, 24, _NO_EXIST)
        try:
            call(Command.MAP_UPDATE, attr, self.info.name)
        except FileExistsError:
            return False
        return True

    def remove(self, key: bytes) -> bool:
        """Remove one entry; False when there was none. Arrays have no removal (EINVAL)."""
        try:
            attr = self._attr(key)
            struct.pack_into("<Q", attr.buffer, 16, 0)
            call(Command.MAP_DELETE, attr, self.info.name)
        except FileNotFoundError:
            return False
        return True

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Write many entries by batches; each entry is one step, the batch is not."""
        for at in range(0, len(keys), BATCH):
            some = keys[at : at + BATCH]
            key_bytes, value_bytes = b"".join(some), b"".join(values[at : at + BATCH])
            key_buffer = ctypes.create_string_buffer(key_bytes, len(key_bytes))
            value_buffer = ctypes.create_string_buffer(value_bytes, len(value_bytes))
            places = (0, 0, address_of(key_buffer), address_of(value_buffer))
            attr = Attr("<4Q2I2Q", *places, len(some), self.fd, 0, 0)
            call(Command.MAP_UPDATE_BATCH, attr, self.info.name)

    def chunks(self, room: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Every entry, some ``room`` at once; entries may come twice where a bucket needed more room."""
        token, first = ctypes.create_string_buffer(max(self.info.key_size, 8)), True
        ended = False
        while not ended:
            try:
                found, ended = self._batch(token, first, room)
            except OSError as error:
                if error.errno != errno.ENOSPC or room >= self.info.max_entries:
                    raise
                room *= 8
                continue
            first = False
            yield found

    def _batch(
        self, token: ctypes.Array[ctypes.c_char], first: bool, room: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The next entries after ``token``, which moves on, and whether they were the last."""
        key_size, value_size = self.info.key_size, self._value_size
        keys = ctypes.create_string_buffer(room * key_size)
        values = ctypes.create_string_buffer(room * value_size)
        places = (0 if first else address_of(token), address_of(token))
        attr = Attr("<4Q2I2Q", *places, address_of(keys), address_of(values), room, self.fd, 0, 0)
        ended = False
        try:
            call(Command.MAP_LOOKUP_BATCH, attr, self.info.name)
        except FileNotFoundError:
            ended = True
        (count,) = attr.read("<I", 32)
        raw_keys, raw_values = keys.raw[: count * key_size], values.raw[: count * value_size]
        found = [
            (raw_keys[i * key_size : (i + 1) * key_size], raw_values[i * value_size : (i + 1) * value_size])
            for i in range(count)
        ]
        return found, ended

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry; what is written meanwhile may be seen or not. Batched where the kernel can."""
        room = max(BATCH, 1)
        while True:
            try:
                yield from self._batches(room)
            except OSError as error:
                if error.errno != errno.ENOSPC or room >= self.info.max_entries:
                    raise
                room *= 8
            else:
                return

    def _batches(self, room: int) -> Iterator[tuple[bytes, bytes]]:
        token, first, ended = ctypes.create_string_buffer(max(self.info.key_size, 8)), True, False
        seen: list[tuple[bytes, bytes]] = []
        while not ended:
            found, ended = self._batch(token, first, room)
            first = False
            seen += found
        yield from seen

    def mapped(self) -> memoryview:
        """An array's memory as bytes, entries ``stride`` apart. ValueError when it is not mmapable."""
        if not self.info.flags & F_MMAPABLE:
            raise ValueError(f"{self.info.name} is not mmapable")
        if self._mapped is None:
            self._mapped = mmap.mmap(self.fd, self.info.max_entries * self.stride)
        return memoryview(self._mapped)

    def close(self) -> None:
        """Close the file descriptor; the map lives on where it is pinned or used."""
        if self._mapped is not None:
            try:
                self._mapped.close()
            except BufferError:
                self._mapped = None
        os.close(self.fd)

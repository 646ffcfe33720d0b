"""What the program tells: events from the ring buffer, counters and reasons summed over the CPUs.

The ring buffer's pages are mapped as the kernel's BPF_MAP_TYPE_RINGBUF lays them out: a page with the
consumer's position, a page with the producer's, then the data, twice in a row.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cloche.datapath.layout import EVENT_SIZE, Event, Flow, FlowKey
from cloche.datapath.maps import Map, map_info
from cloche.model.reasons import Reason

_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = struct.Struct("<II")
_WORD = struct.Struct("<Q")


class EventReader:
    """Reads events in order. ``fileno`` is readable (epoll, asyncio) when there are some.

    One reader per ring buffer: reading frees the room for the program.
    """

    def __init__(self, map_fd: int) -> None:
        self._fd = map_fd
        self._size = map_info(map_fd).max_entries
        self._consumer = mmap.mmap(map_fd, mmap.PAGESIZE)
        self._producer = mmap.mmap(
            map_fd, mmap.PAGESIZE + 2 * self._size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE
        )
        self._position = ctypes.c_uint64.from_buffer(self._consumer)

    def fileno(self) -> int:
        """The map's file descriptor."""
        return self._fd

    def read(self, limit: int = 4096) -> list[Event]:
        """At most ``limit`` events that are there now; never waits."""
        events: list[Event] = []
        position = self._position.value
        (end,) = _WORD.unpack_from(self._producer)
        while position < end and len(events) < limit:
            at = mmap.PAGESIZE + (position & (self._size - 1))
            length, _ = _HEADER.unpack_from(self._producer, at)
            if length & _BUSY:
                break
            if not length & _DISCARD:
                events.append(Event.unpack(self._producer[at + 8 : at + 8 + EVENT_SIZE]))
            position += (8 + (length & _LENGTH) + 7) & ~7
            self._position.value = position
        return events

    def discard(self) -> None:
        """Pass over whatever is there now, and unmap."""
        (self._position.value,) = _WORD.unpack_from(self._producer)
        self.close()

    def close(self) -> None:
        """Unmap; the map itself is its owner's."""
        del self._position
        self._consumer.close()
        self._producer.close()


class Counter(NamedTuple):
    """New flows that one (set, local rule) allowed and denied."""

    allowed: int
    denied: int


def read_counters(counters: Map) -> dict[int, Counter]:
    """The counters that are not zero, by index (``SetEntry.counter_first`` + local rule)."""
    found = {}
    for key, value in counters.items():
        if any(value):
            words = struct.unpack(f"<{len(value) // 8}Q", value)
            found[int.from_bytes(key, "little")] = Counter(sum(words[::2]), sum(words[1::2]))
    return found


def read_reasons(reasons: Map) -> dict[Reason, int]:
    """How many packets each reason denied; ``Reason.NONE``: how many passed."""
    found = {}
    for reason in Reason:
        value = reasons.get(int(reason).to_bytes(4, "little")) or b""
        found[reason] = sum(struct.unpack(f"<{len(value) // 8}Q", value))
    return found


def read_flows(flows: Map) -> Iterator[tuple[FlowKey, Flow]]:
    """Every entry of the flow table, expired ones too."""
    for key, value in flows.items():
        yield FlowKey.unpack(key), Flow.unpack(value)

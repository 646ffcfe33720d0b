"""Removes flows that have expired or whose endpoint is gone, a bounded number of entries at a time.

An expired entry is no entry to the program, but it takes room in the table until its owner's slot comes
round again or this gets to it.
"""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from cloche.datapath.bpf import Attr, Command, address_of, call
from cloche.datapath.layout import FLOW_KEY_OFFSETS, FLOW_KEY_SIZE, FLOW_OFFSETS, FLOW_SIZE
from cloche.datapath.maps import Map
from cloche.model.flow import AGES_NS

AT_ONCE = 1024
_SEEN = FLOW_OFFSETS["seen_ns"]
_AGE = FLOW_OFFSETS["age"]
_SIDES = (FLOW_KEY_OFFSETS["low_incarnation"], FLOW_KEY_OFFSETS["high_incarnation"])
_LIMITS = {int(age): limit for age, limit in AGES_NS.items()}


class Swept(NamedTuple):
    """What one step came to; ``ended`` when the table has been gone through."""

    removed: int
    ended: bool


class Attached(NamedTuple):
    """The ``incarnations`` that are attached, of all up to ``newest``; of later ones nothing is said."""

    incarnations: frozenset[int] = frozenset()
    newest: int = 0

    def is_gone(self, incarnation: int) -> bool:
        """True when an endpoint that had it is there no more. 0 is no endpoint's."""
        return 0 < incarnation <= self.newest and incarnation not in self.incarnations


NOBODY_KNOWN = Attached()


class Sweeper:
    """Goes through the flow table again and again, ``AT_ONCE`` entries in a step."""

    def __init__(self, flows: Map) -> None:
        self._flows = flows
        self._token = ctypes.create_string_buffer(FLOW_KEY_SIZE)
        self._keys = ctypes.create_string_buffer(AT_ONCE * FLOW_KEY_SIZE)
        self._values = ctypes.create_string_buffer(AT_ONCE * FLOW_SIZE)
        self._first = True

    def step(self, now_ns: int, attached: Attached = NOBODY_KNOWN) -> Swept:
        """Remove what of the next entries has expired at ``now_ns``, or has an end that is not ``attached``
        any more: no packet finds such an entry again. Raises OSError."""
        token, keys, values = map(address_of, (self._token, self._keys, self._values))
        begin = 0 if self._first else token
        attr = Attr("<4Q2I2Q", begin, token, keys, values, AT_ONCE, self._flows.fd, 0, 0)
        ended = False
        try:
            call(Command.MAP_LOOKUP_BATCH, attr, self._flows.info.name)
        except FileNotFoundError:
            ended = True
        except OSError:
            self._first = True
            raise
        self._first = ended
        (count,) = attr.read("<I", 32)
        raw_keys, raw = self._keys.raw, self._values.raw
        gone = [index for index in range(count) if _is_gone(raw_keys, index * FLOW_KEY_SIZE, attached)]
        removed = sum(self._flows.remove(self._key(index)) for index in gone)
        dead = [index for index in range(count) if _expired(raw, index * FLOW_SIZE, now_ns)]
        return Swept(removed + sum(self._remove(index, now_ns) for index in dead), ended)

    def _key(self, index: int) -> bytes:
        return self._keys.raw[index * FLOW_KEY_SIZE : (index + 1) * FLOW_KEY_SIZE]

    def _remove(self, index: int, now_ns: int) -> bool:
        """Remove an entry unless a packet has opened that flow anew since it was read."""
        key = self._key(index)
        value = self._flows.get(key)
        return value is not None and _expired(value, 0, now_ns) and self._flows.remove(key)


def _is_gone(raw: bytes, at: int, attached: Attached) -> bool:
    return any(attached.is_gone(int.from_bytes(raw[at + side : at + side + 4], "little")) for side in _SIDES)


def _expired(raw: bytes, at: int, now_ns: int) -> bool:
    (seen,) = struct.unpack_from("<Q", raw, at + _SEEN)
    return now_ns - int(seen) >= _LIMITS.get(raw[at + _AGE], 0)

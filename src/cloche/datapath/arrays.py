"""The mmapped arrays: each number is one aligned store, so a packet sees it old or new, never half.

Order of stores is the order of the calls (x86-64 keeps it; packets never see a later store first).
"""

from __future__ import annotations

from array import array

from cloche.datapath import encode, layout
from cloche.datapath.layout import ENDPOINT_OFFSETS, EndpointState
from cloche.datapath.maps import Map
from cloche.datapath.pins import Maps
from cloche.datapath.rows import Cells, non_zero
from cloche.tables.schema import EndpointEntry, Versioned

_STATE_AT = ENDPOINT_OFFSETS["state"] // 4
_EMPTY_ENDPOINT = encode.read_endpoint_entry(bytes(layout.ENDPOINT_SIZE))


class Words:
    """An array of u64."""

    def __init__(self, handle: Map) -> None:
        self.view = handle.mapped().cast("Q")

    def fill(self, first: int, last: int, word: int) -> None:
        """Write the same word to first..last, both included."""
        if not 0 <= first <= last < len(self.view):
            raise IndexError(f"indexes {first} to {last} of {len(self.view)}")
        if first == last:
            self.view[first] = word
        else:
            self.view[first : last + 1] = memoryview(array("Q", [word]) * (last + 1 - first))


class Records:
    """An array of structs of some bytes each, written as 8-byte words."""

    def __init__(self, handle: Map) -> None:
        self._view = handle.mapped().cast("Q")
        self._bytes = handle.mapped()
        self._stride = handle.stride
        self.count = handle.info.max_entries

    def write(self, index: int, value: bytes) -> None:
        """Write one struct, word by word in order."""
        self._inside(index)
        words = array("Q", value + bytes(-len(value) % 8))
        at = index * self._stride // 8
        for offset, word in enumerate(words):
            self._view[at + offset] = word

    def read(self, index: int) -> bytes:
        """One struct's bytes, padded to the stride."""
        self._inside(index)
        at = index * self._stride
        return bytes(self._bytes[at : at + self._stride])

    def used(self) -> list[int]:
        """The indexes of those entries that are not all zero, in order."""
        return list(dict.fromkeys(at * 8 // self._stride for at, _ in non_zero(self._view)))

    def _inside(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError(f"entry {index} of {self.count}")


class Endpoints:
    """The endpoints array: an entry that becomes another endpoint's is closed before and opened last."""

    def __init__(self, handle: Map) -> None:
        self._records = Records(handle)
        self._states = handle.mapped().cast("I")
        self._words = handle.mapped().cast("Q")
        self._stride = handle.stride

    def write(self, number: int, entry: EndpointEntry) -> None:
        """Everything but the state first, the state last; sets of the same endpoint are single stores."""
        old = encode.read_endpoint_entry(self._records.read(number))
        at = number * self._stride
        if self._identity(old) != self._identity(entry):
            closed = entry._replace(state=int(EndpointState.CLOSED if entry.state else EndpointState.ABSENT))
            self._states[at // 4 + _STATE_AT] = closed.state
            self._records.write(number, encode.endpoint_entry(closed))
        elif entry.state != EndpointState.OPEN:
            self._states[at // 4 + _STATE_AT] = entry.state
        self._words[at // 8] = entry.egress.pack()
        self._words[at // 8 + 1] = entry.ingress.pack()
        self._states[at // 4 + _STATE_AT] = entry.state

    def remove(self, number: int) -> None:
        """Make the entry absent, then empty."""
        self.write(number, _EMPTY_ENDPOINT)

    @staticmethod
    def _identity(entry: EndpointEntry) -> EndpointEntry:
        none = Versioned(0, 0, 0)
        return entry._replace(egress=none, ingress=none, state=0)


class Arrays:
    """Every mmapped array of one instance, ready for stores."""

    def __init__(self, maps: Maps) -> None:
        self.atoms = Words(maps.atoms)
        self.rows = Words(maps.rows)
        self.cells = Cells(maps.cells, maps.heads)
        self.endpoints = Endpoints(maps.endpoints)
        self.records = {name: Records(getattr(maps, name)) for name in encode.RECORDS}
        self.config = maps.config.mapped().cast("Q")
        self.classes = maps.rows.info.max_entries // maps.sets.info.max_entries

    def row_index(self, set_: int, class_: int) -> int:
        """Where the row of a set for a class stands; IndexError for a class that there is no room for."""
        if not 0 <= class_ < self.classes:
            raise IndexError(f"class {class_} of {self.classes}")
        return set_ * self.classes + class_

"""The fronts: services once more, each where the program finds it by one look, with its first backends.

A hash table of our own in an mmapped array, and how many fronts each block of addresses has in another
(docs/design/fronts.md). What has no front is found in ``services``, so there need not be room for all, and
one that is being written is passed over. One thread writes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

from cloche.datapath.layout import (
    FRONT_BACKENDS,
    FRONT_BLOCK_BITS,
    FRONT_OFFSETS,
    FRONT_SIZE,
    FRONT_TRIES,
    Front,
    FrontState,
)
from cloche.datapath.nearby import block_hash, hash_step
from cloche.datapath.pins import Maps
from cloche.model.address import Address
from cloche.tables.schema import AddressKey, FrontEntry, ServiceEntry, ServiceKey

MASK64 = (1 << 64) - 1
_WORDS = FRONT_SIZE // 8
_KEY_AT = FRONT_OFFSETS["address"]
_STATE_BITS = 3
_STATES = (1 << _STATE_BITS) - 1
_FREE = (FrontState.EMPTY, FrontState.GONE)
_NOBODY = (Address(bytes(16)), 0)


class Fronts:
    """The fronts of one instance, in numbered places."""

    def __init__(self, maps: Maps) -> None:
        self._bytes = maps.fronts.mapped()
        self._view = self._bytes.cast("Q")
        self._blocks = maps.front_blocks.mapped().cast("Q")
        self.places = maps.fronts.info.max_entries

    def put(self, entry: FrontEntry) -> bool:
        """Make a service's front, or make it say this. False when there is no room."""
        at, free = self._find(entry.key)
        if at is None:
            if free is None:
                return False
            at = free
            self._blocks[block_of(entry.key)] += 1
        first, version = at * _WORDS, (self._view[at * _WORDS] >> _STATE_BITS) + 1
        self._view[first] = version << _STATE_BITS & MASK64 | FrontState.BUSY
        for offset, word in enumerate(array("Q", _pack(entry))[1:], 1):
            self._view[first + offset] = word
        self._turn(at, FrontState.OPEN if entry.shown else FrontState.HIDDEN)
        return True

    def remove(self, key: ServiceKey) -> None:
        """A service has no front any more."""
        at = self.find(key)
        if at is not None:
            self.clear(at)

    def clear(self, place: int) -> None:
        """Give a place up. Looks end at an empty one, so it is empty only where no look would go further."""
        if not self.is_used(place):
            return
        block = block_of(self.read(place).key)
        self._turn(place, FrontState.GONE)
        while self._state(place) == FrontState.GONE and self._state(place + 1) == FrontState.EMPTY:
            self._turn(place, FrontState.EMPTY)
            place -= 1
        self._blocks[block] = max(self._blocks[block] - 1, 0)

    def show(self, at: AddressKey, shown: bool) -> None:
        """From now on packets to an address look at its fronts, or do not."""
        if not self._blocks[block_of(at)]:
            return
        wanted = _address_bytes(at)
        for place in self._window(at):
            if self.is_used(place) and self._starts(place, wanted):
                self._turn(place, FrontState.OPEN if shown else FrontState.HIDDEN)

    def find(self, key: ServiceKey) -> int | None:
        """The place of a service's front, None when it has none."""
        return self._find(key)[0]

    def has_room(self, key: ServiceKey) -> bool:
        """True when a service that has no front could have one."""
        return self._find(key)[1] is not None

    def read(self, place: int) -> FrontEntry:
        """What stands in a place that is used. One half written says what no service has: number 0."""
        value = Front.unpack(self._view[place * _WORDS : (place + 1) * _WORDS].tobytes())
        whole = self._state(place) != FrontState.BUSY
        key = ServiceKey(value.network, Address(value.address), value.port, value.protocol)
        service = ServiceEntry(
            value.number if whole else 0, value.first, value.count_, value.epoch, value.affinity_seconds
        )
        near = tuple(
            (Address(value.addresses[16 * n : 16 * n + 16]), value.ports[n])
            for n in range(min(value.count_, FRONT_BACKENDS))
        )
        return FrontEntry(key, service, near, self._state(place) == FrontState.OPEN)

    def is_used(self, place: int) -> bool:
        """True when a front has that place."""
        return self._state(place) not in _FREE

    def is_counted(self, key: ServiceKey) -> bool:
        """True when packets to that address look for a front at all."""
        return self._blocks[block_of(key)] > 0

    def used(self) -> list[int]:
        """The places that fronts have, in order."""
        states = array("Q", self._view[::_WORDS].tolist())
        return [place for place, word in enumerate(states) if word & _STATES not in _FREE]

    def true_counts(self) -> Counter[int]:
        """How many fronts each block has."""
        return Counter(block_of(self.read(place).key) for place in self.used())

    def settle(self, wanted: Iterable[FrontEntry]) -> None:
        """Make the fronts these and no others, as after a new layout or a writer that was killed."""
        entries = {entry.key: entry for entry in wanted}
        for place in self.used():
            front = self.read(place)
            if self.find(front.key) != place or entries.get(front.key) != front:
                self.clear(place)
        for key, entry in entries.items():
            if self.find(key) is None:
                self.put(entry)
        there = self.true_counts()
        for block in range(len(self._blocks)):
            self.count(block, there[block])

    def count(self, block: int, fronts: int) -> None:
        """A block has so many fronts."""
        self._blocks[block] = fronts

    def _find(self, key: ServiceKey) -> tuple[int | None, int | None]:
        """The place of a service's front, and the first that is free to be one."""
        free, wanted = None, _key_bytes(key)
        for place in self._window(AddressKey(key.network, key.address)):
            if self._state(place) in _FREE:
                free = place if free is None else free
            elif self._starts(place, wanted):
                return place, free
        return None, free

    def _window(self, at: AddressKey) -> Iterator[int]:
        """The places where fronts of an address may be, up to the first that is empty."""
        first = hash_step(block_hash(at), int.from_bytes(at.address[8:], "little"))
        first = (first >> 32) * self.places >> 32
        for place in range(first, first + FRONT_TRIES):
            yield place % self.places
            if self._state(place) == FrontState.EMPTY:
                return

    def _starts(self, place: int, wanted: bytes) -> bool:
        """True when the key of the front in a place begins so."""
        at = place * FRONT_SIZE + _KEY_AT
        return self._bytes[at : at + len(wanted)] == wanted

    def _state(self, place: int) -> int:
        return self._view[place % self.places * _WORDS] & _STATES

    def _turn(self, place: int, state: FrontState) -> None:
        first = place % self.places * _WORDS
        version = (self._view[first] >> _STATE_BITS) + 1
        self._view[first] = version << _STATE_BITS & MASK64 | state


def block_of(at: AddressKey | ServiceKey) -> int:
    """The block that an address is counted in."""
    return block_hash(at) >> 64 - FRONT_BLOCK_BITS


def _address_bytes(at: AddressKey | ServiceKey) -> bytes:
    """How the key of an address's fronts begins."""
    return at.address + at.network.to_bytes(4, "little")


def _key_bytes(key: ServiceKey) -> bytes:
    return _address_bytes(key) + key.port.to_bytes(2, "little") + key.protocol.to_bytes(1, "little")


def _pack(entry: FrontEntry) -> bytes:
    key, near = entry.key, (*entry.near, *[_NOBODY] * FRONT_BACKENDS)[:FRONT_BACKENDS]
    ports, addresses = tuple(port for _, port in near), b"".join(address for address, _ in near)
    return Front(0, key.address, key.network, key.port, key.protocol, *entry.service, ports, addresses).pack()

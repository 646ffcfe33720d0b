"""Who stands behind the numbers in the tables: the addresses and blocks of each class, the endpoints of each
set. Kept up to date by writes, so that its cost follows the change and not the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloche.model.policy import Direction
from cloche.model.topology import Attachment
from cloche.tables.schema import (
    AddressEntry,
    AddressKey,
    EndpointEntry,
    PrefixEntry,
    PrefixKey,
    Put,
    Remove,
    Tables,
    Write,
)

At = AddressKey | PrefixKey
Side = tuple[Direction, int]
"""A set as the one of a direction."""


class Standing:
    """The tables' classes and sets the other way round."""

    def __init__(self, tables: Tables) -> None:
        self.members: dict[int, dict[At, None]] = {}
        self.holders: dict[Side, dict[int, None]] = {}
        self.keys: dict[int, str] = {}
        """The endpoint of each number."""
        self._classes: dict[At, int] = {}
        self._sides: dict[int, tuple[Side, ...]] = {}
        at = tables.generation
        for key, entry in tables.addresses.items():
            self._put_class(key, entry.class_.at(at))
        for block, piece in tables.prefixes.items():
            self._put_class(block, piece.class_.at(at))
        for number, endpoint in tables.endpoints.items():
            self._put_sides(number, endpoint, at)

    def name(self, attachments: Mapping[str, Attachment]) -> None:
        """Which endpoint each number is."""
        self.keys = {one.number: key for key, one in attachments.items()}

    def take(self, writes: Iterable[Write], generation: int) -> None:
        """Take in what was written for this generation."""
        for write in writes:
            match write:
                case Put("addresses", AddressKey() as key, AddressEntry(word)):
                    self._put_class(key, word.at(generation))
                case Put("prefixes", PrefixKey() as block, PrefixEntry(word)):
                    self._put_class(block, word.at(generation))
                case Put("endpoints", int(number), EndpointEntry() as entry):
                    self._put_sides(number, entry, generation)
                case Remove("addresses" | "prefixes", AddressKey() | PrefixKey() as gone):
                    self._put_class(gone, 0)
                case Remove("endpoints", int(number)):
                    self._put_sides(number, None, generation)

    def _put_class(self, at: At, number: int) -> None:
        old = self._classes.pop(at, 0)
        if old:
            self.members[old].pop(at, None)
            if not self.members[old]:
                del self.members[old]
        if number:
            self._classes[at] = number
            self.members.setdefault(number, {})[at] = None

    def _put_sides(self, number: int, entry: EndpointEntry | None, generation: int) -> None:
        for side in self._sides.pop(number, ()):
            self.holders[side].pop(number, None)
            if not self.holders[side]:
                del self.holders[side]
        if entry is None:
            return
        words = (entry.egress, entry.ingress)
        sides = tuple((d, w.at(generation)) for d, w in zip(Direction, words, strict=True))
        self._sides[number] = tuple(side for side in sides if side[1])
        for side in self._sides[number]:
            self.holders.setdefault(side, {})[number] = None

    def sides_of(self, number: int) -> tuple[Side, ...]:
        """The sets that an endpoint has."""
        return self._sides.get(number, ())

    def holder(self, side: Side) -> str | None:
        """The first endpoint that has a set in its direction."""
        return next((self.keys[n] for n in self.holders.get(side, ()) if n in self.keys), None)

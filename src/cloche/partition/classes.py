"""Classes: what this host's policies can observe of an address, and who shares it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from cloche.partition.population import PortName


class Kind(IntEnum):
    """What an address is, as far as rules can tell."""

    OUTSIDE = 0
    """No endpoint's and in no range of the network."""
    KNOWN = 1
    """An endpoint's."""
    UNKNOWN = 2
    """In a range of the network, but no endpoint's that is known."""
    HOST = 3
    """This host's own."""


class Signature(NamedTuple):
    """A class by content: kind, the predicates that match (universal ones aside), and for a known endpoint
    what the port names that are asked of it stand for."""

    kind: Kind
    predicates: frozenset[int] = frozenset()
    ports: tuple[tuple[PortName, tuple[int, ...]], ...] = ()


class Classes:
    """The signatures that some address or block has. ``came`` and ``went`` collect until taken."""

    def __init__(self) -> None:
        self.counts: dict[Signature, int] = {}
        self.having: dict[int, set[Signature]] = {}
        """Which signatures have a predicate."""
        self.came: set[Signature] = set()
        self.went: set[Signature] = set()

    def acquire(self, signature: Signature) -> None:
        """One more has it."""
        count = self.counts.get(signature, 0)
        self.counts[signature] = count + 1
        if count:
            return
        for predicate in signature.predicates:
            self.having.setdefault(predicate, set()).add(signature)
        if signature in self.went:
            self.went.discard(signature)
        else:
            self.came.add(signature)

    def release(self, signature: Signature) -> None:
        """Undo one ``acquire``."""
        self.counts[signature] -= 1
        if self.counts[signature]:
            return
        del self.counts[signature]
        for predicate in signature.predicates:
            self.having[predicate].discard(signature)
            if not self.having[predicate]:
                del self.having[predicate]
        if signature in self.came:
            self.came.discard(signature)
        else:
            self.went.add(signature)

    def with_any(self, predicates: Iterable[int]) -> set[Signature]:
        """The signatures that have at least one of these predicates."""
        return set().union(*(self.having[number] for number in predicates if number in self.having))

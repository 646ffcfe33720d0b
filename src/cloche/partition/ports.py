"""How ports are cut: sets of destination ports that rules name, and the finest cut that all of them make.

A port is an index of ``bpf/types.h``: protocol slot << 16 | port (ICMP: type << 8 | code; protocols
without ports: their number in SLOT_OTHER).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from cloche.model.policy import PortMatch
from cloche.model.topology import ICMP, ICMPV6, SCTP, TCP, UDP
from cloche.tables.schema import (
    ATOMS_SIZE,
    SLOT_ICMP,
    SLOT_ICMPV6,
    SLOT_OTHER,
    SLOT_SCTP,
    SLOT_TCP,
    SLOT_UDP,
)

SLOTS = {TCP: SLOT_TCP, UDP: SLOT_UDP, SCTP: SLOT_SCTP, ICMP: SLOT_ICMP, ICMPV6: SLOT_ICMPV6}

PortSet = tuple[tuple[int, int], ...]
"""First and last indexes, ascending, not touching."""


def port_index(protocol: int, port: int) -> int:
    """The index of a destination port (ICMP: ``type << 8 | code``; ignored without ports)."""
    slot = SLOTS.get(protocol)
    return SLOT_OTHER << 16 | protocol if slot is None else slot << 16 | port


def port_set(ports: Iterable[PortMatch]) -> PortSet:
    """The numbered ports among these; names are left out."""
    ranges = []
    for port in ports:
        if port.name or port.first > port.last:
            continue
        if port.protocol in SLOTS:
            ranges.append((port_index(port.protocol, port.first), port_index(port.protocol, port.last)))
        elif port.first == 0:
            ranges.append((port_index(port.protocol, 0),) * 2)
    return merged(ranges)


def single(protocol: int, port: int) -> PortSet:
    """The set of one port."""
    return ((port_index(protocol, port),) * 2,)


def merged(ranges: Iterable[tuple[int, int]]) -> PortSet:
    """The ranges in order, with those that overlap or touch made one."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(last, out[-1][1]))
        else:
            out.append((first, last))
    return tuple(out)


class Cut(NamedTuple):
    """``intervals``: first, last and mask, covering every index in order; bit n of a mask: the ports are in
    the n-th of ``sets``. Equal masks are one atom."""

    sets: tuple[PortSet, ...]
    intervals: tuple[tuple[int, int, int], ...]


def cut(sets: Iterable[PortSet]) -> Cut:
    """The coarsest cut in which every set is whole atoms."""
    ordered = tuple(sorted(sets))
    toggles: dict[int, int] = {}
    for number, ports in enumerate(ordered):
        for first, last in ports:
            toggles[first] = toggles.get(first, 0) ^ 1 << number
            toggles[last + 1] = toggles.get(last + 1, 0) ^ 1 << number
    intervals: list[tuple[int, int, int]] = []
    start, mask = 0, 0
    for at in sorted(toggles):
        if at > start:
            intervals.append((start, at - 1, mask))
        start, mask = at, mask ^ toggles[at]
    if start < ATOMS_SIZE:
        intervals.append((start, ATOMS_SIZE - 1, mask))
    return Cut(ordered, tuple(intervals))


class PortSets:
    """The port sets in use, counted."""

    def __init__(self) -> None:
        self._uses: Counter[PortSet] = Counter()
        self._cut: Cut | None = None

    def acquire(self, ports: PortSet) -> None:
        """In use once more."""
        self._uses[ports] += 1
        if self._uses[ports] == 1:
            self._cut = None

    def release(self, ports: PortSet) -> None:
        """Undo one ``acquire``."""
        self._uses[ports] -= 1
        if not self._uses[ports]:
            del self._uses[ports]
            self._cut = None

    def cut(self) -> Cut:
        """The cut that the sets in use make."""
        if self._cut is None:
            self._cut = cut(self._uses)
        return self._cut

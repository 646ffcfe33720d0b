"""Pods that come and go: sent from and sent to from the moment that their namespaces have a name."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import TYPE_CHECKING

from cloche.datapath import namespaces
from torture.wire import ASKS, MARK, PACKET, PORT, Passers

if TYPE_CHECKING:
    from torture.traffic import Traffic

LOOK_SECONDS = 0.004
SEND_SECONDS = 0.002
AT_ONCE = 8
FAMILIES = (socket.AF_INET, socket.AF_INET6)
FIRST_PASSER = 1000
"""The numbers of their packets' ways begin here."""


class Coming:
    """One set of passers."""

    def __init__(self, traffic: Traffic, passers: Passers, number: int) -> None:
        self._traffic, self._passers = traffic, passers
        self._index = FIRST_PASSER + number
        self._numbers: dict[str, int] = {}
        self._there: dict[str, list[socket.socket]] = {}
        self.met: set[str] = set()
        """Those from which something was really sent."""
        self.heard: set[int] = set()
        """The numbers of those that were heard."""
        path = namespaces.netns_path(passers.source)
        self._senders = {
            kind: namespaces.call_in(path, lambda kind=kind: socket.socket(kind, socket.SOCK_DGRAM))
            for kind in FAMILIES
        }
        for one in self._senders.values():
            one.setblocking(False)
        self._addresses = itertools.cycle(passers.addresses)
        self._names: list[str] = []
        traffic.repeat(self.look)
        traffic.repeat(self.disturb)

    def look(self) -> float:
        """Find who came and who went."""
        names = {name for name in os.listdir(namespaces.RUN) if name.startswith(self._passers.prefix)}
        for name in self._there.keys() - names:
            for one in self._there.pop(name):
                self._traffic.drop(one)
        for name in names - self._there.keys():
            self._enter(name)
        return LOOK_SECONDS

    def _enter(self, name: str) -> None:
        """Sockets inside; later when it cannot be entered yet."""
        with contextlib.suppress(OSError):
            made = []
            for kind in FAMILIES:
                path = namespaces.netns_path(name)
                one = namespaces.call_in(path, lambda kind=kind: socket.socket(kind, socket.SOCK_DGRAM))
                one.setblocking(False)
                if kind == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(("", PORT))
                self._traffic.watch(one, lambda one=one: self._came(one))
                made.append(one)
            self._there[name] = made
            self._numbers.setdefault(name, len(self._numbers))

    def _came(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._traffic.came(one.recv(2048), 0)

    def disturb(self) -> float:
        """Send from some of those that are there, and to some of those that may be."""
        self._names = self._names or list(self._there)
        for name in self._names[:AT_ONCE]:
            for one in self._there.get(name, ()):
                for sink in self._passers.sinks:
                    if (":" in sink) == (one.family == socket.AF_INET6) and self._send(one, sink, name):
                        self.met.add(name)
        del self._names[:AT_ONCE]
        for _ in range(min(AT_ONCE, len(self._passers.addresses))):
            address = next(self._addresses)
            self._send(self._senders[socket.AF_INET6 if ":" in address else socket.AF_INET], address)
        return SEND_SECONDS

    def _send(self, one: socket.socket, address: str, name: str = "") -> bool:
        """False when the namespace has no way out yet; then it is no packet."""
        round_, tally = len(self._traffic.rounds) - 1, self._traffic.tally
        number = self._numbers[name] if self._passers.allowed else next(self._traffic.numbers)
        try:
            one.sendto(PACKET.pack(MARK, ASKS, self._index, round_, number), (address, PORT))
        except OSError:
            return False
        tally.forbidden += not self._passers.allowed
        return True

"""New flows, and connections that go on: what the traffic is made of, one socket each."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from typing import TYPE_CHECKING

from cloche.datapath import namespaces
from torture.wire import ANSWERS, ASKS, MARK, PACKET, PORT, Way

if TYPE_CHECKING:
    from torture.traffic import Traffic

LATE_SECONDS = 4.0
"""Late is not lost: what has not arrived by then is."""
_TOTAL_RETRANS_AT = 100
"""``tcpi_total_retrans`` in ``struct tcp_info`` (linux/tcp.h)."""


def family(address: str) -> socket.AddressFamily:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def opened(netns: str, kind: socket.AddressFamily, type_: socket.SocketKind, port: int = 0) -> socket.socket:
    """A socket that never waits, in a namespace, bound to a port if it is to have one."""
    made = namespaces.call_in(namespaces.netns_path(netns), lambda: socket.socket(kind, type_))
    made.setblocking(False)
    if port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", port))
    return made


def sent_again(line: socket.socket) -> int:
    """How many packets a connection has sent more than once."""
    return int(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)[_TOTAL_RETRANS_AT])


class Question:
    """A new UDP flow: one datagram and its answer."""

    waiting = 0

    def __init__(self, traffic: Traffic, index: int, one: socket.socket) -> None:
        self._traffic, self._index, self._socket = traffic, index, one
        self._round = traffic.tally
        self._round.tried += 1
        self._open = True
        Question.waiting += 1
        traffic.send(one, traffic.packet(index))
        traffic.watch(one, self._ready)
        traffic.again(self._late, LATE_SECONDS)

    def _ready(self) -> None:
        with contextlib.suppress(OSError):
            if self._traffic.came(self._socket.recv(2048), ANSWERS) is not None:
                self._round.made += 1
        self._close()

    def _late(self) -> float:
        self._close()
        return -1.0

    def _close(self) -> None:
        if self._open:
            self._open = False
            Question.waiting -= 1
            self._traffic.drop(self._socket)


class Line:
    """A TCP connection: a packet, its echo, the next packet; with a ``port`` of its own a single one.

    Raises OSError when it cannot begin.
    """

    waiting = 0

    def __init__(self, traffic: Traffic, index: int, way: Way, port: int = 0) -> None:
        self._traffic, self._index, self._once = traffic, index, port != 0
        self._round = traffic.tally
        self._socket = opened(way.source, family(way.address), socket.SOCK_STREAM, port)
        error = self._socket.connect_ex((way.address, PORT))
        if error not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(error, os.strerror(error))
        self._twice, self._asked = 0, time.monotonic()
        self._connected = False
        self._word = b""
        self._open = True
        if self._once:
            self._round.tried += 1
            Line.waiting += 1
        traffic.watch(self._socket, self._up, selectors.EVENT_WRITE)
        traffic.again(self._late, LATE_SECONDS)

    def _up(self) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._close(f"not connected: error {error}")
            return
        self._connected = True
        self._traffic.selector.modify(self._socket, selectors.EVENT_READ, self._ready)
        self._ask()

    def _ask(self) -> float:
        if self._open and not (self._traffic.ending and not self._once):
            number = next(self._traffic.numbers)
            self._word = PACKET.pack(MARK, ASKS, self._index, len(self._traffic.rounds) - 1, number)
            self._traffic.tally.sent += 2
            self._asked = time.monotonic()
            try:
                self._socket.send(self._word)
            except OSError as error:
                self._close(f"cut: {error}")
        return -1.0

    def _ready(self) -> None:
        try:
            raw = self._socket.recv(2048)
        except OSError as error:
            self._close(f"cut: {error}")
            return
        if raw != self._word:
            self._close(f"cut: {len(raw)} bytes came that were not asked for")
            return
        self._word = b""
        self._twice = self._traffic.resent(self._socket, self._twice, self._traffic.named(self._index))
        if self._once:
            self._round.made += 1
            self._close("")
        else:
            self._traffic.again(self._ask, 2 * self._traffic.asked.every)

    def _late(self) -> float:
        if not self._open:
            return -1.0
        if (self._word or not self._connected) and time.monotonic() - self._asked >= LATE_SECONDS:
            self._close("no answer in time")
            return -1.0
        return -1.0 if self._traffic.ending and not self._once else LATE_SECONDS / 2

    def _close(self, wrong: str) -> None:
        if wrong:
            port = self._socket.getsockname()[1]
            self._traffic.say(f"{wrong}: TCP, {self._traffic.named(self._index)}, from port {port}")
            if not self._once:
                self._traffic.tally.lost += 1
        if self._once:
            Line.waiting -= 1
        self._open = False
        self._traffic.drop(self._socket)

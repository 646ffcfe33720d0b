"""Sockets that answer: echo over TCP, SCTP and UDP, and DNS, each on one address and port.

A listener owns its connections: while it is wanted they stay open however long they are silent, and
they end with it. Callbacks straight on the loop: one process serves thousands of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Protocol

BURST = 64
"""Accepts or datagrams taken at once before others get their turn."""

CHUNK = 1 << 16
PENDING_LIMIT = 1 << 20
"""Bytes kept for a client that does not read; above that nothing more is read from it."""

LONGEST_DATAGRAM = 65507
"""Bytes that UDP over IPv4 carries."""

ACCEPT_PAUSE = 1.0
"""Seconds without accepting after the process ran out of file descriptors."""

Answerer = Callable[[bytes], bytes | None]
"""A datagram or message in, the answer out, None for none."""

Feed = Callable[[bytes], bytes]
"""A piece of a stream in, what is to be sent back out (b"" for nothing yet)."""


class Listening(Protocol):
    """What is open for one (protocol, address, port)."""

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        ...

    def close(self) -> None:
        """Close the socket and its connections."""
        ...


def greeting(name: str) -> bytes:
    """The line by which an endpoint says who it is."""
    return name.encode() + b"\n"


class _Connection:
    """One client of a stream listener; what it sends is handed to ``take``, what that returns goes back."""

    def __init__(self, owner: StreamListener, connection: socket.socket) -> None:
        self._owner, self._socket = owner, connection
        self._loop = owner.loop
        self._pending = bytearray()
        self._reading = self._ended = False
        self._feed = owner.new_feed()
        self._send(owner.hello)
        self._read_on()

    def _read_on(self) -> None:
        if not self._reading and not self._ended and self._socket.fileno() >= 0:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def _readable(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._send(self._feed(data))
        else:
            self._ended = True
            self._read_off()
            if not self._pending:
                self.close()

    def _send(self, data: bytes) -> None:
        if not self._pending and data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
            if data:
                self._loop.add_writer(self._socket.fileno(), self._writable)
        self._pending += data
        if len(self._pending) > PENDING_LIMIT:
            self._read_off()

    def _writable(self) -> None:
        try:
            del self._pending[: self._socket.send(self._pending)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._pending:
            self._loop.remove_writer(self._socket.fileno())
            if self._ended:
                self.close()
                return
        if len(self._pending) <= PENDING_LIMIT:
            self._read_on()

    def close(self) -> None:
        """End the connection. Again is nothing."""
        if self._socket.fileno() < 0:
            return
        self._read_off()
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._owner.forget(self)


class StreamListener:
    """Accepts, says ``hello``, and answers what ``new_feed()`` makes of each piece that comes in."""

    def __init__(self, listening: socket.socket, hello: bytes, new_feed: Callable[[], Feed]) -> None:
        self.loop = asyncio.get_running_loop()
        self.hello, self.new_feed = hello, new_feed
        self._socket = listening
        self._clients: set[_Connection] = set()
        self.loop.add_reader(listening.fileno(), self._acceptable)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def _acceptable(self) -> None:
        for _ in range(BURST):
            try:
                connection, _address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.loop.remove_reader(self._socket.fileno())
                    self.loop.call_later(ACCEPT_PAUSE, self._resume)
                    return
                continue
            connection.setblocking(False)
            client = _Connection(self, connection)
            if connection.fileno() >= 0:
                self._clients.add(client)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self.loop.add_reader(self._socket.fileno(), self._acceptable)

    def forget(self, client: _Connection) -> None:
        """The client is gone."""
        self._clients.discard(client)

    def close(self) -> None:
        """Close the socket and its connections."""
        if self._socket.fileno() >= 0:
            self.loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for client in list(self._clients):
            client.close()


class DatagramListener:
    """Answers each datagram by what ``answer`` makes of it, from the address that it was sent to."""

    connections = 0

    def __init__(self, bound: socket.socket, answer: Answerer) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, self._answer = bound, answer
        self._loop.add_reader(bound.fileno(), self._readable)

    def _readable(self) -> None:
        for _ in range(BURST):
            try:
                data, sender = self._socket.recvfrom(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                continue
            answer = self._answer(data)
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, sender)

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()


def echo_stream(listening: socket.socket, name: str) -> StreamListener:
    """Says who answers, then sends everything back."""
    return StreamListener(listening, greeting(name), lambda: _same)


def _same(data: bytes) -> bytes:
    return data


def echo_datagrams(bound: socket.socket, name: str) -> DatagramListener:
    """Sends everything back behind a line that says who answers.

    Two echoing ports that are made to talk to each other would never stop: what already holds this endpoint's
    own line near its beginning is an answer to its answer, and is not answered.
    """
    line = greeting(name)

    def answer(data: bytes) -> bytes | None:
        return None if line in data[:512] else (line + data)[:LONGEST_DATAGRAM]

    return DatagramListener(bound, answer)


def dns_stream(listening: socket.socket, respond: Answerer) -> StreamListener:
    """DNS over TCP: each message behind its length (RFC 7766)."""

    def new_feed() -> Feed:
        waiting = bytearray()

        def feed(data: bytes) -> bytes:
            waiting.extend(data)
            answers = bytearray()
            while len(waiting) >= 2 and len(waiting) >= (end := 2 + int.from_bytes(waiting[:2], "big")):
                answer = respond(bytes(waiting[2:end]))
                del waiting[:end]
                if answer is not None:
                    answers += len(answer).to_bytes(2, "big") + answer
            return bytes(answers)

        return feed

    return StreamListener(listening, b"", new_feed)


def dns_datagrams(bound: socket.socket, respond: Answerer) -> DatagramListener:
    """DNS over UDP."""
    return DatagramListener(bound, respond)

"""Values between the agent and its worker: frames of length and pickle on a socket pair of their own.

Pickle is safe here because both ends are this program and nobody else holds either end.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct

HEAD = struct.Struct("!Q")


class EndedError(Exception):
    """The other end is gone."""


def pack(value: object) -> bytes:
    """One frame."""
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(body)) + body


class Pipe:
    """The blocking end."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb", buffering=1 << 20)

    def send(self, value: object) -> None:
        """Send one value. Raises EndedError when nobody is there."""
        try:
            self._file.write(pack(value))
            self._file.flush()
        except OSError:
            raise EndedError from None

    def receive(self) -> object:
        """Wait for one value. Raises EndedError when nobody is there."""
        try:
            head = self._file.read(HEAD.size)
            if len(head) < HEAD.size:
                raise EndedError
            (length,) = HEAD.unpack(head)
            body = self._file.read(length)
        except OSError:
            raise EndedError from None
        if len(body) < length:
            raise EndedError
        return pickle.loads(body)


class AsyncPipe:
    """The end on an asyncio loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, connection: socket.socket) -> AsyncPipe:
        """Take over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=1 << 20))

    async def send(self, value: object) -> None:
        """Send one value. Raises EndedError when nobody is there."""
        try:
            self._writer.write(pack(value))
            await self._writer.drain()
        except OSError:
            raise EndedError from None

    async def receive(self) -> object:
        """Wait for one value. Raises EndedError when nobody is there."""
        try:
            (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            body = await self._reader.readexactly(length)
        except (OSError, EOFError):
            raise EndedError from None
        return pickle.loads(body)

    def close(self) -> None:
        """Let go of this end."""
        self._writer.close()

"""The responder's own socket: reads requests, hands them on, sends the replies back.

A request that cannot be read or fails is answered with ``Refused`` and harms nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import msgspec
import structlog

from cloche.responder.dns_zone import ZoneIndex
from cloche.responder.messages import (
    PROTOCOL_VERSION,
    Done,
    Greeting,
    Hello,
    ListReply,
    ListServed,
    ProbeReply,
    Refused,
    Reply,
    ReplyBody,
    Request,
    RequestBody,
    RunProbes,
    Serve,
    ServedReply,
    SetZone,
    Stop,
    frame,
    frame_length,
    request_decoder,
)
from cloche.responder.namespaces import Namespaces
from cloche.responder.probing import Prober
from cloche.responder.serving import Serving

log = structlog.get_logger()


class Server:
    """One responder: what it serves, and the connections of those who tell it so."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._namespaces = Namespaces()
        self._serving = Serving(self._namespaces)
        self._prober = Prober(self._namespaces)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.stopping = asyncio.Event()

    async def run(self, listening: socket.socket) -> None:
        """Serve on a listening Unix socket until ``stopping`` is set, then close everything.

        The socket's file goes before its connections do: who sees those end can start another one.
        """
        path = Path(listening.getsockname())
        server = await asyncio.start_unix_server(self._connection, sock=listening)
        watching = asyncio.create_task(self._serving.watch())
        try:
            await self.stopping.wait()
        finally:
            server.close()
            path.unlink(missing_ok=True)
            watching.cancel()
            for task in self._tasks:
                task.cancel()
            self._serving.close()
            for writer in list(self._writers):
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(writer.drain(), 1)
                writer.close()
            self._namespaces.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                length = frame_length(await reader.readexactly(4))
                self._accept(await reader.readexactly(length), writer)
        except ValueError as error:
            self._send(writer, Reply(0, Refused(str(error))))
        except (OSError, EOFError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _accept(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = request_decoder.decode(body)
        except msgspec.DecodeError as error:
            self._send(writer, Reply(0, Refused(f"not a request: {error}")))
            return
        task = asyncio.create_task(self._answer(request, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            body = await self._do(request.body)
        except Exception as error:
            log.exception("request failed", kind=type(request.body).__name__)
            body = Refused(f"{type(error).__name__}: {error}")
        self._send(writer, Reply(request.id, body))
        if isinstance(request.body, Stop):
            self.stopping.set()

    def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        if not writer.is_closing():
            writer.write(frame(reply))

    async def _do(self, body: RequestBody) -> ReplyBody:
        match body:
            case Hello():
                return Greeting(self._instance, PROTOCOL_VERSION, os.getpid())
            case Serve(endpoints):
                return ServedReply(await self._serving.serve(endpoints))
            case SetZone(zone):
                self._serving.zone = ZoneIndex(zone)
                return Done()
            case RunProbes(probes):
                return ProbeReply(await self._prober.run(probes))
            case ListServed():
                return ListReply(self._serving.listed())
            case Stop():
                return Done()


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at ``path`` that only its owner may use; what lay there before is replaced."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
    listening.listen(64)
    return listening

"""Talking to a responder: start one or adopt the one that runs, then ask, blocking or on an asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from cloche.errors import MachineError, NotRunningError
from cloche.responder.messages import (
    PROTOCOL_VERSION,
    Done,
    Greeting,
    Hello,
    Listed,
    ListReply,
    ListServed,
    Probe,
    ProbeReply,
    ProbeResult,
    Problem,
    Refused,
    Reply,
    Request,
    RequestBody,
    RunProbes,
    Serve,
    Served,
    ServedReply,
    SetZone,
    Stop,
    Zone,
    frame,
    frame_length,
    reply_decoder,
)

START_SECONDS = 20.0
ALREADY_RUNNING = 4
"""The responder's exit status when another one holds its socket."""
HELLO_SECONDS = 5.0

Expected = TypeVar("Expected", Greeting, ServedReply, Done, ProbeReply, ListReply)


class ResponderError(MachineError):
    """The responder answered that it could not do it."""


def start(instance: str, socket_path: Path) -> None:
    """Make sure that a responder of ``instance`` answers on ``socket_path``; returns once it does.

    One that already runs is left as it is. A new one is detached from this process, its terminal and its
    session, and writes its log to ``<socket_path>.log``. Raises ResponderError when it does not start, or
    when what answers is of another instance or speaks another version of the protocol.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            Client.connect(instance, socket_path).close()
            return
        except NotRunningError:
            status = _spawn(instance, socket_path)
        if status not in (0, ALREADY_RUNNING):
            raise ResponderError(f"the responder did not start (status {status}): see {socket_path}.log")
        if status == ALREADY_RUNNING:  # one that is just starting, or just ending
            time.sleep(0.05)
    raise ResponderError(f"the responder did not start in time: see {socket_path}.log")


def _spawn(instance: str, path: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "cloche.responder",
        "--instance",
        instance,
        "--socket",
        str(path),
        "--detach",
    ]
    with Path(f"{path}.log").open("ab") as log:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, check=False
        ).returncode


def _check(greeting: Greeting, instance: str, path: Path) -> int:
    if greeting.version != PROTOCOL_VERSION:
        raise ResponderError(
            f"{path}: a responder of version {greeting.version}, not {PROTOCOL_VERSION}; stop it first"
        )
    if greeting.instance != instance:
        raise ResponderError(f"{path}: a responder of instance {greeting.instance!r}, not {instance!r}")
    return greeting.pid


def _expect(reply: Reply, kind: type[Expected]) -> Expected:
    match reply.body:
        case Refused(message):
            raise ResponderError(f"responder: {message}")
        case body if isinstance(body, kind):
            return body
    raise ResponderError(f"responder: answered {type(reply.body).__name__} instead of {kind.__name__}")


class Client:
    """A blocking connection; one question at a time. A context manager. ``pid`` is the responder's."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._ids = itertools.count(1)
        self.pid = 0

    @classmethod
    def connect(cls, instance: str, socket_path: Path) -> Self:
        """Connect and check who is there. Raises NotRunningError when nobody is, else ResponderError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(HELLO_SECONDS)
            connection.connect(str(socket_path))
            client = cls(connection)
            client.pid = _check(client._ask(Hello(), Greeting), instance, socket_path)
            connection.settimeout(None)
        except OSError as error:
            connection.close()
            raise NotRunningError(f"no responder on {socket_path}: {error}") from None
        except BaseException:
            connection.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the responder goes on."""
        self._socket.close()

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise NotRunningError("the responder ended the connection")
            parts += part
        return bytes(parts)

    def _ask(self, body: RequestBody, kind: type[Expected]) -> Expected:
        request = Request(next(self._ids), body)
        self._socket.sendall(frame(request))
        while True:
            reply = reply_decoder.decode(self._receive(frame_length(self._receive(4))))
            if reply.id in (request.id, 0):
                return _expect(reply, kind)

    def serve(self, endpoints: Iterable[Served]) -> tuple[Problem, ...]:
        """Answer for exactly these; returns the listeners that could not be opened."""
        return self._ask(Serve(tuple(endpoints)), ServedReply).problems

    def zone(self, zone: Zone) -> None:
        """Replace what DNS knows, in one step."""
        self._ask(SetZone(zone), Done)

    def probe(self, probes: Iterable[Probe]) -> tuple[ProbeResult, ...]:
        """Ask the network; one result for each probe, in order."""
        return self._ask(RunProbes(tuple(probes)), ProbeReply).results

    def list(self) -> tuple[Listed, ...]:
        """What is being served, by name."""
        return self._ask(ListServed(), ListReply).served

    def stop(self) -> None:
        """End the responder; returns when its socket is gone."""
        self._ask(Stop(), Done)
        with contextlib.suppress(OSError):
            while self._socket.recv(4096):
                pass
        self.close()


class AsyncClient:
    """A connection on the running asyncio loop; many questions at once. ``pid`` is the responder's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self.pid = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._task = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def connect(cls, instance: str, socket_path: Path) -> Self:
        """Connect and check who is there. Raises NotRunningError when nobody is, else ResponderError."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(socket_path))
        except OSError as error:
            raise NotRunningError(f"no responder on {socket_path}: {error}") from None
        client = cls(reader, writer)
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                client.pid = _check(await client._ask(Hello(), Greeting), instance, socket_path)
        except TimeoutError:
            await client.close()
            raise NotRunningError(f"no answer from the responder on {socket_path}") from None
        except BaseException:
            await client.close()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; the responder goes on. Questions still open raise NotRunningError."""
        self._writer.close()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        try:
            while True:
                length = frame_length(await self._reader.readexactly(4))
                reply = reply_decoder.decode(await self._reader.readexactly(length))
                waiting = self._waiting.pop(reply.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._writer.close()
            waiters, self._waiting = self._waiting, {}
            for waiting in waiters.values():
                if not waiting.done():
                    waiting.set_exception(NotRunningError("the responder ended the connection"))

    async def _ask(self, body: RequestBody, kind: type[Expected]) -> Expected:
        if self._task.done():
            raise NotRunningError("the responder ended the connection")
        request = Request(next(self._ids), body)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        try:
            self._writer.write(frame(request))
            await self._writer.drain()
            return _expect(await waiting, kind)
        except OSError as error:
            raise NotRunningError(f"the responder ended the connection: {error}") from None
        finally:
            self._waiting.pop(request.id, None)

    async def serve(self, endpoints: Iterable[Served]) -> tuple[Problem, ...]:
        """Answer for exactly these; returns the listeners that could not be opened."""
        return (await self._ask(Serve(tuple(endpoints)), ServedReply)).problems

    async def zone(self, zone: Zone) -> None:
        """Replace what DNS knows, in one step."""
        await self._ask(SetZone(zone), Done)

    async def probe(self, probes: Iterable[Probe]) -> tuple[ProbeResult, ...]:
        """Ask the network; one result for each probe, in order."""
        return (await self._ask(RunProbes(tuple(probes)), ProbeReply)).results

    async def list(self) -> tuple[Listed, ...]:
        """What is being served, by name."""
        return (await self._ask(ListServed(), ListReply)).served

    async def stop(self) -> None:
        """End the responder; returns when its socket is gone."""
        await self._ask(Stop(), Done)
        await self._task
        await self.close()

"""The agent's socket: HTTP over a Unix socket that only root may open. Parses, asks the core, renders."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cloche.agent.connections import BoundedProtocol
from cloche.agent.history import History
from cloche.agent.messages import (
    Applied,
    ApplyRequest,
    DeleteRequest,
    ProbeRequest,
    ProbeResult,
    Refusal,
    RollbackRequest,
    Show,
    Status,
)
from cloche.agent.refusals import as_refusal, http_status
from cloche.agent.statement import Attested
from cloche.config import Config
from cloche.errors import ClocheError
from cloche.model.state import Object

MAX_BODY = 256 * 1024 * 1024
"""Bytes in a request, and in all that are being read together; what is longer is refused."""

BODY_SECONDS = 60.0
"""How long a request's body may take to come: it comes from this machine."""

OBJECTS_AT_ONCE = 500


class Core(Protocol):
    """What the server asks; every method raises ClocheError for what it refuses."""

    history: History

    async def change(self, kind: type[ApplyRequest | DeleteRequest], body: bytes) -> Applied:
        """Make a change from a request of this kind, still encoded; returns once it is active."""

    async def rollback(self, request: RollbackRequest) -> Applied:
        """Put earlier policies in force, or release what is rolled back; returns once that is active."""

    async def attest(self) -> Attested:
        """Whether the kernel holds exactly what the model asks for."""

    async def status(self) -> Status:
        """How the instance is."""

    def objects(self) -> list[Object]:
        """The model as it is active."""

    async def show(self, what: Show) -> list[object]:
        """What ``show`` lists, as the message of that kind."""

    async def probe(self, request: ProbeRequest) -> list[ProbeResult]:
        """Send real packets."""

    async def down(self) -> None:
        """Remove the instance; the agent ends after the reply."""


async def read_body(request: Request) -> bytes:
    """The whole body. Raises ClocheError when it is longer or slower than any honest one."""
    parts = bytearray()
    room = request.app.state
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                room.reading += len(part)
                parts += part
                if room.reading > MAX_BODY:
                    raise ClocheError(f"requests of over {MAX_BODY} bytes")
    except TimeoutError:
        raise ClocheError(f"a request that took over {BODY_SECONDS:.0f} s to come") from None
    finally:
        room.reading -= len(parts)
    return bytes(parts)


def as_json(value: object, status: int = 200) -> Response:
    """A reply of one JSON value."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


Handler = Callable[[Core, Request], Awaitable[Response]]


async def _apply(core: Core, request: Request) -> Response:
    return as_json(await core.change(ApplyRequest, await read_body(request)))


async def _delete(core: Core, request: Request) -> Response:
    return as_json(await core.change(DeleteRequest, await read_body(request)))


async def _rollback(core: Core, request: Request) -> Response:
    try:
        asked = msgspec.msgpack.decode(await read_body(request), type=RollbackRequest)
    except msgspec.DecodeError as error:
        return as_json(Refusal(f"not a rollback request: {error}"), 400)
    return as_json(await core.rollback(asked))


async def _attest(core: Core, _request: Request) -> Response:
    return as_json(await core.attest())


async def _status(core: Core, _request: Request) -> Response:
    return as_json(await core.status())


async def _objects(core: Core, _request: Request) -> Response:
    objects = core.objects()

    async def body() -> AsyncIterator[bytes]:
        yield b"\xdd" + len(objects).to_bytes(4, "big")
        for first in range(0, len(objects), OBJECTS_AT_ONCE):
            part = objects[first : first + OBJECTS_AT_ONCE]
            yield b"".join(map(msgspec.msgpack.encode, part))

    return StreamingResponse(body(), media_type="application/msgpack")


async def _show(core: Core, request: Request) -> Response:
    try:
        what = Show(request.path_params["what"])
    except ValueError:
        return as_json(Refusal(f"show one of {', '.join(Show)}"), 404)
    return as_json(await core.show(what))


async def _flows(core: Core, request: Request) -> Response:
    follow = request.query_params.get("follow", "0") == "1"

    async def body() -> AsyncIterator[bytes]:
        async for events in core.history.read(follow=follow):
            yield b"".join(msgspec.json.encode(event) + b"\n" for event in events)

    return StreamingResponse(body(), media_type="application/x-ndjson")


async def _probe(core: Core, request: Request) -> Response:
    try:
        asked = msgspec.msgpack.decode(await read_body(request), type=ProbeRequest)
    except (msgspec.DecodeError, RecursionError) as error:
        return as_json(Refusal(f"not a probe request: {error}"), 400)
    return as_json(await core.probe(asked))


async def _down(core: Core, _request: Request) -> Response:
    await core.down()
    return as_json(None)


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/apply", _apply),
    ("POST", "/v1/delete", _delete),
    ("POST", "/v1/rollback", _rollback),
    ("GET", "/v1/attest", _attest),
    ("GET", "/v1/status", _status),
    ("GET", "/v1/objects", _objects),
    ("GET", "/v1/show/{what}", _show),
    ("GET", "/v1/flows", _flows),
    ("POST", "/v1/probe", _probe),
    ("POST", "/v1/down", _down),
)


def application(core: Core) -> Starlette:
    """The routes of the agent."""

    def guarded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                return await handler(core, request)
            except ClocheError as error:
                return as_json(as_refusal(error), http_status(error))

        return handle

    app = Starlette(routes=[Route(path, guarded(handler), methods=[verb]) for verb, path, handler in ROUTES])
    app.state.reading = 0
    return app


async def _nothing() -> dict[str, object]:
    await asyncio.sleep(0)
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(_message: object) -> None:
    return None


def listen(config: Config) -> socket.socket:
    """The listening socket, readable by root alone from its first moment on."""
    config.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    config.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(config.socket))
    finally:
        os.umask(before)
    listener.listen(128)
    return listener


class Server(uvicorn.Server):
    """uvicorn on a socket that is already there; signals stay with the agent."""

    def __init__(self, core: Core) -> None:
        self._application = application(core)
        settings = uvicorn.Config(
            self._application,
            loop="asyncio",
            http=BoundedProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        super().__init__(settings)

    async def rehearse(self) -> None:
        """Answer one request that nobody asked, so that what is imported on first use is there.

        The libraries import up to 200 ms of themselves when the first request comes; the loop must not.
        """
        self.config.load()
        scope = {"type": "http", "method": "GET", "path": "/v1/flows", "query_string": b"", "headers": []}
        await self._application(scope, _nothing, _nowhere)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are: the agent itself decides what a signal means."""
        yield

    async def run_on(self, listener: socket.socket) -> None:
        """Answer until ``stop``; open followers are cut after two seconds."""
        self.config.timeout_graceful_shutdown = 2
        await self.serve([listener])

    def stop(self) -> None:
        """End after what is being answered now."""
        self.should_exit = True

"""The agent's hold on the responder: started or adopted, told what to answer for, told again when it dies."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable

import structlog

from cloche.agent.residents import served, zone
from cloche.config import Config
from cloche.errors import ClocheError, NotRunningError
from cloche.model.state import State
from cloche.responder import client
from cloche.responder.messages import Probe, ProbeResult, Problem, Served

log = structlog.get_logger()


class Responding:
    """One connection to the instance's responder; whoever asks first after a loss connects again."""

    def __init__(self, config: Config, namespace_path: Callable[[str], str]) -> None:
        self._config = config
        self._path = namespace_path
        self._client: client.AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._served: tuple[Served, ...] | None = None
        self.pid = 0
        self.problems: tuple[Problem, ...] = ()

    async def _connected(self) -> client.AsyncClient:
        async with self._lock:
            if self._client is None:
                config = self._config
                await asyncio.to_thread(client.start, config.instance, config.responder_socket)
                self._client = await client.AsyncClient.connect(config.instance, config.responder_socket)
                self.pid = listener_pid(config)
                self._served = None
            return self._client

    async def _lost(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def update(self, state: State) -> tuple[Problem, ...]:
        """Answer for exactly the attached endpoints of this state, and know its names; says what failed."""
        for attempt in (1, 2):
            try:
                responder = await self._connected()
                wanted = served(state, self._path)
                if wanted != self._served:
                    self.problems = await responder.serve(wanted)
                    self._served = wanted
                await responder.zone(zone(state))
                return self.problems
            except NotRunningError:
                await self._lost()
                if attempt == 2:
                    raise
                log.warning("the responder ended; starting another")
        return ()

    async def withdraw(self, keys: Iterable[str]) -> None:
        """Stop answering for these endpoints, whose namespaces are about to go."""
        gone = set(keys)
        if self._served is None or not gone:
            return
        left = tuple(endpoint for endpoint in self._served if endpoint.name not in gone)
        try:
            responder = await self._connected()
            if self._served is not None:
                await responder.serve(left)
                self._served = left
        except NotRunningError:
            await self._lost()

    async def probe(self, probes: Iterable[Probe]) -> tuple[ProbeResult, ...]:
        """Ask the network. Raises ClocheError when the responder does not run."""
        try:
            return await (await self._connected()).probe(probes)
        except NotRunningError as error:
            await self._lost()
            raise ClocheError(str(error)) from None

    async def close(self) -> None:
        """Let go; the responder goes on."""
        await self._lost()

    async def alive(self) -> bool:
        """True when the responder that was told last still answers."""
        if self._client is None:
            return False
        try:
            await self._client.list()
        except ClocheError:
            await self._lost()
            return False
        return True


def listener_pid(config: Config) -> int:
    """The process that listens on the responder's socket (SO_PEERCRED, unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(config.responder_socket))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    (pid, _user, _group) = struct.unpack("3i", credentials)
    return int(pid)


def stop_responder(config: Config) -> bool:
    """End the instance's responder; False when none ran."""
    try:
        with client.Client.connect(config.instance, config.responder_socket) as responder:
            responder.stop()
    except NotRunningError:
        return False
    return True

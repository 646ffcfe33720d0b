"""The agent's end of its worker process: started, asked one thing at a time, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

from cloche.agent.pipe import AsyncPipe, EndedError
from cloche.errors import ClocheError

STOP_SECONDS = 3.0


class WorkerDiedError(ClocheError):
    """The worker ended in the middle of a question; the active generation stays."""


class Workshop:
    """One worker process at a time. Not for two questions at once: one task owns it."""

    def __init__(self) -> None:
        self.starts = 0
        self.pid = 0
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: AsyncPipe | None = None

    @property
    def alive(self) -> bool:
        """True while a worker runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start a worker in place of the one that was, if any."""
        await self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cloche.agent.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._pipe = await AsyncPipe.open(ours)
        self.pid = self._process.pid
        self.starts += 1

    async def stop(self) -> None:
        """End the worker; it has nothing that would need saving."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
            self._process = None

    async def send(self, value: object) -> None:
        """Send one value. Raises WorkerDiedError."""
        if self._pipe is None:
            raise WorkerDiedError("no worker runs")
        try:
            await self._pipe.send(value)
        except EndedError:
            raise WorkerDiedError("the worker ended") from None

    async def receive(self) -> object:
        """The next value from the worker. Raises WorkerDiedError."""
        if self._pipe is None:
            raise WorkerDiedError("no worker runs")
        try:
            return await self._pipe.receive()
        except EndedError:
            raise WorkerDiedError("the worker ended") from None

    async def until(self, *last: type) -> AsyncIterator[object]:
        """Values from the worker up to and with the first that is of one of these types."""
        while True:
            value = await self.receive()
            yield value
            if isinstance(value, last):
                return

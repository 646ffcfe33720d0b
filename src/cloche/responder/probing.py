"""Probes: ask the network from inside many namespaces, hundreds at once, and say what came back.

A try that hears nothing is only called silent after the loop has looked at its sockets once more: the
answer may lie there already, or have to be given by this very process.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from cloche.model.address import Address, parse_address
from cloche.responder.asking import Question, UnprobableError, open_socket, question, source_of
from cloche.responder.messages import Outcome, Probe, ProbeResult
from cloche.responder.namespaces import Namespaces

CONCURRENCY = 1024
"""Tries under way at once, of all callers together."""

LAST_LOOKS = 4
"""Turns of the loop after the time is over: however late we are, an echo of ours comes back in so many."""

CHUNK = 4096
IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK)


class Prober:
    """Runs probes; any number of callers share its bound."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._places = asyncio.Semaphore(CONCURRENCY)
        self._identifiers = itertools.count(os.getpid())

    async def run(self, probes: Sequence[Probe]) -> tuple[ProbeResult, ...]:
        """One result for each probe, in order."""
        results: list[ProbeResult | None] = [None] * len(probes)
        todo = iter(enumerate(probes))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(CONCURRENCY, len(probes))):
                group.create_task(self._work(todo, results))
        return tuple(result for result in results if result is not None)

    async def _work(self, todo: Iterator[tuple[int, Probe]], results: list[ProbeResult | None]) -> None:
        for index, probe in todo:
            async with self._places:
                results[index] = await self._probe(probe)

    async def _probe(self, probe: Probe) -> ProbeResult:
        result = ProbeResult(Outcome.UNPROBED, detail="no tries")
        try:
            source = source_of(probe)
            for _ in range(probe.tries):
                asked = question(probe, next(self._identifiers) & 0xFFFF)
                opened = await self._namespaces.run(probe.netns, partial(open_socket, asked, source))
                with opened:
                    result = await _try(opened, asked, probe.timeout)
                if result.outcome is not Outcome.SILENT:
                    break
        except UnprobableError as reason:
            return ProbeResult(Outcome.UNPROBED, detail=str(reason))
        except OSError as error:
            return ProbeResult(Outcome.UNPROBED, detail=error.strerror or str(error))
        return result


async def _try(opened: socket.socket, asked: Question, timeout: float) -> ProbeResult:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    code = opened.connect_ex(asked.destination)
    if code and code not in IN_PROGRESS:
        raise OSError(code, os.strerror(code))
    heard = ProbeResult(Outcome.SILENT, "", 0.0, *_local(opened, asked))
    if asked.stream:
        if not await _ready(opened, True, begin + timeout):
            return heard
        code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return _failed(heard, code, loop.time() - begin)
        rtt = loop.time() - begin
        who = await _introduction(opened, asked, timeout)
        detail = "" if who else "connected, but it did not say who it is"
        return msgspec.structs.replace(
            heard, outcome=Outcome.ANSWERED, answered_by=who, rtt=rtt, detail=detail
        )
    opened.send(asked.payload)
    while await _ready(opened, False, begin + timeout):
        try:
            who_or_none = asked.answered(opened.recv(CHUNK))
        except BlockingIOError:
            continue
        except OSError as error:
            return _failed(heard, error.errno or 0, loop.time() - begin)
        if who_or_none is not None:
            rtt = loop.time() - begin
            return msgspec.structs.replace(heard, outcome=Outcome.ANSWERED, answered_by=who_or_none, rtt=rtt)
    return heard


async def _introduction(opened: socket.socket, asked: Question, timeout: float) -> str:
    """Who is at the other end of a connection, "" when it does not say within ``timeout`` seconds."""
    try:
        if asked.payload:
            opened.send(asked.payload)
        if await _ready(opened, False, asyncio.get_running_loop().time() + timeout):
            return asked.answered(opened.recv(CHUNK)) or ""
    except OSError:
        pass  # it hung up on us: it was reached all the same
    return ""


def _local(opened: socket.socket, asked: Question) -> tuple[Address, int]:
    name = opened.getsockname()
    return parse_address(name[0].partition("%")[0]), asked.identifier or name[1]


def _failed(heard: ProbeResult, code: int, rtt: float) -> ProbeResult:
    """What an error that came back from the network means."""
    if code in (errno.ECONNREFUSED, errno.ECONNRESET):
        return msgspec.structs.replace(heard, outcome=Outcome.REFUSED, rtt=rtt)
    return msgspec.structs.replace(heard, detail=os.strerror(code))


async def _ready(opened: socket.socket, writing: bool, deadline: float) -> bool:
    """Wait until the socket can be written (or read); False when it cannot by ``deadline`` (loop time)."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(True)

    def lapse(looks: int) -> None:
        if ready.done():
            return
        if looks:
            loop.call_soon(lapse, looks - 1)
        else:
            ready.set_result(False)

    descriptor = opened.fileno()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(descriptor, wake)
    timer = loop.call_at(deadline, lapse, LAST_LOOKS)
    try:
        return await ready
    finally:
        timer.cancel()
        remove(descriptor)

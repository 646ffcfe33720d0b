"""Looks, for ever, whether the kernel still holds what was put there, and mends what somebody else altered.

Devices, programs, routes and rules are looked at when netlink tells of a change, and every few seconds; the
maps are compared by the worker, some milliseconds at a time between two changes. Nothing is done on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import structlog

from cloche.agent.change import Changer
from cloche.agent.disk import Attached
from cloche.agent.history import History
from cloche.agent.messages import FlowEvent
from cloche.agent.parts import Parts
from cloche.datapath.inspect import Inspector, Seen
from cloche.datapath.settings import Settings
from cloche.errors import ClocheError
from cloche.model.address import host_block

AUDIT_SECONDS = 0.003
"""How long a change may have to wait for the comparison."""
AUDIT_REST_SECONDS = 0.05
CYCLE_SECONDS = 15.0
"""Within this the maps are once compared, however large they are."""
CALM_SECONDS = 1.0
"""Between two looks that netlink asked for."""
ENDPOINTS_AT_ONCE = 16
_RTMGRP_LINK, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_ROUTE = 0x1, 0x40, 0x400
log = structlog.get_logger()


class Guard:
    """Two tasks: one for devices and what belongs to them, one for the maps."""

    def __init__(self, parts: Parts, changer: Changer, history: History) -> None:
        self._parts, self._changer, self._history = parts, changer, history
        self._settings = Settings()
        self._stirred = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.repairs = 0
        self.lost: asyncio.Queue[tuple[Attached, ...]] = asyncio.Queue()
        """Endpoints whose links are gone: to be closed and made anew."""
        self.problems: dict[str, str] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to look, if the configuration says so."""
        if self._parts.config.look_seconds:
            self._tasks = [group.create_task(self.devices()), group.create_task(self.maps())]

    def stop(self) -> None:
        """Look no more: whatever goes from now on goes on purpose."""
        for task in self._tasks:
            task.cancel()

    def tell(self, seen: Sequence[str]) -> None:
        """Say aloud what was found and mended."""
        for what in seen:
            log.warning("altered from outside, mended", found=what)
            self.repairs += 1
        self._history.add(FlowEvent(time.time(), "repaired", detail=what) for what in seen)

    async def devices(self) -> None:
        """Look after devices, programs, pins, routes and rules for ever."""
        rest = self._parts.config.look_seconds
        inspector = await self._parts.kernel.run(self._parts.datapath.inspector, self._settings)
        with self._listening():
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), rest)
                self._stirred.clear()
                await self._tried("devices", self._look(inspector))
                await asyncio.sleep(CALM_SECONDS)

    async def _tried(self, part: str, look: Awaitable[None]) -> None:
        try:
            await look
            self.problems.pop(part, None)
        except (ClocheError, OSError) as error:
            self.problems[part] = f"what was altered from outside cannot be mended: {error}"
            log.error("cannot be looked after", part=part, error=str(error))

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """While entered, links and routes that change stir the look (rtnetlink(7))."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.setblocking(False)
            netlink.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE))

            def stir() -> None:
                with contextlib.suppress(OSError):
                    netlink.recv(1 << 16)
                self._stirred.set()

            loop.add_reader(netlink.fileno(), stir)
            try:
                yield
            finally:
                loop.remove_reader(netlink.fileno())

    async def _look(self, inspector: Inspector) -> None:
        lost: list[Attached] = []
        attached = self._changer.attachments.all()
        for first in range(0, len(attached), ENDPOINTS_AT_ONCE):
            async with self._changer.turn:
                some = attached[first : first + ENDPOINTS_AT_ONCE]
                some = tuple(one for one in some if self._changer.attachments.has(one))
                found = await self._parts.kernel.run(look_at, inspector, some)
            self.tell([seen.what for seen, _ in found])
            lost += [one for seen, one in found if seen.lost]
        if lost:
            self.lost.put_nowait(tuple(lost))
        for step in (inspector.pair, inspector.settings, inspector.pins):
            await self._step(step)
        async with self._changer.turn:
            blocks = [host_block(a) for one in self._changer.attachments.all() for a in one.addresses]
            await self._step(lambda: inspector.routes(blocks))
        if await self._parts.kernel.run(self._parts.datapath.configure, self._settings):
            self.tell(["the configuration entry was altered"])

    async def _step(self, step: Callable[[], list[Seen]]) -> None:
        self.tell([seen.what for seen in await self._parts.kernel.run(step)])

    async def altered(self) -> bool:
        """Compare the maps once, now; true when something was altered, and is mended. Raises ClocheError."""
        while True:
            audited = await self._changer.audit(AUDIT_SECONDS)
            self.tell(audited.found)
            if audited.found or audited.ended:
                return bool(audited.found)

    async def maps(self) -> None:
        """Compare the maps for ever, slice by slice."""
        look = self._parts.config.look_seconds
        rest = AUDIT_REST_SECONDS
        while True:
            await asyncio.sleep(look)
            slices, ended = 0, False
            while not ended and self._parts.workshop.alive:
                try:
                    audited = await self._changer.audit(AUDIT_SECONDS)
                except (ClocheError, OSError) as error:
                    self.problems["maps"] = f"the maps cannot be compared: {error}"
                    break
                self.problems.pop("maps", None)
                self.tell(audited.found)
                slices, ended = slices + 1, audited.ended
                await asyncio.sleep(rest)
            rest = min(AUDIT_REST_SECONDS, CYCLE_SECONDS / max(slices, 1))


def look_at(inspector: Inspector, attached: Sequence[Attached]) -> list[tuple[Seen, Attached]]:
    """What was wrong with these endpoints' links, and whose each was; on the kernel thread."""
    return [(seen, one) for one in attached for seen in inspector.endpoint(one.attachment)]

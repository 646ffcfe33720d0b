"""Watches the host for what is not ours and yet counts: new uplinks, and addresses that it has come by."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from cloche.agent.change import Changer
from cloche.agent.messages import ShownDevice
from cloche.agent.parts import Parts
from cloche.datapath.surroundings import Surroundings, addresses_by_device, drain, look, open_monitor
from cloche.model.address import Block, format_address, host_block

POLL_SECONDS = 30.0
"""How long at most until the host is looked at without being told that it changed."""

GAP_SECONDS = 0.05
"""Between two looks, so that a burst of changes costs few."""

log = structlog.get_logger()


class Lookout:
    """Keeps the program on the uplinks of now; ``found`` is what the last look found."""

    def __init__(self, parts: Parts, changer: Changer) -> None:
        self._parts, self._changer = parts, changer
        self._marked = asyncio.Event()
        self.found = Surroundings()
        self.looked = asyncio.Event()
        """Set after each look; whoever waits for it clears it."""

    async def follow(self) -> None:
        """Look now, after every change that the kernel tells of, and from time to time, for ever."""
        loop = asyncio.get_running_loop()
        monitor = open_monitor(links=bool(self._parts.config.devices))

        def mark() -> None:
            drain(monitor)
            self._marked.set()

        loop.add_reader(monitor.fileno(), mark)
        try:
            while True:
                await self._look()
                await asyncio.sleep(GAP_SECONDS)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._marked.wait(), POLL_SECONDS)
                self._marked.clear()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    async def _look(self) -> None:
        parts, before = self._parts, self.found
        try:
            self.found = await parts.kernel.run(look, parts.datapath, parts.config.devices, self._blocks())
        except OSError as error:
            log.warning("the host cannot be looked at", error=str(error))
            return
        if self.found.uplinks != before.uplinks:
            log.info("uplinks", devices=list(self.found.uplinks))
        for problem in set(self.found.problems) - set(before.problems):
            log.warning("the host has changed", problem=problem)
        self.looked.set()

    def _blocks(self) -> list[Block]:
        """What must be nobody else's: the ranges, and the kept addresses outside them."""
        config = self._parts.config
        ranges = [*config.pod_ranges, *config.service_ranges]
        kept = (address for one in self._changer.attachments.all() for address in one.addresses)
        outside = (address for address in kept if not any(block.contains(address) for block in ranges))
        return ranges + [host_block(address) for address in outside]

    async def shown(self) -> list[object]:
        """The devices that have a program of ours and are no endpoint's, with the host's addresses there."""
        addresses = await self._parts.kernel.run(addresses_by_device)
        rows = [(self._parts.config.instance, "stack"), *((name, "uplink") for name in self.found.uplinks)]
        return [
            ShownDevice(name, role, tuple(map(format_address, addresses.get(name, ()))))
            for name, role in rows
        ]

"""Endpoints' links and namespaces: made closed, kept in the ledger, removed when nothing leads there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from cloche.agent.disk import Attached, Ledger
from cloche.agent.parts import Parts
from cloche.agent.refusals import AgentError
from cloche.agent.residents import resolv_conf
from cloche.datapath import devices, hooks, namespaces
from cloche.datapath.host import check_overlap
from cloche.errors import TooBigError
from cloche.model.address import format_address, host_block
from cloche.model.topology import Endpoint

RESOLV_ROOT = Path("/etc/netns")
log = structlog.get_logger()


class Attachments:
    """Who is attached. The change task owns it; what blocks runs on the kernel thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._attached: dict[str, Attached] = {}
        self._incarnation = 0
        self._saved: Ledger | None = None

    async def load(self) -> Ledger:
        """Take over those of the ledger that are still there, and remove whatever else there is."""
        ledger = await self._parts.kernel.run(self._parts.disk.load_ledger)
        self._incarnation, self._saved = ledger.incarnation, ledger
        found = await self._parts.kernel.run(self._sort, ledger)
        self._attached = {one.attachment.endpoint: one for one in found}
        return ledger

    def _sort(self, ledger: Ledger) -> list[Attached]:
        datapath = self._parts.datapath
        present = []
        for one in ledger.attached:
            if datapath.is_attached(one.attachment):
                present.append(one)
            else:
                log.warning("an attachment is gone", endpoint=one.attachment.endpoint)
                datapath.detach_endpoint(one.attachment, one.addresses)
        self._remove_strays(present)
        return present

    def _remove_strays(self, present: Sequence[Attached]) -> None:
        """What an agent that was killed half-way left behind; nothing leads there."""
        instance, datapath = self._parts.config.instance, self._parts.datapath
        numbers = {one.attachment.number for one in present}
        links = {self._parts.link(number) for number in numbers}
        paths = {datapath.netns_path(one.attachment.endpoint).name for one in present}
        pattern = re.compile(rf"{re.escape(instance)}-[0-9a-f]+")
        strays = [d.name for d in devices.devices() if pattern.fullmatch(d.name) and d.name not in links]
        for name in strays:
            devices.delete(name)
        for number in set(datapath.attached_numbers()) - numbers:
            hooks.unhook(instance, f"endpoint-{number:x}")
        namespaces_left = [name for name in namespaces.names_of(instance) if name not in paths]
        for name in namespaces_left:
            namespaces.remove(name)
        if strays or namespaces_left:
            log.warning("strays are removed", links=strays, namespaces=namespaces_left)

    def all(self) -> tuple[Attached, ...]:
        """Everyone who is attached."""
        return tuple(self._attached.values())

    def has(self, one: Attached) -> bool:
        """True while it is attached, and not another one of its name."""
        return self._attached.get(one.attachment.endpoint) is one

    async def add(self, endpoints: Sequence[Endpoint]) -> tuple[Attached, ...]:
        """Attach these, closed; all of them or none. Raises TooBigError, InputError, AgentError."""
        capacity = self._parts.config.capacity.endpoints - 1
        if len(self._attached) + len(endpoints) > capacity:
            raise TooBigError("endpoints", len(self._attached) + len(endpoints), capacity, ())
        await self._parts.kernel.run(self._check_kept, endpoints)
        used = {one.attachment.number for one in self._attached.values()}
        free = (number for number in range(1, capacity + 1) if number not in used)
        added: list[Attached] = []
        for endpoint in endpoints:
            self._incarnation += 1
            try:
                one = await self._parts.kernel.run(self._attach, endpoint, next(free), self._incarnation)
            except OSError as error:
                await self.remove([found.attachment.endpoint for found in added])
                raise AgentError(f"{endpoint.key} cannot be attached: {error}") from error
            self._attached[endpoint.key] = one
            added.append(one)
        return tuple(added)

    def _check_kept(self, endpoints: Sequence[Endpoint]) -> None:
        """Kept addresses that the machine uses otherwise are refused. Raises InputError."""
        config = self._parts.config
        kept = [
            host_block(address)
            for endpoint in endpoints
            for address in endpoint.addresses
            if not any(block.contains(address) for block in config.pod_ranges)
        ]
        if kept:
            check_overlap(config.instance, kept)

    def _attach(self, endpoint: Endpoint, number: int, incarnation: int) -> Attached:
        parts = self._parts
        attachment = parts.datapath.attach_endpoint(endpoint.key, number, incarnation, endpoint.addresses)
        folder = RESOLV_ROOT / Path(parts.namespace(endpoint.key)).name
        folder.mkdir(parents=True, exist_ok=True)
        servers = tuple(map(format_address, parts.config.dns_addresses))
        (folder / "resolv.conf").write_text(resolv_conf(endpoint.namespace, servers))
        return Attached(attachment, endpoint.addresses)

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove links and namespaces; the tables must not lead there any more."""
        for key in keys:
            one = self._attached.pop(key, None)
            if one is not None:
                await self._parts.kernel.run(self._detach, one)

    def _detach(self, one: Attached) -> None:
        self._parts.datapath.detach_endpoint(one.attachment, one.addresses)
        folder = RESOLV_ROOT / Path(self._parts.namespace(one.attachment.endpoint)).name
        (folder / "resolv.conf").unlink(missing_ok=True)
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()

    async def save(self, generation: int) -> None:
        """Let the disk know who is attached and which numbers are used or reserved, unless it does."""
        ledger = Ledger(self.all(), self._incarnation, generation)
        if ledger != self._saved:
            await self._parts.kernel.run(self._parts.disk.save_ledger, ledger)
            self._saved = ledger

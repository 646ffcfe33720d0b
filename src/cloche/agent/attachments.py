"""Endpoints' links and namespaces: made closed, kept in the ledger, removed when nothing leads there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from cloche.agent.blame import at_endpoints
from cloche.agent.clashes import kept_addresses
from cloche.agent.disk import Attached, Ledger
from cloche.agent.parts import Parts
from cloche.agent.refusals import AgentError
from cloche.agent.residents import resolv_conf
from cloche.agent.tally import Tally
from cloche.datapath import faults, hooks, ownership, sweep
from cloche.datapath.faults import Point
from cloche.datapath.host import check_overlap, peer_name
from cloche.errors import InputError, TooBigError
from cloche.model.address import format_address, host_block
from cloche.model.topology import Endpoint

log = structlog.get_logger()


class Attachments:
    """Who is attached. The change task owns it; what blocks runs on the kernel thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._attached: dict[str, Attached] = {}
        self._incarnation = self._settled = 0
        """The highest incarnation given out, and that up to which all who have one are attached or gone."""
        self.tally = Tally()
        self._saved: Ledger | None = None

    async def load(self) -> Ledger:
        """Take over those of the ledger that are still there, and remove whatever else there is. Raises
        DamagedError, before anything is removed."""
        parts = self._parts
        ledger = await parts.kernel.run(parts.disk.take_up, parts.datapath.generation)
        self._incarnation, self._saved = ledger.incarnation, ledger
        found = await self._parts.kernel.run(self._sort, ledger)
        self._attached = {one.attachment.endpoint: one for one in found}
        self._settled = self._incarnation
        return ledger

    def _sort(self, ledger: Ledger) -> list[Attached]:
        datapath = self._parts.datapath
        present = []
        for one in ledger.attached:
            if datapath.is_attached(one.attachment):
                present.append(one)
                self._lead(one)
            else:
                log.warning("an attachment is gone", endpoint=one.attachment.endpoint)
                datapath.detach_endpoint(one.attachment, one.addresses)
        self._remove_strays(present)
        return present

    def _lead(self, one: Attached) -> None:
        """Its routes, where a removal that was killed had begun with them."""
        try:
            self._parts.datapath.lead(one.addresses)
        except OSError as error:
            log.warning("a route is not made", endpoint=one.attachment.endpoint, error=str(error))

    def _remove_strays(self, present: Sequence[Attached]) -> None:
        """What an agent that was killed half-way left behind; nothing leads there."""
        instance, datapath = self._parts.config.instance, self._parts.datapath
        numbers = {one.attachment.number for one in present}
        links = {self._parts.link(number) for number in numbers}
        paths = {datapath.netns_path(one.attachment.endpoint).name for one in present}
        pair = {instance, peer_name(instance)}
        strays = [d.name for d in ownership.own_devices(instance) if d.name not in links | pair]
        for name in strays:
            ownership.delete_device(instance, name)
        for number in set(datapath.attached_numbers()) - numbers:
            hooks.unhook(instance, f"endpoint-{number:x}")
        namespaces_left = [name for name in ownership.own_namespaces(instance) if name not in paths]
        for name in namespaces_left:
            ownership.remove_namespace(instance, name)
        ownership.remove_etc(instance, paths)
        routes = datapath.forget_routes(address for one in present for address in one.addresses)
        if strays or namespaces_left or routes:
            found = {"links": strays, "namespaces": namespaces_left, "routes": list(map(str, routes))}
            log.warning("strays are removed", **found)

    def all(self) -> tuple[Attached, ...]:
        """Everyone who is attached."""
        return tuple(self._attached.values())

    def incarnations(self) -> sweep.Attached:
        """Whose flows are of use; of endpoints that are being attached nothing is said."""
        there = frozenset(one.attachment.incarnation for one in self._attached.values())
        return sweep.Attached(there, self._settled)

    def has(self, one: Attached) -> bool:
        """True while it is attached, and not another one of its name."""
        return self._attached.get(one.attachment.endpoint) is one

    async def add(self, endpoints: Sequence[Endpoint]) -> tuple[Attached, ...]:
        """Attach these, closed; all of them or none. Raises TooBigError, AgentError."""
        capacity = self._parts.config.capacity.endpoints - 1
        if len(self._attached) + len(endpoints) > capacity:
            raise TooBigError("endpoints", len(self._attached) + len(endpoints), capacity, ())
        used = {one.attachment.number for one in self._attached.values()}
        free = (number for number in range(1, capacity + 1) if number not in used)
        added: list[Attached] = []
        self.tally.begin("attaching endpoints", len(endpoints))
        for endpoint in endpoints:
            self._incarnation += 1
            try:
                one = await self._parts.kernel.run(self._attach, endpoint, next(free), self._incarnation)
            except OSError as error:
                await self.remove([found.attachment.endpoint for found in added])
                raise AgentError(f"{endpoint.key} cannot be attached: {error}") from error
            faults.passing(Point.ATTACHED)
            self._attached[endpoint.key] = one
            added.append(one)
            self.tally.step()
        self.tally.end()
        self._settled = self._incarnation
        return tuple(added)

    async def check(self, endpoints: Sequence[Endpoint]) -> None:
        """Refuse those whose names or kept addresses the machine has otherwise. Raises InputError."""
        if endpoints:
            await self._parts.kernel.run(self._check, endpoints)

    def _check(self, endpoints: Sequence[Endpoint]) -> None:
        config = self._parts.config
        ownership.check_namespaces(config.instance, [self._namespace(found.key) for found in endpoints])
        kept = kept_addresses(endpoints, config.pod_ranges)
        if kept:
            try:
                check_overlap(config.instance, list(map(host_block, kept)))
            except InputError as error:
                raise InputError(at_endpoints(error.findings, endpoints)) from None

    def _attach(self, endpoint: Endpoint, number: int, incarnation: int) -> Attached:
        parts = self._parts
        attachment = parts.datapath.attach_endpoint(endpoint.key, number, incarnation, endpoint.addresses)
        servers = tuple(map(format_address, parts.config.dns_addresses))
        content = resolv_conf(endpoint.namespace, servers)
        ownership.write_resolv_conf(parts.config.instance, self._namespace(endpoint.key), content)
        return Attached(attachment, endpoint.addresses)

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove links and namespaces; the tables must not lead there any more."""
        going = tuple(keys)
        self.tally.begin("removing endpoints", len(going))
        for key in going:
            one = self._attached.pop(key, None)
            if one is not None:
                await self._parts.kernel.run(self._detach, one)
            self.tally.step()
        self.tally.end()

    def _detach(self, one: Attached) -> None:
        self._parts.datapath.detach_endpoint(one.attachment, one.addresses)
        instance, name = self._parts.config.instance, self._namespace(one.attachment.endpoint)
        ownership.remove_resolv_conf(instance, name)

    def _namespace(self, endpoint: str) -> str:
        return Path(self._parts.namespace(endpoint)).name

    async def save(self, generation: int) -> None:
        """Let the disk know who is attached and which numbers are used or reserved, unless it does."""
        ledger = Ledger(self.all(), self._incarnation, generation)
        if ledger != self._saved:
            await self._parts.kernel.run(self._parts.disk.save_ledger, ledger)
            self._saved = ledger

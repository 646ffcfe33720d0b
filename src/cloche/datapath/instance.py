"""One instance's datapath, as the agent holds it: everything it asks of the kernel goes through here.

All calls act in the network namespace of the calling thread and block for milliseconds; one thread at a
time. Refusals of the kernel are OSError with the operation named; what the machine lacks is MachineError.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cloche.config import Loader
from cloche.datapath import adoption, devices, faults, hooks, host, loader, namespaces, ownership, prefixes
from cloche.datapath.events import Counter, EventReader, read_counters, read_flows, read_reasons
from cloche.datapath.faults import Point
from cloche.datapath.host import Change
from cloche.datapath.inspect import Inspector
from cloche.datapath.layout import CONFIG_OFFSETS, CONFIG_SIZE, Config, Flow, FlowKey
from cloche.datapath.links import Hook
from cloche.datapath.readback import read_back, read_endpoints, read_services
from cloche.datapath.reconcile import CHUNK, Step, Writer
from cloche.datapath.second import Second
from cloche.datapath.settings import Settings, make_config
from cloche.datapath.sweep import Sweeper
from cloche.model.address import Address, Block
from cloche.model.reasons import Reason
from cloche.model.topology import DEFAULT_MTU, Attachment
from cloche.tables.schema import Capacity, EndpointEntry, Tables, Write

_STACK, _MARK = "stack", "mark"
_WHOLE = 128
"""The length of a block that is one address, of either family."""


class Datapath:
    """Maps, programs, links and devices of one instance. ``adopted``: its maps were there before."""

    def __init__(self, instance: str, loaded: loader.Loaded) -> None:
        self.instance = instance
        self.capacity: Capacity = loaded.capacity
        self.adopted: bool = loaded.adopted
        self._maps, self._programs = loaded.maps, loaded.programs
        self._writer = Writer(loaded.maps)
        if loaded.adopted:
            self._writer.settle(read_services(loaded.maps))
        self._config = loaded.maps.config.mapped()
        self._ranges: tuple[Block, ...] = ()
        self._reader: EventReader | None = None

    @classmethod
    def open(
        cls,
        instance: str,
        capacity: Capacity,
        object_path: Path = loader.OBJECT,
        how: Loader = Loader.AUTO,
    ) -> Datapath:
        """Adopt what is pinned, with the capacity it has, else load and pin.

        Raises MachineError naming the missing feature and since which kernel it exists, or the
        verifier's words.
        """
        return cls(instance, adoption.open_instance(instance, capacity, object_path, how))

    def prepare_host(self, ranges: Sequence[Block]) -> tuple[Change, ...]:
        """Make the instance's pair with its programs and lead ``ranges`` into it; also after a restart.

        Nothing is checked: see ``check_overlap``. What was changed on the machine is returned.
        """
        self._ranges = tuple(ranges)
        stack = host.make_pair(self.instance)
        peer = devices.find(host.peer_name(self.instance))
        if peer is None or not ownership.is_own(self.instance, peer):
            raise OSError(f"{host.peer_name(self.instance)} is gone; remove the instance and start again")
        hooks.hook(self.instance, _STACK, self._programs.from_stack, peer.ifindex)
        hooks.hook(self.instance, _MARK, self._programs.mark_host, stack.ifindex, Hook.EGRESS)
        return host.open_stack(self.instance, ranges)

    def attach_uplinks(self, names: Sequence[str] | None = None) -> list[str]:
        """Put ``from_uplink`` on these devices (None: those ``host.uplinks`` finds), off all others."""
        wanted = {name: devices.find(name) for name in (host.uplinks() if names is None else names)}
        present = {f"uplink-{found.ifindex}": found for found in wanted.values() if found is not None}
        for name in hooks.hook_names(self.instance):
            if name.startswith("uplink-") and name not in present:
                hooks.unhook(self.instance, name)
        for name, device in present.items():
            hooks.hook(self.instance, name, self._programs.from_uplink, device.ifindex)
        return sorted(device.name for device in present.values())

    def configure(self, settings: Settings) -> bool:
        """Write the configuration entry, after ``prepare_host``; False when it was so already. Generation
        and hash key stay; a new instance's hash key is random."""
        old = self.config()
        key = old.hash_key if any(old.hash_key) else (secrets.randbits(64), secrets.randbits(64))
        config = make_config(settings, host.make_pair(self.instance), key, old.generation)
        after = CONFIG_OFFSETS["clock_ns"]
        altered = bytes(self._config[after:CONFIG_SIZE]) != config.pack()[after:]
        if altered:
            self._config[after:CONFIG_SIZE] = config.pack()[after:]
        return altered

    def config(self) -> Config:
        """The configuration entry."""
        return Config.unpack(bytes(self._config[:CONFIG_SIZE]))

    @property
    def generation(self) -> int:
        """The active generation, 0: none yet, everything is denied."""
        return self.config().generation

    def netns_path(self, endpoint: str) -> Path:
        """Where the network namespace of an endpoint (``namespace/name``) is."""
        return namespaces.netns_path(namespaces.netns_name(self.instance, endpoint))

    def attach_endpoint(
        self,
        endpoint: str,
        number: int,
        incarnation: int,
        addresses: Sequence[Address],
        mtu: int = DEFAULT_MTU,
    ) -> Attachment:
        """A namespace with its device, closed: the program is on it before it is up.

        What a half-made earlier try left under this number or name is made anew; what strangers made is
        left alone, and OSError. The endpoint passes packets when the tables say that it is open. ``mtu``: of
        its link; ValueError for an impossible one.
        """
        name, netns = host.endpoint_device(self.instance, number), self.netns_path(endpoint).name
        macs = devices.Macs(b"\x02\xc1" + incarnation.to_bytes(4), b"\x06\xc1" + incarnation.to_bytes(4))
        self._forget(number, netns)
        group = ownership.device_group(self.instance)
        try:
            ownership.create_namespace(self.instance, netns)
            faults.passing(Point.NAMESPACE_MADE)
            ifindex = devices.create_endpoint_pair(name, netns, macs, mtu, group)
            faults.passing(Point.DEVICE_MADE)
            hooks.hook(self.instance, _endpoint_hook(number), self._programs.from_endpoint, ifindex)
            faults.passing(Point.HOOKED)
            devices.furnish(netns, addresses)
            faults.passing(Point.FURNISHED)
            devices.set_up(name)
            faults.passing(Point.DEVICE_UP)
            self.lead(addresses)
        except OSError:
            self._forget(number, netns)
            raise
        return Attachment(endpoint, number, incarnation, ifindex, macs.container, macs.host, mtu)

    def lead(self, addresses: Sequence[Address]) -> None:
        """Lead an endpoint's addresses outside the ranges into the instance's pair; nothing where they do.

        FileExistsError when somebody else leads one elsewhere.
        """
        for block in self._outside(addresses):
            devices.add_route(block, self.instance)

    def detach_endpoint(self, attachment: Attachment, addresses: Sequence[Address] = ()) -> None:
        """Remove an endpoint's device, link and namespace; nothing when they are gone.

        ``addresses``: those it was attached with. The tables must have closed it before.
        """
        for block in self._outside(addresses):
            devices.delete_route(block, self.instance)
        faults.passing(Point.UNROUTED)
        self._forget(attachment.number, self.netns_path(attachment.endpoint).name)

    def is_attached(self, attachment: Attachment) -> bool:
        """True when device, link and namespace of the attachment are there."""
        device = devices.find(host.endpoint_device(self.instance, attachment.number))
        return (
            device is not None
            and device.ifindex == attachment.ifindex
            and hooks.hooked(self.instance, _endpoint_hook(attachment.number), device.ifindex)
            and self.netns_path(attachment.endpoint).exists()
        )

    def attached_numbers(self) -> list[int]:
        """The numbers that have a pinned link, with or without an attachment on disk, sorted."""
        found = (
            name.removeprefix("endpoint-") for name in hooks.hook_names(self.instance) if "endpoint-" in name
        )
        return sorted(int(number, 16) for number in found)

    def _outside(self, addresses: Sequence[Address]) -> list[Block]:
        blocks = (Block(address, _WHOLE) for address in addresses)
        return [block for block in blocks if not any(r.covers(block) for r in self._ranges)]

    def forget_routes(self, kept: Iterable[Address]) -> list[Block]:
        """Remove routes to single addresses that ``attach_endpoint`` made for endpoints which nobody knows
        any more; ``kept`` are the addresses of all others. Those that were removed."""
        there = (block for block in devices.blocks_to(self.instance) if block.length == _WHOLE)
        strays = sorted(set(there) - set(self._outside(tuple(kept))) - set(self._ranges), key=str)
        for block in strays:
            devices.delete_route(block, self.instance)
        return strays

    def _forget(self, number: int, netns: str) -> None:
        if ownership.delete_device(self.instance, host.endpoint_device(self.instance, number)):
            faults.passing(Point.DEVICE_DELETED)
        if hooks.unhook(self.instance, _endpoint_hook(number)):
            faults.passing(Point.UNHOOKED)
        ownership.remove_namespace(self.instance, netns)

    def write(self, writes: Iterable[Write], chunk: int = CHUNK) -> Iterator[Step]:
        """Apply ordered writes; see ``reconcile.Writer.apply``. The iterator has to be run to its end."""
        return self._writer.apply(writes, chunk)

    def read_back(self) -> Tables:
        """What the maps hold; ``rules`` is not in them."""
        return read_back(self._maps)

    def entries(self) -> dict[int, EndpointEntry]:
        """The endpoints as the maps hold them, by number."""
        return read_endpoints(self._maps)

    def events(self) -> EventReader:
        """The one reader of the ring buffer."""
        if self._reader is None:
            self._reader = EventReader(self._maps.events.fd)
        return self._reader

    def counters(self) -> dict[int, Counter]:
        """New flows allowed and denied, by counter index; zero ones left out."""
        return read_counters(self._maps.counters)

    def reasons(self) -> dict[Reason, int]:
        """Packets denied by reason; ``Reason.NONE``: passed."""
        return read_reasons(self._maps.reasons)

    def flows(self) -> Iterator[tuple[FlowKey, Flow]]:
        """The flow table's entries, expired ones too."""
        return read_flows(self._maps.flows)

    def sweeper(self) -> Sweeper:
        """What removes expired flows."""
        return Sweeper(self._maps.flows)

    def inspector(self, settings: Settings) -> Inspector:
        """What looks after devices, programs, pins, routes and rules; after ``prepare_host``."""

        def prepare() -> None:
            self.prepare_host(self._ranges)
            self.configure(settings)

        return Inspector(self.instance, (self._maps, self._programs), self._ranges, prepare)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Of each hash map: how many entries it has, and how many fit."""
        names = ("addresses", "services", "members", "links", "flows", "affinity", "fragments")
        maps = self._maps._asdict()
        found = {name: (sum(1 for _ in maps[name].items()), maps[name].info.max_entries) for name in names}
        return found | {"prefixes": prefixes.usage(self._maps)}

    def second(self) -> Second:
        """A second instance of the program, which judges by another generation and leaves no trace."""
        return Second(self._maps)

    def close(self) -> None:
        """Let go of the handles; what is pinned goes on working."""
        if self._reader is not None:
            self._reader.close()
        with suppress(BufferError):
            self._config.release()
        self._maps.close()
        self._programs.close()


def _endpoint_hook(number: int) -> str:
    return f"endpoint-{number:x}"

"""Looks whether an instance's devices, programs, pins, routes and rules are as they were made; mends them.

Only what is the instance's own is put right. A device of an endpoint that is gone is told, not mended: its
endpoint has to be closed and made again by whoever knows the tables.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from cloche.config import Loader
from cloche.datapath import bpf, devices, hooks, host, links, nft
from cloche.datapath.links import Hook
from cloche.datapath.namespaces import netns_name, netns_path
from cloche.datapath.pins import Maps, Programs, pin_directory
from cloche.errors import MachineError
from cloche.model.address import Block
from cloche.model.topology import Attachment

_SIOCGIFFLAGS, _UP = 0x8913, 1
_SYSCTLS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


class Seen(NamedTuple):
    """What was found, in words, and whether the endpoint is lost (its link cannot be mended)."""

    what: str
    lost: bool = False


class Inspector:
    """Looks after one instance, in the network namespace of the calling thread; all calls block.

    ``prepare`` makes the instance's pair and all that belongs to it, as often as it is called.
    """

    def __init__(
        self,
        instance: str,
        loaded: tuple[Maps, Programs],
        ranges: Sequence[Block],
        prepare: Callable[[], None],
    ) -> None:
        self._instance, (self._maps, self._programs) = instance, loaded
        self._ranges, self._prepare = tuple(ranges), prepare
        self._ids = {fd: bpf.program_info(fd).id for fd in self._programs}
        self._table = self._nft()

    def _nft(self) -> str:
        try:
            return nft.listing(self._instance)
        except MachineError:
            return ""

    def endpoint(self, attachment: Attachment) -> list[Seen]:
        """What was wrong with an endpoint's device, program and namespace."""
        name = host.endpoint_device(self._instance, attachment.number)
        if _index(name) != attachment.ifindex:
            return [Seen(f"{attachment.endpoint}: its device {name} was removed", lost=True)]
        path = netns_path(netns_name(self._instance, attachment.endpoint))
        if not os.path.exists(path):
            return [Seen(f"{attachment.endpoint}: its network namespace {path.name} was removed", lost=True)]
        found = []
        hook = f"endpoint-{attachment.number:x}"
        program = self._programs.from_endpoint
        said = self._mend_hook(hook, program, attachment.ifindex, Hook.INGRESS)
        if said:
            found.append(Seen(f"{attachment.endpoint}: {said} on {name}"))
        if not is_up(name):
            devices.set_up(name)
            found.append(Seen(f"{attachment.endpoint}: its device {name} was set down"))
        return found

    def pair(self) -> list[Seen]:
        """The instance's own pair and the programs on it, and on the uplinks."""
        stack, peer = _index(self._instance), _index(host.peer_name(self._instance))
        if not stack or not peer:
            self._prepare()
            return [Seen(f"the instance's pair {self._instance} was removed")]
        wanted = [
            ("stack", self._programs.from_stack, peer, Hook.INGRESS),
            ("mark", self._programs.mark_host, stack, Hook.EGRESS),
        ]
        for name in hooks.hook_names(self._instance):
            if name.startswith("uplink-"):
                ifindex = int(name.removeprefix("uplink-"))
                if _exists(ifindex):
                    wanted.append((name, self._programs.from_uplink, ifindex, Hook.INGRESS))
        said = [
            (name, self._mend_hook(name, program, ifindex, where)) for name, program, ifindex, where in wanted
        ]
        found = [Seen(f"{name}: {text}") for name, text in said if text]
        for name in (self._instance, host.peer_name(self._instance)):
            if not is_up(name):
                self._prepare()
                found.append(Seen(f"the device {name} was set down"))
        return found

    def _mend_hook(self, name: str, program: int, ifindex: int, where: Hook) -> str:
        """Put a program back where it belongs; what was wrong, empty when nothing was."""
        if hooks.loader_of(self._instance) is Loader.CLSACT:
            return self._mend_filter(name, program, ifindex, where)
        path = pin_directory(self._instance) / "links" / name
        if not path.exists():
            hooks.hook(self._instance, name, program, ifindex, where)
            return "the pin of the program's link was removed"
        fd = bpf.get_pinned(str(path))
        try:
            info = links.info(fd)
            if info.ifindex == ifindex and info.program_id == self._ids[program]:
                return ""
            if info.ifindex == ifindex:
                links.replace_program(fd, program)
                return f"the link ran another program (id {info.program_id})"
        finally:
            os.close(fd)
        hooks.hook(self._instance, name, program, ifindex, where)
        return "the program was detached"

    def _mend_filter(self, name: str, program: int, ifindex: int, where: Hook) -> str:
        """The same on kernels without TCX, where nothing holds a filter on its device. Of one that is there
        its name is believed."""
        if hooks.hooked(self._instance, name, ifindex):
            return ""
        hooks.hook(self._instance, name, program, ifindex, where)
        return "the program's filter was removed"

    def routes(self, blocks: Iterable[Block] = ()) -> list[Seen]:
        """The routes of the ranges, and of these blocks, into the instance's pair."""
        there = devices.blocks_to(self._instance)
        found = []
        for block in (*self._ranges, *(b for b in blocks if not any(r.covers(b) for r in self._ranges))):
            if block not in there:
                devices.add_route(block, self._instance)
                found.append(Seen(f"the route to {block} was removed"))
        return found

    def settings(self) -> list[Seen]:
        """Forwarding, and the nftables table."""
        found = []
        for name in _SYSCTLS:
            old = devices.set_sysctl(name, "1")
            if old != "1":
                found.append(Seen(f"the sysctl {name} was set to {old}"))
        if self._table and self._nft() != self._table:
            nft.masquerade(self._instance)
            found.append(Seen(f"the nftables table {nft.table_name(self._instance)} was altered"))
        return found

    def pins(self) -> list[Seen]:
        """The pins by which the next agent finds maps and programs."""
        found = []
        for kind, name, fd, number in self._pinned():
            path = pin_directory(self._instance) / kind / name
            if path.exists():
                there = bpf.get_pinned(str(path))
                try:
                    if _id(there) == number:
                        continue
                finally:
                    os.close(there)
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            bpf.pin(fd, str(path))
            found.append(Seen(f"the pin of the {kind.removesuffix('s')} {name} was removed or replaced"))
        return found

    def _pinned(self) -> Iterator[tuple[str, str, int, int]]:
        for name, handle in self._maps._asdict().items():
            yield "maps", name, handle.fd, handle.info.id
        for name, fd in self._programs._asdict().items():
            yield "programs", name, fd, self._ids[fd]


def _id(fd: int) -> int:
    """The kernel's id of a map or program: both informations have it in the same place."""
    return int(struct.unpack_from("<I", bpf.info_bytes(fd), 4)[0])


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True


def is_up(name: str) -> bool:
    """True when the device is set up (netdevice(7), SIOCGIFFLAGS); False when there is none."""
    request = struct.pack("16sH14x", name.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, request)
        except OSError:
            return False
    return bool(struct.unpack_from("H", answer, 16)[0] & _UP)

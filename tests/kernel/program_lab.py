"""A small world in the maps and crafted frames into the program: what tests of the program share.

Endpoints A (1), B (2) and C (3) are open, D (4) is closed; each has a class of its number and both
families. Nothing has policy until ``isolate``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import frames
from cloche.datapath import namespaces
from cloche.datapath.devices import netlink
from cloche.datapath.layout import EndpointState
from cloche.datapath.settings import Settings, StackDevice
from cloche.datapath.testrun import Engine, Result
from cloche.model.address import Address, is_ipv4, parse_address, parse_block
from cloche.model.flow import SECOND, Delivery, Verdict
from cloche.model.policy import Direction
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6
from cloche.tables import schema
from cloche.tables.schema import (
    AddressEntry,
    AddressFlag,
    AddressKey,
    Cell,
    EndpointEntry,
    Flip,
    Put,
    settled,
)
from frames import Link, ethernet

NETWORK = 1
OUTSIDE_CLASS, OUTSIDE6_CLASS, UNKNOWN_CLASS, HOST_CLASS = 10, 11, 12, 13
OTHER_ATOM, WEB_ATOM, ALT_ATOM, CLIENT_ATOM = 1, 2, 3, 4
WEB, ALT, CLIENT = 80, 8080, 40000
HOST4, HOST6 = "192.168.7.1", "fd00:7::1"
OUTSIDE4, OUTSIDE6 = "198.51.100.9", "2001:db8::9"
SERVICE4, SERVICE6 = "10.96.0.10", "fd00:96::a"
NOBODY4, NOBODY6 = "10.244.9.9", "fd00:244::9:9"
STACK = StackDevice(77, bytes.fromhex("020000007777"))
STACK_PEER_MAC = bytes.fromhex("020000008888")
QUOTA, REGION = 64, 4096
ALLOW, DENY = Verdict.ALLOW, Verdict.DENY


class Pod(NamedTuple):
    """One endpoint of the lab and the device it is on."""

    number: int
    ifindex: int
    mac: bytes
    gateway_mac: bytes
    four: Address
    six: Address

    def address(self, ipv6: bool) -> Address:
        """Its address of a family."""
        return self.six if ipv6 else self.four


def make_pod(number: int, ifindex: int) -> Pod:
    """The endpoint of a number."""
    four, six = parse_address(f"10.244.0.{10 + number}"), parse_address(f"fd00:244::{10 + number}")
    return Pod(number, ifindex, bytes([2, 0, 0, 0, 1, number]), bytes([2, 0, 0, 0, 2, number]), four, six)


class Lab:
    """The program with the lab's tables. ``now`` is its clock in ns; frames are sent by the methods."""

    def __init__(self, engine: Engine, devices: list[int]) -> None:
        self.engine = engine
        self.devices = devices
        self.a, self.b, self.c, self.d = (make_pod(n, devices[n]) for n in range(1, 5))
        self.generation = 1
        self.sets = 0
        self.wait(1000)
        engine.configure(Settings(), STACK)
        engine.write(self._tables())
        self.flip()

    now = 0

    # --- tables ---

    def _tables(self) -> list[schema.Write]:
        writes: list[schema.Write] = [
            *(self._endpoint(pod) for pod in (self.a, self.b, self.c)),
            self._endpoint(self.d, state=EndpointState.CLOSED),
        ]
        for pod in (self.a, self.b, self.c, self.d):
            writes.append(Put("links", pod.ifindex, pod.number))
            for address in (pod.four, pod.six):
                writes.append(self.address(address, pod.number, pod.number))
        for pair, flag in (
            ((GATEWAY4, GATEWAY6), AddressFlag.GATEWAY),
            ((HAIRPIN4, HAIRPIN6), AddressFlag.HAIRPIN),
        ):
            writes += [self.address(address, flags=flag) for address in pair]
        for text in (HOST4, HOST6):
            writes.append(self.address(parse_address(text), class_=HOST_CLASS, flags=AddressFlag.HOST))
        for text in (SERVICE4, SERVICE6):
            writes.append(self.address(parse_address(text), flags=AddressFlag.SERVICE))
        blocks = (
            ("0.0.0.0/0", OUTSIDE_CLASS, 0),
            ("::/0", OUTSIDE6_CLASS, 0),
            ("10.244.0.0/16", UNKNOWN_CLASS, 1),
            ("fd00:244::/64", UNKNOWN_CLASS, 1),
        )
        for text, class_, ours in blocks:
            key = schema.PrefixKey(NETWORK, parse_block(text))
            writes.append(Put("prefixes", key, schema.PrefixEntry(settled(class_), ours)))
        writes.append(Put("atoms", (0, schema.ATOMS_SIZE - 1), settled(OTHER_ATOM).pack()))
        for slot in (schema.SLOT_TCP, schema.SLOT_UDP, schema.SLOT_SCTP):
            for port, atom in ((WEB, WEB_ATOM), (ALT, ALT_ATOM), (CLIENT, CLIENT_ATOM)):
                writes.append(Put("atoms", (slot << 16 | port, slot << 16 | port), settled(atom).pack()))
        return writes

    @staticmethod
    def address(address: Address, endpoint: int = 0, class_: int = 0, flags: int = 0) -> Put:
        """One entry of addresses."""
        return Put(
            "addresses", AddressKey(NETWORK, address), AddressEntry(settled(class_), endpoint, int(flags))
        )

    def _endpoint(
        self,
        pod: Pod,
        sets: tuple[int, int] = (0, 0),
        state: EndpointState = EndpointState.OPEN,
        incarnation: int = 0,
        quota: int = QUOTA,
        mtu: int = 0,
    ) -> Put:
        entry = EndpointEntry(
            egress=settled(sets[0]),
            ingress=settled(sets[1]),
            state=int(state),
            ifindex=pod.ifindex,
            network=NETWORK,
            incarnation=incarnation or 100 + pod.number,
            mac=pod.mac,
            gateway_mac=pod.gateway_mac,
            flags=0,
            address4=pod.four,
            address6=pod.six,
            slot_first=pod.number * REGION,
            slot_count=quota,
            mtu=mtu,
        )
        return Put("endpoints", pod.number, entry)

    def put_endpoint(self, pod: Pod, **changes: object) -> None:
        """Write an endpoint's entry anew: its ``sets``, ``state``, ``incarnation``, ``quota`` or ``mtu``."""
        self.engine.write([self._endpoint(pod, **changes)])  # type: ignore[arg-type]

    def isolate(
        self, pod: Pod, direction: Direction, cells: Mapping[tuple[int, int], Cell], flags: int = 0
    ) -> int:
        """A set of its own for the pod: cells by (class, atom), all others deny by default. Its number."""
        self.sets += 1
        number, other = self.sets, Cell(DENY)
        writes: list[schema.Write] = [Put("sets", number, schema.SetEntry(number * 16, 16, flags))]
        for class_ in range(1, 16):
            row = number * 16 + class_
            values = tuple(cells.get((class_, atom), other).pack() for atom in range(16))
            writes.append(Put("cells", (row, 0), values))
            writes.append(Put("rows", (number, class_), settled(row)))
        self.engine.write(writes)
        pair = [0, 0]
        pair[int(direction)] = number
        self.put_endpoint(pod, sets=tuple(pair))
        return number

    def flip(self) -> None:
        """The next generation becomes active."""
        self.generation += 1
        self.engine.write([Flip(self.generation)])

    def wait(self, seconds: float) -> None:
        """Let the program's clock go on."""
        self.now += int(seconds * SECOND)
        self.engine.set_clock(self.now)

    # --- services ---

    def serve(self, port: int, protocol: int, backends: list[tuple[Address, int]], **more: int) -> None:
        """A service port on the lab's service address of the backends' family (``ipv6=1`` without any).

        ``number``, ``epoch``, ``affinity``: as in ``struct service``; ``first``: where the list begins.
        """
        ipv6 = bool(more.get("ipv6")) or any(not is_ipv4(address) for address, _ in backends)
        number, first = more.get("number", 5), more.get("first", 32)
        writes: list[schema.Write] = []
        for index, (address, to) in enumerate(backends):
            writes.append(Put("backends", first + index, schema.BackendEntry(address, to, number)))
            writes.append(Put("members", schema.MemberKey(number, address, to), 1))
        key = schema.ServiceKey(NETWORK, parse_address(SERVICE6 if ipv6 else SERVICE4), port, protocol)
        entry = schema.ServiceEntry(
            number, first, len(backends), more.get("epoch", 1), more.get("affinity", 0)
        )
        writes.append(Put("services", key, entry))
        self.engine.write(writes)

    # --- frames ---

    def send(self, pod: Pod, packet: bytes, link: Link | None = None, segment: int = 0) -> Result:
        """An IP packet from an endpoint; ``segment``: to be cut into that many bytes of payload each."""
        return self.send_frame(pod, ethernet(link or Link(pod.mac, pod.gateway_mac), packet), segment)

    def send_frame(self, pod: Pod, frame: bytes, segment: int = 0) -> Result:
        """Any frame on an endpoint's link."""
        return self.engine.run("from_endpoint", frame, pod.ifindex, segment=segment)

    def send_stack(self, packet: bytes, host: bool = False, segment: int = 0) -> Result:
        """An IP packet from the host's stack: of the host itself, or through it."""
        mark = self.engine.config().host_mark if host else 0
        frame = ethernet(Link(STACK.mac, STACK_PEER_MAC), packet)
        return self.engine.run("from_stack", frame, self.devices[0], mark, segment)

    def word(self, result: Result) -> str:
        """``a``..``d`` for an endpoint, ``stack``, ``back`` or ``pass``; else the denial's reason."""
        if result.verdict is not Verdict.ALLOW:
            return result.reason.shown
        if result.delivery is Delivery.ENDPOINT:
            return "-abcd"[result.endpoint]
        return result.delivery.name.lower()

    def word_of(self, pod: Pod, packet: bytes) -> str:
        """What becomes of an IP packet from an endpoint, in a word."""
        return self.word(self.send(pod, packet))

    def word_of_stack(self, packet: bytes, host: bool = False) -> str:
        """What becomes of an IP packet from the stack, in a word."""
        return self.word(self.send_stack(packet, host))


def delivered(result: Result, receiver: Pod) -> bytes:
    """The IP packet that an endpoint gets, its MACs checked on the way."""
    assert result.delivery is Delivery.ENDPOINT
    assert result.endpoint == receiver.number
    assert result.frame[:12] == receiver.mac + receiver.gateway_mac
    return frames.packet_of(result.frame)


def allows(*where: tuple[int, int], rule: int = 1) -> dict[tuple[int, int], Cell]:
    """Cells that allow by a rule."""
    return {pair: Cell(ALLOW, rule=rule) for pair in where}


def make_devices(count: int) -> tuple[int, list[int]]:
    """A namespace with ``count`` devices: an open descriptor, which keeps it, and their indexes."""
    with namespaces.private_namespace():
        with netlink() as route:
            for number in range(0, count, 2):
                route.link("add", ifname=f"lab{number}", kind="veth", peer={"ifname": f"lab{number + 1}"})
            found = [route.link_lookup(ifname=f"lab{number}")[0] for number in range(count)]
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), found


def at_once(work: Callable[[int], None], *numbers: int) -> None:
    """The work with each of these numbers, in processes of their own, at the same time."""
    children = []
    for number in numbers:
        child = os.fork()
        if child == 0:
            try:
                work(number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """The calling thread in the namespace of a descriptor, and back."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.enter(namespace)
        yield
    finally:
        namespaces.enter(before)
        os.close(before)

"""Histories of packets for tests of the tracker: a clock, a state that may change, and what was decided."""

from __future__ import annotations

from typing import Self

from policy_worlds import packet

from cloche.model.flow import SECOND, Decision, Packet, TcpFlag
from cloche.model.state import Delete, Object, Put, State
from cloche.model.topology import ICMP, ICMPV6, TCP, UDP, Backend, Endpoint
from cloche.model.tracker import OracleWorld, ServiceView, Tracker, choose_backend, step

GATEWAY, HAIRPIN = "169.254.1.1", "192.0.0.8"
SYN, ACK, FIN, RST = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.RST
HASH_KEY = (0x1122334455667788, 0x99AABBCCDDEEFF00)


def hashed(asked: Packet, view: ServiceView) -> Backend:
    """The backend by the program's hash."""
    return view.backends[choose_backend(HASH_KEY, asked, len(view.backends))]


class History:
    """Packets sent one after another through the reference tracker."""

    def __init__(self, state: State, generation: int = 1) -> None:
        self.state = state
        self.generation = generation
        self.tracker = Tracker()
        self.now = 1000 * SECOND
        self.choice = hashed

    def send(self, one: Packet) -> Decision:
        """What becomes of the packet, now."""
        decision, self.tracker = step(self.world(), self.tracker, one, self.now)
        return decision

    def world(self) -> OracleWorld:
        """The oracle as it stands now."""
        return OracleWorld(self.state, self.generation, self.choice)

    def word(self, one: Packet) -> str:
        """``allow``, or the reason of the denial."""
        decision = self.send(one)
        return decision.reason.shown if decision.reason else decision.verdict.name.lower()

    def words(self, *packets: Packet) -> list[str]:
        """One word for each packet."""
        return [self.word(one) for one in packets]

    def wait(self, seconds: float) -> Self:
        """Let time pass."""
        self.now += int(seconds * SECOND)
        return self

    def flip(self, *objects: Object, gone: tuple[tuple[str, str], ...] = ()) -> Self:
        """A new generation with these objects put and those deleted."""
        self.change(*objects, gone=gone)
        self.generation += 1
        return self

    def change(self, *objects: Object, gone: tuple[tuple[str, str], ...] = ()) -> Self:
        """Objects put and deleted without a new generation, as services are."""
        for thing in objects:
            self.state.apply(Put(thing))
        for kind, key in gone:
            self.state.apply(Delete(kind, key))
        return self


def tcp(
    source: str | Endpoint,
    destination: str | Endpoint,
    flags: int,
    to: int = 80,
    by: int = 40000,
    **more: object,
) -> Packet:
    """A TCP packet with these flags."""
    return packet(source, destination, to, protocol=TCP, tcp_flags=int(flags), source_port=by, **more)


def udp(
    source: str | Endpoint, destination: str | Endpoint, to: int = 53, by: int = 40000, **more: object
) -> Packet:
    """A UDP packet."""
    return packet(source, destination, to, protocol=UDP, source_port=by, **more)


def icmp(
    source: str | Endpoint,
    destination: str | Endpoint,
    kind: int,
    code: int = 0,
    identifier: int = 7,
    **more: object,
) -> Packet:
    """An ICMP packet, or an ICMPv6 one with ``ipv6=True``."""
    protocol = ICMPV6 if more.get("ipv6") else ICMP
    return packet(
        source,
        destination,
        identifier,
        protocol=protocol,
        icmp=kind << 8 | code,
        source_port=identifier,
        **more,
    )

"""Generated worlds in the real program: compiled, written, asked. ``tests/worlds.py`` makes them.

Compared are the oracle over the model, the look-up in the compiled tables and the program's answer, each time
for a packet that has no flow yet.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from program_histories import frame_of as plain_frame
from program_lab import STACK, STACK_PEER_MAC

from cloche.compiler import Compiler
from cloche.datapath.settings import Settings
from cloche.datapath.testrun import SMALL, Engine, Result
from cloche.model.address import is_ipv4
from cloche.model.flow import SECOND, Decision, Entry, Packet, Verdict
from cloche.model.state import Event, Put, State
from cloche.model.topology import ICMP, ICMPV6, SCTP, TCP, UDP, Attachment, Backend, Host, Network
from cloche.model.tracker import OracleWorld, ServiceView, Tracker, choose_backend, step
from cloche.tables.lookup import TablesWorld
from cloche.tables.schema import Write
from frames import Flow, Link, ethernet, icmp
from worlds import HERE

NOW = 1000 * SECOND
SYN = 2
DEVICES = 7
"""One for the stack and one for each endpoint's name."""

Told = tuple[object, ...]


def attached_to(devices: list[int], batches: Iterable[list[Event]]) -> list[list[Event]]:
    """The history with its endpoints on real devices, each under its number."""

    def placed(event: Event) -> Event:
        if isinstance(event, Put) and isinstance(event.object, Attachment):
            number = event.object.number
            return Put(msgspec.structs.replace(event.object, ifindex=devices[number]))
        return event

    return [[placed(event) for event in batch] for batch in batches]


def on_one_ground(batches: Iterable[list[Event]]) -> list[list[Event]]:
    """The history with host and network as they are at first: their changes are not part of a flip."""
    return [
        [e for e in batch if first or not (isinstance(e, Put) and isinstance(e.object, Network | Host))]
        for first, batch in zip([True, *[False] * 99], batches, strict=False)
    ]


ICMP_APART = {ICMP: (3, 4, 5, 11, 12), ICMPV6: (1, 2, 3, 4, *range(133, 138))}
"""Errors, which need a packet to quote, and neighbour discovery, which is not policy's."""


def can_be_sent(packet: Packet) -> bool:
    """False for what the other family's ICMP would be, and for ICMP that is not judged as itself."""
    ours = ICMP if is_ipv4(packet.source) else ICMPV6
    if packet.protocol in (ICMP, ICMPV6):
        return packet.protocol == ours and packet.icmp >> 8 not in ICMP_APART[ours]
    return True


def frame_of(packet: Packet) -> bytes:
    """The IP packet; of ICMP any kind, its identifier zero."""
    if packet.is_icmp:
        return icmp(Flow(packet.source, packet.destination), packet.icmp >> 8, packet.icmp & 0xFF, bytes(8))
    return plain_frame(packet)


def opening(packet: Packet, port: int) -> Packet:
    """The packet as one that opens a flow of its own."""
    if packet.protocol not in (TCP, UDP, SCTP):
        return packet
    return msgspec.structs.replace(packet, source_port=port, tcp_flags=SYN if packet.protocol == TCP else 0)


class ProgramWorld:
    """One host: the model, its compiler, and the program with what the compiler wrote."""

    def __init__(self, engine: Engine, devices: list[int]) -> None:
        self.engine, self.devices = engine, devices
        engine.configure(Settings(), STACK)
        engine.set_clock(NOW)
        self.hash_key = engine.config().hash_key
        self.compiler, self.state = Compiler(HERE, SMALL), State()

    def plan(self, batch: list[Event]) -> tuple[Write, ...]:
        """Take a batch in; what is to be written."""
        writes = self.compiler.update(batch).writes
        for event in batch:
            self.state.apply(event)
        return writes

    def become(self, batch: list[Event]) -> None:
        """Take a batch in and write what it comes to."""
        self.engine.write(self.plan(batch))

    def ask(self, packet: Packet) -> Result:
        """The program's answer, of which it remembers nothing."""
        frame = frame_of(packet)
        if packet.entry is Entry.ENDPOINT:
            at = self.state.attachments[packet.sender]
            result = self.engine.run(
                "from_endpoint", ethernet(Link(at.mac, at.gateway_mac), frame), at.ifindex
            )
        else:
            mark = self.engine.config().host_mark if packet.entry is Entry.HOST else 0
            frame = ethernet(Link(STACK.mac, STACK_PEER_MAC), frame)
            result = self.engine.run("from_stack", frame, self.devices[0], mark)
        self.engine.forget("flows", "fragments", "affinity")
        return result

    def answers(self, packet: Packet) -> tuple[Told, Told, Told]:
        """What oracle, tables and program say: verdict, reason, direction, delivery, receiver, backend."""
        names = {found.number: found.endpoint for found in self.state.attachments.values()}
        tables = TablesWorld(self.compiler.tables, names, self.hash_key)
        oracle = OracleWorld(self.state, tables.generation, self._choice)
        expected, _ = step(oracle, Tracker(), packet, NOW)
        looked_up, _ = step(tables, Tracker(), packet, NOW)
        result = self.ask(packet)
        receiver = names.get(result.endpoint, "")
        backend = None if result.backend is None else self.compiler.tables.backends[result.backend][:2]
        chosen = backend if result.verdict is Verdict.ALLOW else None
        told = (result.verdict, result.reason, result.direction, result.delivery, receiver, chosen)
        return shown(expected), shown(looked_up), told

    def _choice(self, asked: Packet, view: ServiceView) -> Backend:
        members = sorted(view.backends)
        return members[choose_backend(self.hash_key, asked, len(members))]


def shown(decision: Decision) -> Told:
    """What is compared of a tracker's decision."""
    backend = decision.backend if decision.verdict is Verdict.ALLOW else None
    chosen = backend and (backend.address, backend.port)
    return (
        *(decision.verdict, decision.reason, decision.deciding),
        *(decision.delivery, decision.endpoint, chosen),
    )


def told(result: Result) -> Told:
    """What is compared of two of the program's answers."""
    return (result.verdict, result.reason, result.direction, result.delivery, result.endpoint, result.backend)

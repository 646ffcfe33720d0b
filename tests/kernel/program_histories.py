"""Random histories of packets in the lab: the program beside the reference tracker, judged alike.

The tracker's world is what the maps hold, read back; so only flows, services, fragments, errors, order and
delivery are compared here, not policy. Everything follows from a seed.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import msgspec
from program_lab import (
    ALT,
    CLIENT,
    HOST4,
    HOST6,
    NOBODY4,
    NOBODY6,
    OUTSIDE4,
    OUTSIDE6,
    SERVICE4,
    SERVICE6,
    WEB,
    Lab,
    Pod,
)

from cloche.datapath.layout import EndpointState
from cloche.datapath.testrun import Result
from cloche.model.address import is_ipv4, parse_address
from cloche.model.flow import Decision, Delivery, Entry, Fragment, Packet, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6
from cloche.model.tracker import Tracker, step
from cloche.tables.lookup import TablesWorld
from cloche.tables.schema import Cell, MemberKey, Remove, RuleOrigin
from frames import (
    FRAGMENT,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Flow,
    IpOptions,
    checksum_errors,
    echo,
    icmp,
    ip,
    packet_of,
    raw,
    sctp,
    split,
    tcp,
    udp,
)

NAMES = {1: "a", 2: "b", 3: "c", 4: "d"}
GRE = 47
FLAGS = (2, 2, 2, 18, 16, 16, 16, 24, 17, 1, 4, 20, 0, 3, 6)
"""TCP flags as tried: SYN, SYN+ACK, ACK, ..., and some that no stack sends."""
PORTS = (WEB, WEB, WEB, ALT, CLIENT, CLIENT, CLIENT, 1)
OTHERS = tuple(
    (parse_address(four), parse_address(six))
    for four, six in ((HOST4, HOST6), (OUTSIDE4, OUTSIDE6), (NOBODY4, NOBODY6), (SERVICE4, SERVICE6))
)
SERVICES = OTHERS[3]
RESERVED = ((GATEWAY4, GATEWAY6), (HAIRPIN4, HAIRPIN6))
ERRORS = {True: (3, 4, 5, 11, 12), False: (1, 2, 3, 4)}
QUOTED = 100
TCP_PAYLOAD = b"tcp"
TTLS = (64,) * 12 + (255, 128, 2, 2, 1, 1, 1, 0)
MTUS = (0, 0, 1500, 43, 48, 62, 70)
"""Links as they seldom are, so that packets of these histories, 36 to 150 bytes long, meet them."""


class Sent(NamedTuple):
    """A packet that passed: as it left, and the key of the endpoint it was delivered to, or ""."""

    packet: Packet
    receiver: str


def frame_of(packet: Packet) -> bytes:
    """The IP packet that a model's packet stands for."""
    part = packet.fragment
    whole = _whole(packet)
    if part is None:
        return whole
    source, destination, protocol, payload = split(whole)
    body = payload if part.offset == 0 else bytes(part.length)
    body = (body + bytes(part.length))[: part.length]
    extra = IpOptions(packet.ttl, part.id, part.offset, part.more)
    if not part.more and part.offset == 0 and not is_ipv4(source):
        header = (FRAGMENT, bytes(3) + part.id.to_bytes(4, "big"))
        extra = IpOptions(packet.ttl, extensions=(header,))
    return ip(source, destination, protocol, body, extra)


def _whole(packet: Packet) -> bytes:
    flow = Flow(packet.source, packet.destination, packet.source_port, packet.destination_port)
    extra = IpOptions(packet.ttl)
    if packet.protocol == TCP:
        return tcp(flow, packet.tcp_flags, TCP_PAYLOAD, extra=extra)
    if packet.protocol == UDP:
        return udp(flow, extra=extra)
    if packet.protocol == SCTP:
        return sctp(flow, extra=extra)
    if packet.is_icmp and packet.quoted is not None:
        kind, code = packet.icmp >> 8, packet.icmp & 255
        return icmp(flow, kind, code, bytes(4) + frame_of(packet.quoted)[:QUOTED], extra)
    if packet.is_icmp:
        return echo(flow, packet.source_port, packet.icmp >> 8 in (0, 129), extra)
    return ip(packet.source, packet.destination, packet.protocol, bytes(24), extra)


class History:
    """One history: ``run`` sends packets and changes the world in between, comparing every answer."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.draw = lab, Random(seed)
        self.tracker = Tracker()
        self.passed: list[Sent] = []
        self.epoch = 0
        self.members: set[MemberKey] = set()
        self.states = dict.fromkeys((1, 2, 3), EndpointState.OPEN)
        self.states[4] = EndpointState.CLOSED
        self.sets = dict.fromkeys(range(1, 5), (0, 0))
        self.pending: list[Packet] = []
        self.mtus = dict.fromkeys(range(1, 5), 0)
        self.incarnations = {number: 100 + number for number in range(1, 5)}
        self._change_policy()

    @property
    def pods(self) -> tuple[Pod, ...]:
        """All four."""
        return self.lab.a, self.lab.b, self.lab.c, self.lab.d

    # --- the world ---

    def _refresh(self) -> None:
        tables = self.lab.engine.tables()
        origin = RuleOrigin("policy", Direction.INGRESS, 0)
        tables.rules = dict.fromkeys(range(1, 128), (origin,) * 16)
        key = self.lab.engine.config().hash_key
        self.world = TablesWorld(tables, NAMES, (key[0], key[1]))

    def _write_pod(self, pod: Pod) -> None:
        number = pod.number
        self.lab.put_endpoint(
            pod,
            sets=self.sets[number],
            state=self.states[number],
            incarnation=self.incarnations[number],
            quota=4096,
            mtu=self.mtus[number],
        )

    def _change_policy(self) -> None:
        """New sets for some pods, and usually a flip."""
        for pod in self.pods:
            if self.draw.random() < 0.5:
                self.sets[pod.number] = (self._draw_set(pod, 0), self._draw_set(pod, 1))
            self._write_pod(pod)
        if self.draw.random() < 0.8:
            self.lab.flip()
        self._refresh()

    def _draw_set(self, pod: Pod, direction: int) -> int:
        if self.draw.random() < 0.4 or self.lab.sets > 120:
            return 0
        choices = (Cell(Verdict.ALLOW, rule=1), Cell(Verdict.ALLOW, rule=2), Cell(Verdict.DENY, rule=3))
        cells = {
            (class_, atom): self.draw.choice((*choices, Cell(Verdict.DENY)))
            for class_ in range(1, 16)
            for atom in range(16)
        }
        return self.lab.isolate(pod, Direction(direction), cells)

    def _change_services(self) -> None:
        """Another list of backends behind some ports."""
        self.epoch += 1
        pools = {False: [], True: []}  # type: dict[bool, list[tuple[Address, int]]]
        for pod in self.pods:
            for port in (WEB, ALT):
                pools[True].append((pod.four, port))
                pools[False].append((pod.six, port))
        pools[True].append((OTHERS[1][0], WEB))
        for number, (four, port, protocol) in enumerate(
            ((True, WEB, TCP), (False, WEB, TCP), (True, WEB, UDP), (True, ALT, TCP), (False, WEB, UDP)), 1
        ):
            if self.draw.random() < 0.3:
                continue
            chosen = self.draw.sample(pools[four], self.draw.choice((0, 1, 2, 3)))
            now = {MemberKey(number, address, to) for address, to in chosen}
            stale = {key for key in self.members if key.service == number} - now
            self.lab.engine.write([Remove("members", key) for key in stale])
            self.members = self.members - stale | now
            first = number * 64 + self.epoch % 2 * 32
            affinity = self.draw.choice((0, 60))
            more = {"number": number, "first": first, "epoch": self.epoch, "affinity": affinity}
            self.lab.serve(port, protocol, chosen, ipv6=int(not four), **more)
        self._refresh()

    def _change_endpoint(self) -> None:
        """One closes, opens, has another link, or is another by now."""
        pod = self.draw.choice(self.pods)
        if self.draw.random() < 0.4:
            self.mtus[pod.number] = self.draw.choice(MTUS)
        elif self.draw.random() < 0.5:
            self.states[pod.number] = self.draw.choice((EndpointState.OPEN, EndpointState.CLOSED))
        else:
            self.incarnations[pod.number] += 10
        self._write_pod(pod)
        self._refresh()

    # --- packets ---

    def _begin_many(self) -> None:
        """First parts of many datagrams, from one sender: more than are followed at a time."""
        entry = self.draw.choice((Entry.ENDPOINT, Entry.STACK))
        pod, ipv4 = self.draw.choice(self.pods), self.draw.random() < 0.5
        source = pod.address(not ipv4) if entry is Entry.ENDPOINT else OTHERS[1][not ipv4]
        name = NAMES[pod.number] if entry is Entry.ENDPOINT else ""
        for identity in range(100, 100 + self.draw.choice((6, 18, 24))):
            to = self.draw.choice(self.pods[:3]).address(not ipv4)
            part = Fragment(identity, 0, 24, True)
            self.pending.append(Packet(source, to, UDP, CLIENT, WEB, entry, name, fragment=part))

    def _draw_packet(self) -> Packet:
        if self.pending:
            return self.pending.pop()
        if self.passed and self.draw.random() < 0.6:
            return self._related()
        ipv4 = self.draw.random() < 0.5
        entry = self.draw.choices(list(Entry), (8, 1, 2))[0]
        pod = self.draw.choices(self.pods, (6, 6, 3, 1))[0]
        own = pod.four if ipv4 else pod.six
        places = [each.address(not ipv4) for each in self.pods] + [pair[not ipv4] for pair in OTHERS]
        places += [SERVICES[not ipv4]] * 5
        rare = [pair[not ipv4] for pair in RESERVED]
        destination = self.draw.choice(places if self.draw.random() < 0.95 else rare)
        source = own
        if entry is not Entry.ENDPOINT:
            source = OTHERS[0 if entry is Entry.HOST else 1][not ipv4]
        if self.draw.random() < 0.04:
            source = self.draw.choice(places + rare)
        return self._with_protocol(
            Packet(
                source,
                destination,
                0,
                self.draw.choice(PORTS),
                self.draw.choice(PORTS),
                entry,
                NAMES[pod.number] if entry is Entry.ENDPOINT else "",
            )
        )

    def _with_protocol(self, packet: Packet) -> Packet:
        protocol = self.draw.choices((TCP, UDP, SCTP, ICMP, GRE), (10, 5, 1, 2, 1))[0]
        changes: dict[str, object] = {"protocol": protocol}
        if protocol == TCP:
            changes["tcp_flags"] = self.draw.choice(FLAGS)
        if protocol == GRE:
            changes |= {"source_port": 0, "destination_port": 0}
        if protocol == ICMP:
            ipv4, identifier, reply = (
                is_ipv4(packet.source),
                self.draw.choice((7, 8)),
                self.draw.random() < 0.3,
            )
            kind = (8, 0)[reply] if ipv4 else (128, 129)[reply]
            changes |= {"protocol": ICMP if ipv4 else ICMPV6, "icmp": kind << 8}
            changes |= {"source_port": identifier, "destination_port": identifier}
        packet = msgspec.structs.replace(packet, **changes)
        return self._fragmented(packet) if self.draw.random() < 0.08 else packet

    def _fragmented(self, packet: Packet) -> Packet:
        offset = self.draw.choice((0, 0, 24, 24, 32, 40, 48))
        length = self.draw.choice((8, 24, 24, 16, 13))
        more = self.draw.random() < 0.7 or (offset == 0 and length < 24)
        part = Fragment(self.draw.choice((1, 2)), offset, length, more)
        changes: dict[str, object] = {"fragment": part}
        if offset:
            changes |= {"source_port": 0, "destination_port": 0, "tcp_flags": 0, "icmp": 0}
        return msgspec.structs.replace(packet, **changes)

    def _related(self) -> Packet:
        """An answer to, a repetition of, or an error about something that passed lately."""
        seen = self.draw.choice(self.passed[-12:])
        kind = self.draw.random()
        if kind < 0.25:
            return self._error(seen)
        packet = seen.packet
        changes: dict[str, object] = {}
        if packet.protocol == TCP:
            changes["tcp_flags"] = self.draw.choice(FLAGS)
        if kind < 0.75 and packet.fragment is None:
            changes |= {
                "source": packet.destination,
                "destination": packet.source,
                "source_port": packet.destination_port,
                "destination_port": packet.source_port,
                "entry": Entry.ENDPOINT if seen.receiver else self.draw.choice((Entry.HOST, Entry.STACK)),
                "sender": seen.receiver,
            }
            if packet.is_icmp and packet.quoted is None:
                changes["icmp"] = (0 if is_ipv4(packet.source) else 129) << 8
        return msgspec.structs.replace(packet, **changes)

    def _error(self, seen: Sent) -> Packet:
        """Of who got a packet, about it; sometimes of or to somebody else, or about its reverse."""
        quoted = seen.packet
        if quoted.quoted is not None:
            quoted = quoted.quoted
        ipv4 = is_ipv4(quoted.source)
        source, destination = quoted.destination, quoted.source
        if self.draw.random() < 0.1:
            source = OTHERS[1][not ipv4]
        if self.draw.random() < 0.1:
            destination = self.draw.choice(self.pods).address(not ipv4)
        if self.draw.random() < 0.1:
            quoted = msgspec.structs.replace(quoted, destination_port=quoted.destination_port ^ 1)
        if quoted.is_icmp:
            same = {"source_port": quoted.source_port, "destination_port": quoted.source_port}
            quoted = msgspec.structs.replace(quoted, **same)
        entry = Entry.ENDPOINT if seen.receiver else Entry.STACK
        code = self.draw.choice(ERRORS[ipv4]) << 8 | self.draw.choice((0, 1, 3))
        protocol = ICMP if ipv4 else ICMPV6
        return Packet(source, destination, protocol, 0, 0, entry, seen.receiver, icmp=code, quoted=quoted)

    def _sized(self, packet: Packet) -> tuple[Packet, int]:
        """The packet with hops and its length; sometimes one that will be cut, and into how much each."""
        packet = msgspec.structs.replace(packet, ttl=self.draw.choice(TTLS))
        length, segment = len(frame_of(packet)), 0
        if packet.protocol == TCP and packet.fragment is None and self.draw.random() < 0.2:
            segment = self.draw.choice((1, 2))
            length += segment - len(TCP_PAYLOAD)
        return msgspec.structs.replace(packet, length=length), segment

    # --- comparing ---

    def run(self, count: int) -> None:
        """Send ``count`` packets; AssertionError at the first different answer."""
        for number in range(count):
            chance = self.draw.random()
            if chance < 0.04:
                self._change_policy()
            elif chance < 0.08:
                self._change_services()
            elif chance < 0.10:
                self._change_endpoint()
            elif chance < 0.11:
                self._begin_many()
            elif chance < 0.25:
                self.lab.wait(self.draw.choice((0.001, 1, 1, 5, 29, 30, 31, 61, 181, 601)))
            packet, segment = self._sized(self._draw_packet())
            decision, self.tracker = step(self.world, self.tracker, packet, self.lab.now)
            result = self._send(packet, segment)
            difference = compare(decision, result, packet)
            assert not difference, f"packet {number}: {difference}\n{packet}\n{decision}\n{result}"
            if decision.verdict is Verdict.ALLOW and decision.delivery in (1, 2):
                self._remember(packet, decision)

    def _remember(self, packet: Packet, decision: Decision) -> None:
        left = msgspec.structs.replace(
            packet,
            source=decision.source,
            destination=decision.destination,
            source_port=decision.source_port,
            destination_port=decision.destination_port,
        )
        self.passed.append(Sent(left, decision.endpoint))
        if decision.source != packet.source or decision.destination != packet.destination:
            sender = packet.sender  # what the client wrote may be answered in its own words
            self.passed.append(Sent(packet, sender))

    def _send(self, packet: Packet, segment: int) -> Result:
        frame = frame_of(packet)
        if packet.entry is Entry.ENDPOINT:
            pod = {NAMES[pod.number]: pod for pod in self.pods}[packet.sender]
            return self.lab.send(pod, frame, segment=segment)
        return self.lab.send_stack(frame, packet.entry is Entry.HOST, segment)


def compare(decision: Decision, result: Result, packet: Packet) -> str:
    """What the two answers differ in, "" when in nothing."""
    if (decision.verdict, decision.reason) != (result.verdict, result.reason):
        return f"{decision.reason.shown} against the program's {result.reason.shown}"
    if decision.delivery != result.delivery:
        return f"{decision.delivery!r} against the program's {result.delivery!r}"
    if decision.reason is not Reason.UNKNOWN_CLASS and decision.deciding != result.direction:
        return f"{decision.deciding!r} against the program's {result.direction!r}"
    if decision.reason in (Reason.TTL, Reason.TOO_BIG) and decision.delivery is Delivery.BACK:
        return _compare_answers(decision.reason, packet_of(result.frame), packet)
    if decision.verdict is not Verdict.ALLOW or decision.delivery not in (1, 2):
        return ""
    if decision.endpoint != NAMES.get(result.endpoint, ""):
        return f"{decision.endpoint} against the program's {result.endpoint}"
    return _compare_frames(decision, packet_of(result.frame), packet)


def _compare_answers(reason: Reason, answer: bytes, packet: Packet) -> str:
    ipv4 = is_ipv4(packet.source)
    heads = {Reason.TTL: ((11, 0), (3, 0)), Reason.TOO_BIG: ((3, 4), (2, 0))}
    sender = (GATEWAY6, GATEWAY4)[ipv4] if packet.entry is Entry.ENDPOINT else packet.destination
    source, destination, _, upper = split(answer)
    if (source, destination) != (sender, packet.source):
        return f"answered from {raw(source).hex()} to {raw(destination).hex()}"
    if tuple(upper[:2]) != heads[reason][not ipv4]:
        return f"answered by type and code {tuple(upper[:2])}"
    if upper[8:] != frame_of(packet)[: len(upper) - 8] or checksum_errors(answer):
        return f"the answer quotes {upper[8:].hex()}, wrong are {checksum_errors(answer)}"
    return ""


def _compare_frames(decision: Decision, left: bytes, packet: Packet) -> str:
    source, destination, protocol, upper = split(left)
    if (source, destination) != (decision.source, decision.destination):
        return f"leaves from {raw(source).hex()} to {raw(destination).hex()}"
    hops = left[8 if is_ipv4(source) else 7]
    if hops != decision.ttl:
        return f"leaves with {hops} hops left"
    whole = packet.fragment is None or packet.fragment.offset == 0
    if protocol in (TCP, UDP, SCTP) and whole:
        ports = int.from_bytes(upper[:2], "big"), int.from_bytes(upper[2:4], "big")
        if ports != (decision.source_port, decision.destination_port):
            return f"leaves with ports {ports}"
    if packet.fragment is None and checksum_errors(left):
        return f"wrong checksums: {checksum_errors(left)}"
    return ""

"""Flows: what becomes of a routed packet after those before it (docs/design/packets.md, "Flows")."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cloche.model.flow import Age, Decision, Entry, Packet, TcpFlag, Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import TCP, UDP
from cloche.model.tracker.decisions import denied
from cloche.model.tracker.entries import Flow, Side, Tracker, having
from cloche.model.tracker.routes import Route, deliver, is_plain_syn
from cloche.model.tracker.world import PlaceKind, World


class Carried(NamedTuple):
    """What became of a packet: its decision, the tracker, its flow where it has one, opened by it or not."""

    decision: Decision
    tracker: Tracker
    flow: Flow | None = None
    opened: bool = False


def carry(world: World, tracker: Tracker, route: Route, now_ns: int) -> Carried:
    """Pass or deny one routed packet."""
    flow = tracker.flow(route.key, now_ns)
    if (
        flow is not None
        and flow.front is not None
        and route.front is None
        and flow.front.side != route.sender
    ):
        return Carried(denied(route.on_wire, Reason.TRANSLATION_CLASH), tracker)
    again = is_plain_syn(route.judged) and not (
        flow is not None and flow.opener == route.sender and flow.age is Age.TCP_OPENING
    )
    if flow is not None and not again:
        return _go_on(world, tracker, route, flow, now_ns)
    to = world.place(route.judged.network, route.judged.destination)
    if to.kind is PlaceKind.HAIRPIN:
        return Carried(denied(route.judged, Reason.UNKNOWN_DESTINATION), tracker)
    return _open(world, tracker, route, now_ns)


# --- a new flow ---


def _open(world: World, tracker: Tracker, route: Route, now_ns: int) -> Carried:
    """A new flow, opened by the packet's sender; TCP in mid-connection also by its receiver."""
    packet = route.judged
    answer = world.judge(packet)
    by_receiver = False
    if answer.verdict is Verdict.DENY and packet.protocol == TCP and not packet.tcp_flags & TcpFlag.SYN:
        turned = world.judge(turn_round(world, packet))
        if turned.verdict is Verdict.ALLOW:
            answer, by_receiver = turned, True
    if answer.verdict is Verdict.DENY:
        return Carried(_named(denied(route.on_wire, answer.reason), answer), tracker)
    flow = _first_state(world, route, by_receiver, now_ns)
    decision = _named(deliver(world, route, flow), answer)
    if decision.verdict is Verdict.DENY or packet.tcp_flags & TcpFlag.RST:
        return Carried(decision, tracker)
    flows = having(tracker.flows, route.key, flow)
    return Carried(decision, msgspec.structs.replace(tracker, flows=flows), flow, opened=True)


def _named(decision: Decision, answer: Decision) -> Decision:
    return msgspec.structs.replace(
        decision,
        egress_rule=answer.egress_rule,
        ingress_rule=answer.ingress_rule,
        backend=decision.backend,
    )


def turn_round(world: World, packet: Packet) -> Packet:
    """The packet that the receiver would have sent to open the connection of this one."""
    return msgspec.structs.replace(
        packet,
        source=packet.destination,
        destination=packet.source,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        entry=receivers_entry(world, packet),
    )


def receivers_entry(world: World, packet: Packet) -> Entry:
    """How the receiver's packets come in."""
    kind = world.place(packet.network, packet.destination).kind
    return {PlaceKind.ENDPOINT: Entry.ENDPOINT, PlaceKind.HOST: Entry.HOST}.get(kind, Entry.STACK)


def _first_state(world: World, route: Route, by_receiver: bool, now_ns: int) -> Flow:
    packet = route.judged
    opener, receiver = route.sender, route.receiver
    entry = packet.entry
    if by_receiver:
        opener, receiver, entry = receiver, opener, receivers_entry(world, packet)
    return Flow(
        opener,
        receiver,
        packet.network,
        packet.protocol,
        world.generation,
        now_ns,
        _first_age(packet),
        entry=entry,
        stack=packet.entry is not Entry.ENDPOINT,
        icmp=packet.icmp,
        fins=(route.sender,) if packet.protocol == TCP and packet.tcp_flags & TcpFlag.FIN else (),
        front=route.front,
        hairpin=route.hairpin,
    )


def _first_age(packet: Packet) -> Age:
    if packet.protocol == TCP:
        if packet.tcp_flags & TcpFlag.SYN:
            return Age.TCP_OPENING
        return Age.TCP_CLOSING if packet.tcp_flags & TcpFlag.FIN else Age.TCP_OPEN
    return settled_age(packet)


def settled_age(packet: Packet) -> Age:
    """The state of a flow that is neither opening nor closing nor replied to."""
    if packet.is_icmp:
        return Age.ICMP
    return {TCP: Age.TCP_OPEN, UDP: Age.UDP}.get(packet.protocol, Age.OTHER)


# --- a live flow ---


def _go_on(world: World, tracker: Tracker, route: Route, flow: Flow, now_ns: int) -> Carried:
    """A packet of a live flow: judged again if the generation is newer, then its state moves on."""
    flow = judged_again(world, flow)
    if flow.action is Verdict.DENY:
        flow = msgspec.structs.replace(flow, seen_ns=now_ns)
        decision = denied(route.on_wire, flow.reason)
    else:
        decision = _delivered(world, route, flow)
        if decision.verdict is Verdict.DENY:
            return Carried(decision, tracker)
        flow = _moved_on(flow, route.sender, route.judged, now_ns)
    flows = having(tracker.flows, route.key, flow)
    return Carried(decision, msgspec.structs.replace(tracker, flows=flows), flow)


def judged_again(world: World, flow: Flow) -> Flow:
    """The flow as the active generation judges it, as its opener opened it."""
    if flow.generation == world.generation:
        return flow
    opening = opening_packet(flow)
    answer = world.judge(opening)
    age = flow.age
    if answer.verdict is Verdict.DENY:
        age = Age.CUT
    elif age is Age.CUT:
        age = settled_age(opening)
    return msgspec.structs.replace(
        flow, generation=world.generation, action=answer.verdict, reason=answer.reason, age=age
    )


def opening_packet(flow: Flow) -> Packet:
    """What policy was asked when the flow was opened; of a hairpin, the endpoint to itself."""
    source, destination = flow.opener.address, flow.receiver.address
    if flow.hairpin:
        assert flow.front is not None
        source = destination = flow.front.side.address
    return Packet(
        source,
        destination,
        flow.protocol,
        flow.opener.port,
        flow.receiver.port,
        flow.entry,
        icmp=flow.icmp,
        network=flow.network,
    )


def _delivered(world: World, route: Route, flow: Flow) -> Decision:
    """The delivery of an allowed packet; a reply gets its service's address back as source."""
    front = flow.front
    if front is None or front.side != route.sender:
        return deliver(world, route, flow)
    if flow.hairpin:  # turned back: the endpoint itself stands behind the hairpin address
        itself = route.receiver._replace(address=front.side.address)
        judged = msgspec.structs.replace(route.judged, destination=itself.address)
        route = route._replace(judged=judged, receiver=itself)
    decision = deliver(world, route, flow)
    if decision.verdict is Verdict.DENY:
        return decision
    return msgspec.structs.replace(decision, source=front.address, source_port=front.port)


def _moved_on(flow: Flow, sender: Side, packet: Packet, now_ns: int) -> Flow:
    """The flow after one more allowed packet."""
    seen = flow.seen_ns if flow.age is Age.TCP_CLOSING else now_ns
    by_opener = sender == flow.opener
    replied = flow.replied or not by_opener
    age, fins = flow.age, flow.fins
    if age is Age.UDP and not by_opener:
        age = Age.UDP_REPLIED
    if flow.protocol == TCP:
        flags = packet.tcp_flags
        opens = flags & TcpFlag.ACK and not flags & (TcpFlag.SYN | TcpFlag.RST)
        if age is Age.TCP_OPENING and by_opener and replied and opens:
            age = Age.TCP_OPEN
        if flags & TcpFlag.FIN:
            fins = tuple(sorted({*fins, sender}))
        if len(fins) == 2 or flags & TcpFlag.RST:
            age = Age.TCP_CLOSING
    return msgspec.structs.replace(flow, seen_ns=seen, age=age, fins=fins, replied=replied)

"""Kernel events and flow entries as people read them: names, ports and rules for numbers."""

from __future__ import annotations

import socket
import time

from cloche.agent.messages import FlowEvent, RuleReference, ShownFlow
from cloche.agent.naming import Directory
from cloche.datapath.layout import (
    FLOW_OPENED_BY_HIGH,
    FLOW_TRANSLATED,
    Event,
    EventKind,
    Flow,
    FlowKey,
)
from cloche.model.address import Address, format_address
from cloche.model.flow import Age, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import ICMP, ICMPV6, PROTOCOL_NAMES

DENIED_BY = {
    Reason.EGRESS_NOT_ALLOWED: Direction.EGRESS,
    Reason.EGRESS_DENIED: Direction.EGRESS,
    Reason.INGRESS_NOT_ALLOWED: Direction.INGRESS,
    Reason.INGRESS_DENIED: Direction.INGRESS,
}
NOBODY = bytes(16)
NS = 1_000_000_000


def unix_offset_ns() -> int:
    """What to add to the kernel's monotonic time to get Unix time, both in ns."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def port_text(protocol: int, port: int) -> str:
    """``80/tcp``, an ICMP type as ``8/icmp`` (``port`` is type << 8 | code), other protocols by number."""
    if protocol in (ICMP, ICMPV6):
        return f"{port >> 8}/{PROTOCOL_NAMES[protocol]}"
    return f"{port}/{PROTOCOL_NAMES.get(protocol, protocol)}"


def address_text(address: bytes) -> str:
    """The address, empty where the packet was not understood that far."""
    return "" if address == NOBODY else format_address(address)


def service_text(directory: Directory, address: bytes, port: int) -> str:
    """The service by name and port, its address when it has no name any more, empty without one."""
    if address == NOBODY:
        return ""
    name = directory.service(Address(address)) or format_address(address)
    return f"{name}:{port}"


def event_text(directory: Directory, event: Event, offset_ns: int) -> FlowEvent:
    """One kernel event, resolved by the model that is active now and the rules of its generation."""
    reason = Reason(event.reason)
    egress = _rule(directory, event, reason, Direction.EGRESS)
    ingress = _rule(directory, event, reason, Direction.INGRESS)
    return FlowEvent(
        time=(event.time_ns + offset_ns) / NS,
        kind=EventKind(event.kind).name.lower(),
        source=directory.endpoint(event.source_endpoint, Address(event.source)),
        source_address=address_text(event.source),
        source_port=event.source_port,
        destination=directory.endpoint(event.destination_endpoint, Address(event.destination)),
        destination_address=address_text(event.destination),
        port=port_text(event.protocol, event.destination_port) if event.source != NOBODY else "",
        verdict=Verdict(event.verdict).name.lower(),
        reason="" if reason is Reason.NONE else reason.shown,
        rule=egress if DENIED_BY.get(reason) is Direction.EGRESS else ingress or egress,
        egress_rule=egress,
        ingress_rule=ingress,
        service=service_text(directory, event.service_address, event.service_port),
        generation=event.generation,
        suppressed=event.suppressed,
        link=link_text(event.link),
    )


def link_text(ifindex: int) -> str:
    """The link's name; ``#7`` for one that is gone, empty for none."""
    if not ifindex:
        return ""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"#{ifindex}"


def is_coming_or_going(instance: str, event: FlowEvent) -> bool:
    """True for what came in on a link of the instance's own that is not in force, such as
    a new namespace's first neighbour discovery; whoever sends there is no endpoint yet or any more. Also for
    what a namespace's own stack says from IPv6's unspecified address, or while it is closed, before it has
    anything to say. The reasons' counters have it."""
    if event.reason in (Reason.CLOSED.shown, Reason.MARTIAN.shown):
        return not event.source_address
    if event.reason not in (Reason.UNKNOWN_LINK.shown, Reason.NO_GENERATION.shown):
        return False
    return event.link == instance or event.link.startswith((f"{instance}-", "#"))


def _rule(directory: Directory, event: Event, reason: Reason, direction: Direction) -> RuleReference | None:
    """The rule of one direction. Rule 0 (no rule matched) counts only where it denied."""
    number, local = (
        (event.egress_set, event.egress_rule)
        if direction is Direction.EGRESS
        else (event.ingress_set, event.ingress_rule)
    )
    if not local and DENIED_BY.get(reason) is not direction:
        return None
    return directory.rule(event.generation, number, local)


def flow_text(directory: Directory, key: FlowKey, flow: Flow, now_ns: int) -> ShownFlow:
    """One entry of the flow table, the opener as its source; ``now_ns`` is the kernel's time."""
    low, high = (Address(key.low), key.low_port), (Address(key.high), key.high_port)
    source, destination = (high, low) if flow.flags & FLOW_OPENED_BY_HIGH else (low, high)
    icmp = key.protocol in (ICMP, ICMPV6)
    service = flow.service_address if flow.flags & FLOW_TRANSLATED else NOBODY
    return ShownFlow(
        source=directory.by_address(source[0]),
        source_address=format_address(source[0]),
        source_port=source[1],
        destination=directory.by_address(destination[0]),
        destination_address=format_address(destination[0]),
        port=port_text(key.protocol, flow.icmp if icmp else destination[1]),
        state=Age(flow.age).name.lower().replace("_", "-"),
        action=Verdict(flow.action).name.lower(),
        reason=Reason(flow.reason).shown if flow.reason else "",
        generation=flow.generation,
        service=service_text(directory, service, flow.service_port),
        age_s=round((now_ns - flow.opened_ns) / NS, 1),
        idle_s=round((now_ns - flow.seen_ns) / NS, 1),
    )

"""Decisions about a packet as it stands, denied or passed."""

from __future__ import annotations

from cloche.model.flow import Decision, Delivery, Packet, TcpFlag, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import TCP, Backend

DIRECTIONS = {
    Reason.EGRESS_NOT_ALLOWED: Direction.EGRESS,
    Reason.EGRESS_DENIED: Direction.EGRESS,
    Reason.INGRESS_NOT_ALLOWED: Direction.INGRESS,
    Reason.INGRESS_DENIED: Direction.INGRESS,
}
"""The direction that denies for a reason; other reasons are of neither."""


def denied(packet: Packet, reason: Reason, delivery: Delivery = Delivery.NOWHERE) -> Decision:
    """A denial; ``delivery`` is BACK where it is answered."""
    return Decision(
        Verdict.DENY,
        reason,
        DIRECTIONS.get(reason),
        packet.source,
        packet.destination,
        packet.destination_port,
        source_port=packet.source_port,
        delivery=delivery,
    )


def refused(packet: Packet) -> Decision:
    """A service without backends refuses, and answers; a reset is never answered (RFC 9293, 3.5.2)."""
    is_reset = packet.protocol == TCP and packet.tcp_flags & TcpFlag.RST
    return denied(packet, Reason.NO_BACKEND, Delivery.NOWHERE if is_reset else Delivery.BACK)


def passed(
    packet: Packet, delivery: Delivery, endpoint: str = "", backend: Backend | None = None
) -> Decision:
    """An allowance; ``endpoint`` is the key of the endpoint delivered to."""
    return Decision(
        Verdict.ALLOW,
        Reason.NONE,
        None,
        packet.source,
        packet.destination,
        packet.destination_port,
        source_port=packet.source_port,
        delivery=delivery,
        endpoint=endpoint,
        backend=backend,
        ttl=packet.ttl,
    )

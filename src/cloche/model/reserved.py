"""Addresses that no endpoint or service may have: what no packet between hosts carries, and our own. Pure.

RFC 6890 (special-purpose addresses), as docs/design/packets.md, order 5, judges them.
"""

from __future__ import annotations

from cloche.model.address import Address, Block, format_address, parse_block
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6

NEVER_CARRIED = {
    parse_block("0.0.0.0/8"): "this network",
    parse_block("127.0.0.0/8"): "loopback",
    parse_block("169.254.0.0/16"): "link-local",
    parse_block("224.0.0.0/4"): "multicast",
    parse_block("240.0.0.0/4"): "class E and broadcast",
    parse_block("::/127"): "unspecified and loopback",
    parse_block("fe80::/10"): "link-local",
    parse_block("ff00::/8"): "multicast",
}
OURS = (GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6)
"""The gateway of every endpoint, and what an endpoint sees itself as behind a service."""


def range_problem(block: Block) -> str:
    """Why endpoints or services cannot have addresses of this block, or nothing."""
    for other, kind in NEVER_CARRIED.items():
        if block.covers(other) or other.covers(block):
            return f"overlaps {other} ({kind}), which no packet between pods may carry"
    for address in OURS:
        if block.contains(address):
            return f"holds {format_address(address)}, which the datapath keeps for itself"
    return ""


def address_problem(address: Address) -> str:
    """Why neither an endpoint nor a service can have this address, or nothing."""
    if any(block.contains(address) for block in NEVER_CARRIED):
        return f"{format_address(address)} is no unicast address that a packet may carry"
    if address in OURS:
        return f"{format_address(address)} is kept by the datapath for itself"
    return ""

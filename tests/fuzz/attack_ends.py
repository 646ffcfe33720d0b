"""Who and what the attacking frames name: addresses of every kind, ports, flags, random packets."""

from __future__ import annotations

from random import Random

from attack_site import EMPTY, FRONTS, HOSTS, KEYS, PEER_MAC, STACK, STRANGER, addresses, mac

from cloche.model.address import Address, parse_address
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6
from frames import PLAIN, Flow, IpOptions, Link, echo, ethernet, icmp, ip, raw, sctp, tcp, udp


def pairs(*texts: str) -> tuple[Address, ...]:
    """Addresses from their texts."""
    return tuple(map(parse_address, texts))


PODS = tuple(zip(*(addresses(number) for number in (1, 2, 3, 4, 9)), strict=True))
"""By family: the endpoints' addresses, the closed one's, and one's on another host."""
OTHERS = (
    (*pairs("10.244.9.9", "198.51.100.9", "10.244.0.255"), HOSTS[0], EMPTY[0]),
    (*pairs("fd00:244::9:9", "2001:db8::9"), HOSTS[1], EMPTY[1]),
)
ODD = (
    (
        *pairs("0.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.9.9", "224.0.0.1"),
        *pairs("239.255.255.255", "240.0.0.1", "255.255.255.254", "255.255.255.255", "0.0.0.1"),
        *(GATEWAY4, HAIRPIN4),
    ),
    (
        *pairs("::", "::1", "::2", "fe80::1", "fe80::2", "febf::1", "fec0::1", "ff02::1", "ff02::1:ff00:2"),
        *pairs("64:ff9b::a00:1", "::127.0.0.1"),
        *(GATEWAY6, HAIRPIN6),
    ),
)
"""By family: martians, multicast, broadcast, link-local, what is reserved, and neighbours of these."""
PORTS = (80, 80, 80, 8080, 53, 40000, 40000, 40001, 67, 547, 0, 65535)
FLAGS = (2, 2, 2, 18, 16, 16, 16, 24, 17, 1, 4, 20, 0, 3, 6, 63, 41, 194)
"""TCP flags as tried: SYN, SYN+ACK, ACK, ..., and what no stack sends (none, SYN+FIN, all)."""
SENDERS = (*KEYS[:3], *KEYS[:3], *KEYS[:3], *KEYS[:3], *KEYS[:3], KEYS[3], "stack", "stack", "host", STRANGER)


def sender_number(by: str) -> int:
    """The number of the endpoint that sends; 0 for the stack and the stranger."""
    return KEYS.index(by) + 1 if by in KEYS else 0


def link_of(by: str) -> Link:
    """The MACs that a sender's frames should have."""
    number = sender_number(by)
    if number:
        return Link(mac(number), bytes([2, 0, 0, 0, 2, number]))
    return Link(STACK.mac, PEER_MAC)


def own(draw: Random, by: str, six: int) -> Address:
    """The address that a sender has; through the stack, anybody's outside or the host's."""
    number = sender_number(by)
    if number:
        return addresses(number)[six]
    return HOSTS[six] if by == "host" else draw.choice(OTHERS[six][1:2] * 4 + PODS[six])


def someone(draw: Random, six: int) -> Address:
    """A destination: mostly an endpoint or a service."""
    kind = draw.random()
    if kind < 0.55:
        return draw.choice(PODS[six])
    if kind < 0.8:
        return FRONTS[six]
    return draw.choice(OTHERS[six] if kind < 0.97 else ODD[six])


def packet(draw: Random, flow: Flow, extra: IpOptions = PLAIN) -> bytes:
    """An IP packet of a random protocol between two ends."""
    kind = draw.random()
    if kind < 0.5:
        return tcp(flow, draw.choice(FLAGS), b"tcp" if draw.random() < 0.2 else b"", extra=extra)
    if kind < 0.75:
        return udp(flow, b"hello", extra=extra)
    if kind < 0.78:
        return sctp(flow, extra=extra)
    if kind < 0.81:
        request = 8 if len(raw(flow.source)) == 4 else 128
        return icmp(flow, request, draw.choice((0, 1, 3, 255)), bytes(24), extra)
    if kind < 0.93:
        return echo(flow, draw.choice((7, 8)), draw.random() < 0.4, extra)
    return ip(
        flow.source, flow.destination, draw.choice((47, 4, 41, 50, 51, 1, 58, 255, 59)), bytes(24), extra
    )


def ordinary(draw: Random) -> tuple[str, bytes]:
    """A well-formed packet from its rightful sender: who sends, and the IP packet."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    ports = draw.choice(PORTS[:8]), draw.choice(PORTS[:8])
    return by, packet(draw, Flow(own(draw, by, six), someone(draw, six), *ports))


def framed(by: str, inside: bytes) -> tuple[str, bytes]:
    """The IP packet in a frame of its sender's."""
    return by, ethernet(link_of(by), inside)

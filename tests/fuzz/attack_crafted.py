"""Frames made to fool: each function makes one kind of attack, ``CRAFTED`` lists them all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from attack_ends import FLAGS, ODD, PODS, PORTS, SENDERS, framed, link_of, own, packet, sender_number, someone
from attack_site import KEYS, UPLINK, addresses, mac

from cloche.model.address import Address
from cloche.model.topology import GATEWAY4, GATEWAY6
from frames import (
    ARP,
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    ROUTING,
    TCP,
    UDP,
    Arp,
    Flow,
    IpOptions,
    Link,
    advertisement,
    ethernet,
    icmp,
    ip,
    raw,
    solicitation,
    split,
    tcp,
    udp,
    unreachable,
)

Made = tuple[str, bytes]


def endpoint(draw: Random) -> str:
    """Mostly one of the open ones."""
    return draw.choice((*KEYS[:3], *KEYS))


def flow(draw: Random, by: str, six: int) -> Flow:
    """From the sender to someone."""
    return Flow(own(draw, by, six), someone(draw, six), draw.choice(PORTS), draw.choice(PORTS))


def spoofed_mac(draw: Random) -> Made:
    """Another's MAC, a broadcast one, or one bit off."""
    by = endpoint(draw)
    good = link_of(by)
    bad = draw.choice(
        (mac(1 + sender_number(by) % 3), b"\xff" * 6, bytes(6), bytes([good.source[0] ^ 1]) + good.source[1:])
    )
    return by, ethernet(Link(bad, good.destination), packet(draw, flow(draw, by, int(draw.random() < 0.5))))


def spoofed_address(draw: Random) -> Made:
    """From another's address, a martian, a multicast one, ..."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    false = draw.choice((*PODS[six], *ODD[six], someone(draw, six)))
    return framed(by, packet(draw, Flow(false, someone(draw, six), draw.choice(PORTS), draw.choice(PORTS))))


def odd_destination(draw: Random) -> Made:
    """To a martian, multicast, broadcast, link-local or reserved address, or to itself (land)."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    mine = own(draw, by, six)
    return framed(
        by, packet(draw, Flow(mine, draw.choice((*ODD[six], mine)), draw.choice(PORTS), draw.choice(PORTS)))
    )


def vlan(draw: Random) -> Made:
    """A tag, two tags, or another ethertype before a good packet."""
    by = draw.choice(SENDERS)
    _, frame = framed(by, packet(draw, flow(draw, by, 0)))
    tag = draw.choice((b"\x81\0\0\1", b"\x88\xa8\0\2\x81\0\0\3", b"\x91\0\0\0"))
    if draw.random() < 0.7:
        return by, frame[:12] + tag + frame[12:]
    kinds = (0x88CC, 0x8847, 0x8863, 0x0800 ^ 1, IPV6, ARP, 5, draw.getrandbits(16))
    return by, frame[:12] + draw.choice(kinds).to_bytes(2, "big") + frame[14:]


def arp(draw: Random) -> Made:
    """Questions and answers, one's own and spoofed, whole and cut short."""
    by = endpoint(draw)
    number = sender_number(by)
    sender = draw.choice((addresses(number)[0],) * 4 + (*PODS[0], *ODD[0][:1], GATEWAY4))
    target = draw.choice((GATEWAY4, someone(draw, 0), addresses(number)[0], draw.choice(ODD[0])))
    own_mac = mac(number) if draw.random() < 0.8 else mac(1 + number % 3)
    body = Arp(own_mac, sender, bytes(6), target, draw.choice((1, 1, 1, 2, 3, 0))).pack()
    if draw.random() < 0.2:
        at = draw.randrange(8)
        body = body[:at] + bytes([draw.getrandbits(8)]) + body[at + 1 :]
    if draw.random() < 0.2:
        body = body[: draw.randrange(29)]
    destination = draw.choice((b"\xff" * 6, link_of(by).destination))
    return by, ethernet(Link(link_of(by).source, destination), body + bytes(draw.choice((0, 0, 18))), ARP)


def neighbour_discovery(draw: Random) -> Made:
    """Solicitations, advertisements, router advertisements, redirects; own, spoofed and cut short."""
    by = draw.choice((endpoint(draw), endpoint(draw), "stack"))
    mine = own(draw, by, 1)
    source = draw.choice((mine, mine, mine, draw.choice(ODD[1]), draw.choice(PODS[1])))
    target: Address = draw.choice((GATEWAY6, someone(draw, 1), mine, draw.choice(ODD[1])))
    to = draw.choice((GATEWAY6, target, draw.choice(ODD[1])))
    ends, kind = Flow(source, to), draw.random()
    ttl = IpOptions(ttl=draw.choice((255, 255, 255, 254, 1)))
    if kind < 0.6:
        return framed(by, solicitation(ends, target, b"\1\1" + mac(1), ttl))
    if kind < 0.7:
        return framed(by, advertisement(ends, target, mac(1), draw.getrandbits(8)))
    rest = (
        bytes(4) + raw(target) + bytes(draw.choice((0, 16)))
        if kind < 0.85
        else bytes(draw.choice((4, 12, 19)))
    )
    return framed(by, icmp(ends, draw.choice((133, 134, 135, 135, 136, 137)), draw.choice((0, 1)), rest, ttl))


def options(draw: Random) -> Made:
    """IPv4 options: source routes, floods of them, sizes that do not hold."""
    by = draw.choice(SENDERS)
    kind, size = draw.random(), 4 * draw.randrange(1, 11)
    if kind < 0.3:
        route = bytes([draw.choice((131, 137)), 7, 4, 192, 0, 2, 1, 0])
        body = bytes([1] * draw.choice((0, 4, 8))) + route
    elif kind < 0.6:
        body = bytes(draw.choice((1, 0, 7, 68, 131, 148, 2, 3, 255)) for _ in range(size))
    elif kind < 0.8:
        body = (b"\x44\x04\x05\0" * 10)[:size]
    else:
        body = bytes([1] * size)
    return framed(by, packet(draw, flow(draw, by, 0), IpOptions(options=body)))


def extensions(draw: Random) -> Made:
    """Chains of IPv6 extension headers: long, in odd order, source routing, lengths that do not hold."""
    by = draw.choice(SENDERS)
    chain = []
    for _ in range(draw.choice((1, 1, 2, 2, 3, 5, 6, 7, 9))):
        kind = draw.choice((HOP_BY_HOP, DESTINATION_OPTIONS, DESTINATION_OPTIONS, ROUTING, FRAGMENT))
        if kind == FRAGMENT:
            word = draw.choice((0, 0, 0, 1, 8, 9, draw.getrandbits(16)))
            chain.append((kind, bytes(1) + struct.pack("!HI", word, draw.choice((1, 2)))))
            continue
        more = draw.choice((0, 0, 0, 1, 2))
        said = more if draw.random() < 0.93 else draw.getrandbits(8)
        left = draw.choice((0, 0, 0, 0, 1)) if kind == ROUTING else 4
        chain.append((kind, bytes([said, 1, left]) + bytes(4 + 8 * more)))
    return framed(by, packet(draw, flow(draw, by, 1), IpOptions(extensions=tuple(chain))))


def bad_lengths(draw: Random) -> Made:
    """Lengths, versions and header lengths that say too much or too little."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    inside = bytearray(packet(draw, flow(draw, by, six)))
    at = (draw.choice((0, 0, 2, 3)), draw.choice((0, 4, 5)))[six]
    inside[at] = draw.choice((0, 1, 19, 20, 21, 27, 28, 39, 0x44, 0x45, 0x46, 0x4F, 0x60, 0x65, 255))
    if draw.random() < 0.5:
        inside = inside[: draw.randrange(len(inside) + 1)]
    return framed(by, bytes(inside)) if inside else (by, ethernet(link_of(by), b"", (IPV4, IPV6)[six]))


def tiny_fragments(draw: Random) -> Made:
    """First parts too small for their header, later ones that overlap it, ends past 65535."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    source, destination, protocol, payload = split(packet(draw, flow(draw, by, six)))
    payload = (payload + bytes(64))[: draw.choice((0, 1, 8, 8, 12, 16, 16, 20, 24, 32, 40))]
    offset = draw.choice((0, 0, 0, 8, 8, 16, 24, 32, 65528, 8 * draw.randrange(8192)))
    more = draw.random() < 0.7
    where = destination if draw.random() < 0.5 else someone(draw, six)
    return framed(
        by, ip(source, where, protocol, payload, IpOptions(id=draw.choice((1, 2)), offset=offset, more=more))
    )


def stranger_error(draw: Random) -> Made:
    """An ICMP error that quotes what the two others say to each other."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    one, other = draw.sample(PODS[six], 2)
    quoted = packet(
        draw, Flow(one, draw.choice((other, someone(draw, six))), draw.choice(PORTS), draw.choice(PORTS))
    )
    if draw.random() < 0.3:
        quoted = quoted[: draw.randrange(len(quoted))]
    kind = draw.choice((1, 2, 3, 4) if six else (3, 4, 5, 11, 12))
    return framed(by, unreachable(Flow(own(draw, by, six), one), quoted, kind, draw.choice((0, 1, 4))))


def out_of_state(draw: Random) -> Made:
    """TCP flags that fit nothing that went before, header cut short or long."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    to = flow(draw, by, six)
    if draw.random() < 0.7:
        return framed(by, tcp(to, draw.choice(FLAGS), numbers=(draw.getrandbits(32), draw.getrandbits(32))))
    return framed(
        by, ip(to.source, to.destination, draw.choice((TCP, UDP, 132, 1, 58)), bytes(draw.randrange(24)))
    )


def servers(draw: Random) -> Made:
    """Who plays DHCP server, or speaks the other family's ICMP."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    to = flow(draw, by, six)
    if draw.random() < 0.6:
        return framed(by, udp(to._replace(source_port=draw.choice((67, 547, 68))), b"x"))
    return framed(by, ip(to.source, to.destination, (58, 1)[six], bytes([134, 0, 0, 0]) + bytes(20)))


def mapped(draw: Random) -> Made:
    """IPv6 with IPv4 addresses inside (::ffff:0:0/96) as either end, or as what is asked for."""
    by = draw.choice(SENDERS)
    inside = bytearray(packet(draw, flow(draw, by, 1)))
    at = draw.choice((8, 24))
    inside[at : at + 16] = bytes(10) + b"\xff\xff" + raw(draw.choice(PODS[0]))
    if draw.random() < 0.3:
        inside = bytearray(solicitation(flow(draw, by, 1), someone(draw, 1)))
        inside[48:64] = bytes(10) + b"\xff\xff" + raw(draw.choice(PODS[0]))
    return framed(by, bytes(inside))


def far_or_large(draw: Random) -> Made:
    """With few hops left, or about as large as a link takes, or larger."""
    by, six = draw.choice(SENDERS), int(draw.random() < 0.5)
    extra = IpOptions(ttl=draw.choice((0, 1, 2, 64, 255)), dont_fragment=draw.random() < 0.5)
    payload = bytes(draw.choice((0, 0, 1432, 1440, 1452, 1453, 1460, 1461, 1472, 1473, 1480, 1540)))
    to = flow(draw, by, six)
    return framed(
        by, tcp(to, 2, payload, extra=extra) if draw.random() < 0.5 else udp(to, payload, extra=extra)
    )


def outside(draw: Random) -> Made:
    """A neighbour host that speaks as somebody."""
    six = int(draw.random() < 0.5)
    source = draw.choice((*PODS[six], *ODD[six], someone(draw, six)))
    return framed(UPLINK, packet(draw, Flow(source, someone(draw, six))))


CRAFTED: tuple[Callable[[Random], Made], ...] = (
    spoofed_mac,
    spoofed_address,
    odd_destination,
    vlan,
    arp,
    neighbour_discovery,
    options,
    extensions,
    bad_lengths,
    tiny_fragments,
    tiny_fragments,
    stranger_error,
    out_of_state,
    servers,
    mapped,
    far_or_large,
    outside,
)

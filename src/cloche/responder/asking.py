"""What one try of a probe sends, and what it takes for an answer, protocol by protocol. No waiting here."""

from __future__ import annotations

import os
import re
import socket
import struct
from typing import NamedTuple

import dns.exception
import dns.message
import dns.rdataclass
import dns.rdatatype

from cloche.model.address import Address, format_address, is_ipv4
from cloche.model.topology import ICMP, ICMPV6, PROTOCOL_NAMES, SCTP, TCP, UDP
from cloche.responder.messages import Probe

DNS_PORT = 53
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST_6, ECHO_REPLY_6 = 128, 129
ECHO_HEAD = struct.Struct("!BBHHH")
SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
IP_BIND_ADDRESS_NO_PORT = 24
PAYLOAD = b"cloche-probe\n"
NAME = re.compile(rb"([a-z0-9.-]{1,253}/[a-z0-9.-]{1,253})\n")


class UnprobableError(Exception):
    """The probe cannot be asked; says why."""


class Question(NamedTuple):
    """One try: where to, what to send once connected, and how to know the answer."""

    protocol: int
    destination: tuple[str, int]
    payload: bytes
    identifier: int

    @property
    def stream(self) -> bool:
        """True where a connection comes first."""
        return self.protocol in (TCP, SCTP)

    def answered(self, data: bytes) -> str | None:
        """Who sent this: ``namespace/name`` or "" when it does not say; None when it is no answer to us."""
        if self.protocol in (ICMP, ICMPV6):
            return "" if self._is_echo(data) else None
        named = NAME.match(data)
        if named:
            return named.group(1).decode()
        return _dns_identity(data[2:] if self.stream else data) if self.destination[1] == DNS_PORT else ""

    def _is_echo(self, data: bytes) -> bool:
        if self.protocol == ICMP:  # a raw IPv4 socket gets the IP header too
            data = data[(data[0] & 15) * 4 :] if data else b""
        if len(data) < ECHO_HEAD.size:
            return False
        kind, _code, _sum, identifier, _sequence = ECHO_HEAD.unpack_from(data)
        expected = ECHO_REPLY if self.protocol == ICMP else ECHO_REPLY_6
        return (kind, identifier, data[ECHO_HEAD.size :]) == (
            expected,
            self.identifier,
            self.payload[ECHO_HEAD.size :],
        )


def _dns_identity(wire: bytes) -> str:
    try:
        answer = dns.message.from_wire(wire).answer
    except (dns.exception.DNSException, ValueError):
        return ""
    texts = [
        rdata.strings[0].decode(errors="replace") for rrset in answer for rdata in rrset if rrset.rdtype == 16
    ]
    return texts[0] if texts else ""


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _echo_request(protocol: int, identifier: int) -> bytes:
    kind = ECHO_REQUEST if protocol == ICMP else ECHO_REQUEST_6
    body = os.urandom(8) + b"\x00" * 8
    # The kernel fills in the checksum of ICMPv6, whose pseudo-header only it knows for sure.
    total = _checksum(ECHO_HEAD.pack(kind, 0, 0, identifier, 1) + body) if protocol == ICMP else 0
    return ECHO_HEAD.pack(kind, 0, total, identifier, 1) + body


def _identity_query(stream: bool) -> bytes:
    query = dns.message.make_query("id.server.", dns.rdatatype.TXT, dns.rdataclass.CH).to_wire()
    return len(query).to_bytes(2, "big") + query if stream else query


def question(probe: Probe, identifier: int) -> Question:
    """The next try of a probe; ``identifier`` (16 bits) is for ICMP. Raises UnprobableError."""
    text = format_address(probe.destination)
    if probe.protocol in (ICMP, ICMPV6):
        if is_ipv4(probe.destination) != (probe.protocol == ICMP):
            raise UnprobableError(f"{text} does not speak {PROTOCOL_NAMES[probe.protocol]}")
        if probe.port not in (0, (ECHO_REQUEST if probe.protocol == ICMP else ECHO_REQUEST_6) << 8):
            raise UnprobableError("of ICMP only echo requests can be asked")
        return Question(probe.protocol, (text, 0), _echo_request(probe.protocol, identifier), identifier)
    if probe.protocol not in (TCP, UDP, SCTP):
        raise UnprobableError(f"nothing speaks protocol {probe.protocol} here")
    stream = probe.protocol != UDP
    plain = b"" if stream else PAYLOAD
    payload = _identity_query(stream) if probe.port == DNS_PORT else plain
    return Question(probe.protocol, (text, probe.port), payload, 0)


def source_of(probe: Probe) -> Address | None:
    """The address to send from, None: the kernel chooses. Raises UnprobableError when none has the family."""
    if not probe.sources:
        return None
    ipv4 = is_ipv4(probe.destination)
    for source in probe.sources:
        if is_ipv4(source) == ipv4:
            return source
    raise UnprobableError(f"the source has no {'IPv4' if ipv4 else 'IPv6'} address")


def open_socket(asked: Question, source: Address | None) -> socket.socket:
    """A non-blocking socket for one try, bound to its source, made where we are. Raises OSError."""
    family = socket.AF_INET6 if ":" in asked.destination[0] else socket.AF_INET
    raw = asked.protocol in (ICMP, ICMPV6)
    kind = socket.SOCK_RAW if raw else socket.SOCK_STREAM if asked.stream else socket.SOCK_DGRAM
    opened = socket.socket(family, kind, asked.protocol)
    try:
        opened.setblocking(False)
        if raw:
            _filter_replies(opened, asked.protocol)
        if asked.protocol == TCP:
            # The port is chosen when the destination is known: many more connections fit.
            opened.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if source is not None:
            opened.bind((format_address(source), 0))
    except BaseException:
        opened.close()
        raise
    return opened


def _filter_replies(raw: socket.socket, protocol: int) -> None:
    if protocol == ICMP:
        raw.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << ECHO_REPLY) & 0xFFFFFFFF))
        return
    blocked = [0xFFFFFFFF] * 8
    blocked[ECHO_REPLY_6 >> 5] &= ~(1 << (ECHO_REPLY_6 & 31)) & 0xFFFFFFFF
    raw.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *blocked))

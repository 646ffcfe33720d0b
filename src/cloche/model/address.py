"""Addresses and blocks, both families in one 16-byte space (IPv4 as ``::ffff:a.b.c.d``, RFC 4291 2.5.5.2)."""

from __future__ import annotations

import socket
from typing import NewType

import msgspec

Address = NewType("Address", bytes)
"""16 bytes in network order; IPv4 is mapped. A real IPv6 packet with a mapped address is a martian."""

MAPPED = bytes(10) + b"\xff\xff"


def parse_address(text: str) -> Address:
    """The address written ``text``. Raises ValueError when it is none, or an IPv4-mapped IPv6 one."""
    try:
        if ":" not in text:
            return Address(MAPPED + socket.inet_pton(socket.AF_INET, text))
        raw = socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if raw.startswith(MAPPED):
        raise ValueError(f"{text!r} is an IPv4-mapped IPv6 address; write the IPv4 address")
    return Address(raw)


def is_ipv4(address: bytes) -> bool:
    """True when the 16-byte address is an IPv4 one."""
    return address.startswith(MAPPED)


def format_address(address: bytes) -> str:
    """The canonical text of a 16-byte address."""
    if is_ipv4(address):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return socket.inet_ntop(socket.AF_INET6, address)


class Block(msgspec.Struct, frozen=True, order=True):
    """A CIDR: masked 16-byte address and prefix length of 0..128 bits (IPv4's plus 96)."""

    address: Address
    length: int

    @property
    def ipv4(self) -> bool:
        """True for a block of IPv4 addresses; ``::/0`` holds no IPv4 address."""
        return self.length >= 96 and is_ipv4(self.address)

    def contains(self, address: bytes) -> bool:
        """True when the block holds the 16-byte address; families never meet."""
        if self.ipv4 != is_ipv4(address):
            return False
        shift = 128 - self.length
        return int.from_bytes(address, "big") >> shift == int.from_bytes(self.address, "big") >> shift

    def covers(self, other: Block) -> bool:
        """True when every address of ``other`` is in this block."""
        return self.length <= other.length and self.contains(other.address) and self.ipv4 == other.ipv4

    def first(self) -> Address:
        """The block's lowest address."""
        return self.address

    def last(self) -> Address:
        """The block's highest address."""
        ones = (1 << (128 - self.length)) - 1
        return Address((int.from_bytes(self.address, "big") | ones).to_bytes(16, "big"))

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.length - 96 if self.ipv4 else self.length}"


ALL_IPV4 = Block(Address(MAPPED + bytes(4)), 96)
ALL_IPV6 = Block(Address(bytes(16)), 0)


def parse_block(text: str) -> Block:
    """The CIDR written ``text``; host bits are masked off. Raises ValueError when it is none."""
    host, slash, length_text = text.partition("/")
    if not slash or not length_text.isdecimal() or not length_text.isascii():
        raise ValueError(f"{text!r} is not a CIDR (like 10.0.0.0/8 or fd00::/64)")
    address = parse_address(host)
    bits = 32 if is_ipv4(address) else 128
    if int(length_text) > bits:
        raise ValueError(f"{text!r}: prefix length over {bits}")
    length = int(length_text) + (128 - bits)
    value = int.from_bytes(address, "big") >> (128 - length) << (128 - length)
    return Block(Address(value.to_bytes(16, "big")), length)


def host_block(address: Address) -> Block:
    """The block that holds this one address."""
    return Block(address, 128)

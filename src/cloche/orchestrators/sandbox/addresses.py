"""Addresses for pods and services that have none: the lowest free ones, kept from one world to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloche.model.address import Address, Block, is_ipv4, parse_block

DEFAULT_POD_CIDRS = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
DEFAULT_SERVICE_CIDRS = (parse_block("10.96.0.0/16"), parse_block("fd00:96::/112"))
FIXED_SERVICES = 16
"""The first service addresses are given only to those that ask for them, as DNS's usual one."""


class Pool:
    """The free addresses of some blocks, lowest first; never a block's own or broadcast address."""

    def __init__(self, blocks: Sequence[Block], taken: Iterable[Address], *, skip: int = 1) -> None:
        self.blocks = tuple(blocks)
        self.taken = set(taken)
        self._skip = skip
        self._next: dict[Block, int] = {}

    def holds(self, address: Address) -> bool:
        """True when the address is in one of the blocks."""
        return any(block.contains(address) for block in self.blocks)

    def has(self, ipv4: bool) -> bool:
        """True when there is a block of that family."""
        return any(block.ipv4 == ipv4 for block in self.blocks)

    def keep(self, address: Address) -> bool:
        """Take this very address when it is in the blocks and free."""
        if address in self.taken or not self.holds(address):
            return False
        self.taken.add(address)
        return True

    def take(self, ipv4: bool) -> Address | None:
        """The lowest free address of a family; None when there is none left."""
        for block in self.blocks:
            if block.ipv4 != ipv4:
                continue
            first, last = (int.from_bytes(end(), "big") for end in (block.first, block.last))
            size = last - first + 1
            start = first + min(self._skip, size // 2)
            last -= 1 if ipv4 and size > 2 else 0
            for number in range(self._next.get(block, start), last + 1):
                address = Address(number.to_bytes(16, "big"))
                if address not in self.taken:
                    self.taken.add(address)
                    self._next[block] = number + 1
                    return address
            self._next[block] = last + 1
        return None


def highest_free(blocks: Sequence[Block], taken: Iterable[Address]) -> tuple[Address, ...]:
    """The highest free address of each block, for what is put beside the endpoints of an input."""
    used = set(taken)
    found = []
    for block in blocks:
        first, last = (int.from_bytes(end(), "big") for end in (block.first, block.last))
        last -= 1 if block.ipv4 and last - first > 1 else 0
        for number in range(last, first, -1):
            address = Address(number.to_bytes(16, "big"))
            if address not in used:
                found.append(address)
                break
    return tuple(found)


def assign(
    wanted: Mapping[str, Sequence[bool]], pool: Pool, previous: Mapping[str, Sequence[Address]]
) -> tuple[dict[str, tuple[Address, ...]], set[str]]:
    """Addresses for keys that want some (each with its families, True for IPv4), and the keys left short.

    Whoever had an address before keeps it while it is free and in the pool; the others take the lowest
    ones in the order of ``wanted``.
    """
    kept: dict[tuple[str, bool], Address] = {}
    for key, families in wanted.items():
        for address in previous.get(key, ()):
            if is_ipv4(address) in families and (key, is_ipv4(address)) not in kept and pool.keep(address):
                kept[key, is_ipv4(address)] = address
    assigned: dict[str, tuple[Address, ...]] = {}
    short: set[str] = set()
    for key, families in wanted.items():
        found = [kept.get((key, ipv4)) or pool.take(ipv4) for ipv4 in families]
        assigned[key] = tuple(address for address in found if address is not None)
        if None in found:
            short.add(key)
    return assigned, short

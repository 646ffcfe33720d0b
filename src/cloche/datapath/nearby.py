"""Which blocks of 256 addresses have any entry in ``addresses``: a bit for each, by the block's hash.

The program looks an address up where the bit is set. Bits are set before an entry comes and are taken away
when a writer begins, so they may be too many for a while, never too few.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloche.datapath.layout import ADDRESS_BLOCK_BITS
from cloche.datapath.maps import Map
from cloche.tables.schema import AddressKey, ServiceKey

_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_WORD = 64


def hash_step(hashed: int, word: int) -> int:
    """The same as in bpf/context.h."""
    hashed = (hashed ^ word) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> 32


def block_hash(at: AddressKey | ServiceKey) -> int:
    """The same as in bpf/context.h, of a network and an address without its last byte."""
    first, second = (int.from_bytes(word, "little") for word in (at.address[:8], at.address[8:15]))
    return hash_step(hash_step(at.network, first), second)


def bit_of(at: AddressKey) -> tuple[int, int]:
    """The word of an address's block, and its bit there."""
    return divmod(block_hash(at) >> _WORD - ADDRESS_BLOCK_BITS, _WORD)


class Nearby:
    """The bits of one instance."""

    def __init__(self, blocks: Map) -> None:
        self._words = blocks.mapped().cast("Q")

    def begin(self, known: Iterable[AddressKey]) -> None:
        """Set the bits of these addresses and no others: each word in one store."""
        wanted = [0] * len(self._words)
        for at in known:
            word, bit = bit_of(at)
            wanted[word] |= 1 << bit
        for word, bits in enumerate(wanted):
            self._words[word] = bits

    def add(self, at: AddressKey) -> None:
        """An address is about to be known."""
        word, bit = bit_of(at)
        self._words[word] |= 1 << bit

    def has(self, at: AddressKey) -> bool:
        """True when the program looks the address up."""
        word, bit = bit_of(at)
        return bool(self._words[word] >> bit & 1)

"""How blocks cut one network's addresses into pieces, each matched by the same block peers throughout."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from cloche.model.address import ALL_IPV4, ALL_IPV6, Address, Block, host_block, is_ipv4
from cloche.model.policy import BlockPeer

FEW = 100
"""Addresses that are put into their places sooner than all are sorted."""


class Piece:
    """A block less the longer blocks held inside it. ``matched``: numbers of the block peers that hold it."""

    __slots__ = ("block", "matched", "uses")

    def __init__(self, block: Block, matched: set[int]) -> None:
        self.block, self.matched, self.uses = block, matched, 0


Key = tuple[bytes, int]


class Pieces:
    """One network's blocks, each with a count of who needs it; the two roots are always there."""

    def __init__(self) -> None:
        self.pieces: dict[Block, Piece] = {}
        self._by_value: dict[tuple[int, int], Piece] = {}
        self.changed: set[Block] = set()
        """Blocks that came or went, until taken."""
        self._order: list[Key] = []
        self.lengths: dict[int, int] = {}
        """How many blocks have each length, longest first."""
        for root in (ALL_IPV4, ALL_IPV6):
            self.need(root)

    def find(self, address: Address) -> Piece:
        """The piece that an address lies in: the longest block's."""
        value = int.from_bytes(address, "big")
        floor = 96 if is_ipv4(address) else 0
        for length in self.lengths:
            if length >= floor:
                piece = self._by_value.get((value >> (128 - length), length))
                if piece is not None:
                    return piece
        raise AssertionError("the roots hold every address")

    def parent(self, block: Block) -> Piece | None:
        """The piece that a block would be part of if it were not held; None for a root."""
        value = int.from_bytes(block.address, "big")
        floor = 96 if block.ipv4 else 0
        for length in self.lengths:
            if floor <= length < block.length:
                piece = self._by_value.get((value >> (128 - length), length))
                if piece is not None:
                    return piece
        return None

    def need(self, block: Block) -> None:
        """Hold a block."""
        piece = self.pieces.get(block)
        if piece is None:
            above = self.parent(block)
            piece = self.pieces[block] = Piece(block, set(above.matched) if above else set())
            self._by_value[_value(block)] = piece
            insort(self._order, (block.address, block.length))
            self._count(block.length, 1)
            self.changed.add(block)
        piece.uses += 1

    def release(self, block: Block) -> None:
        """Undo one ``need``."""
        piece = self.pieces[block]
        piece.uses -= 1
        if piece.uses:
            return
        del self.pieces[block], self._by_value[_value(block)]
        del self._order[bisect_left(self._order, (block.address, block.length))]
        self._count(block.length, -1)
        self.changed.add(block)

    def add(self, number: int, peer: BlockPeer) -> None:
        """Hold a block peer's blocks and mark the pieces in it with the peer's number."""
        for block in (peer.block, *peer.excepts):
            self.need(block)
        left_out = {piece.block for cut in peer.excepts for piece in self.within(cut)}
        for piece in self.within(peer.block):
            if piece.block not in left_out:
                piece.matched.add(number)

    def remove(self, number: int, peer: BlockPeer) -> None:
        """Undo one ``add``."""
        for piece in self.within(peer.block):
            piece.matched.discard(number)
        for block in (peer.block, *peer.excepts):
            self.release(block)

    def within(self, block: Block) -> Iterator[Piece]:
        """The pieces of the blocks that a block covers, its own included."""
        start = bisect_left(self._order, (block.address, block.length))
        end = bisect_right(self._order, (block.last(), 129))
        for address, length in self._order[start:end]:
            piece = self._by_value[int.from_bytes(address, "big") >> (128 - length), length]
            if block.covers(piece.block):
                yield piece

    def _count(self, length: int, step: int) -> None:
        """Keep the lengths in use, longest first."""
        self.lengths[length] = self.lengths.get(length, 0) + step
        self.lengths = {n: self.lengths[n] for n in sorted(self.lengths, reverse=True) if self.lengths[n]}


def _value(block: Block) -> tuple[int, int]:
    return int.from_bytes(block.address, "big") >> (128 - block.length), block.length


class Addresses:
    """The addresses of a network in order, so that those within a block are found quickly."""

    def __init__(self) -> None:
        self._order: list[bytes] = []
        self._new: set[bytes] = set()
        self._gone: set[bytes] = set()

    def add(self, address: Address) -> None:
        """Take an address in."""
        if address in self._gone:
            self._gone.discard(address)
        else:
            self._new.add(address)

    def remove(self, address: Address) -> None:
        """Forget an address."""
        if address in self._new:
            self._new.discard(address)
        else:
            self._gone.add(address)

    def within(self, block: Block) -> Iterable[Address]:
        """The addresses that a block holds."""
        self._arrange()
        start = bisect_left(self._order, block.first())
        end = bisect_right(self._order, block.last())
        return [Address(a) for a in self._order[start:end] if is_ipv4(a) == block.ipv4]

    def _arrange(self) -> None:
        """Take what came and went into the order: few one by one, many at once."""
        order = self._order
        if len(self._gone) + len(self._new) < FEW:
            for address in self._gone:
                del order[bisect_left(order, address)]
            for address in self._new:
                insort(order, address)
        else:
            self._order = sorted([*(a for a in order if a not in self._gone), *self._new])
        self._gone.clear()
        self._new.clear()


class Territory:
    """One network's addresses: its ranges, the pieces they are cut into, and which are known."""

    def __init__(self) -> None:
        self.ranges: tuple[Block, ...] = ()
        self.pieces = Pieces()
        self.addresses = Addresses()
        self.uses = 0
        self._foreign: Counter[Address] = Counter()
        self._held: set[Address] = set()

    def in_range(self, block: Block) -> bool:
        """True when a block lies in a range and is not the address of a host."""
        if not any(mine.covers(block) for mine in self.ranges):
            return False
        return block.length < 128 or block.address not in self._held

    def set_ranges(self, ranges: tuple[Block, ...]) -> None:
        """The network's ranges are these now."""
        for block in ranges:
            self.pieces.need(block)
        for block in self.ranges:
            self.pieces.release(block)
        for block in {*ranges, *self.ranges}:
            self.pieces.changed.update(piece.block for piece in self.pieces.within(block))
        self.ranges = ranges
        self._hold_foreign()

    def add_foreign(self, address: Address, step: int) -> None:
        """An address is (1) or is no longer (-1) one that no endpoint of the network can have."""
        self._foreign[address] += step
        if not self._foreign[address]:
            del self._foreign[address]
        self._hold_foreign((address,))

    def _hold_foreign(self, addresses: Iterable[Address] | None = None) -> None:
        """Make each such address inside a range a piece of its own."""
        for address in {*self._held, *self._foreign} if addresses is None else addresses:
            block = host_block(address)
            wanted = address in self._foreign and any(mine.covers(block) for mine in self.ranges)
            if wanted and address not in self._held:
                self._held.add(address)
                self.pieces.need(block)
            elif not wanted and address in self._held:
                self._held.discard(address)
                self.pieces.release(block)
            self.pieces.changed.add(block)

"""The tree in which the program finds an address's longest block (``prefix_nodes``, bpf/prefixes.h). Pure.

A node has a slot for each four bits of an address. A block stands in the slots of one node: one slot where
its length is a multiple of four, else up to eight, and sixteen where it is everything. Every change is made
of single stores, after each of which every address finds the block it found before or the one it will find.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloche.datapath.layout import NETWORKS, NODE_SLOTS
from cloche.model.address import Address, Block
from cloche.tables.schema import PrefixKey

STEP = 4
"""Bits that one node tells apart."""
WORD = 16
"""Steps after which a node has to stand."""
LONGEST_SKIP = 4
ROOTS = 2 * NETWORKS
BLOCK, CHILD = 0xFFFFF, 0x3FFFFF
"""The numbers that a slot has room for: its block's in the lowest bits, its child's in those above."""
_CHILD_AT, _SKIP_AT, _PATTERN_AT = 20, 42, 48
_IPV4, _IPV6 = 32, 128


class Slot(NamedTuple):
    """What a slot says; 0: no block, no child. ``pattern``: the steps skipped on the way to the child."""

    block: int = 0
    child: int = 0
    pattern: tuple[int, ...] = ()

    def pack(self) -> int:
        """The 64-bit word."""
        bits = 0
        for step in self.pattern:
            bits = bits << STEP | step
        return self.block | self.child << _CHILD_AT | len(self.pattern) << _SKIP_AT | bits << _PATTERN_AT


def unpack_slot(word: int) -> Slot:
    """The slot packed as 64 bits."""
    count, bits = min(word >> _SKIP_AT & 7, LONGEST_SKIP), word >> _PATTERN_AT
    pattern = tuple(bits >> STEP * (count - 1 - n) & 15 for n in range(count))
    return Slot(word & BLOCK, word >> _CHILD_AT & CHILD, pattern)


class Path(NamedTuple):
    """Where a block stands: the root it is reached from, its bits' steps, and its length in bits there."""

    root: int
    steps: tuple[int, ...]
    length: int

    @property
    def depth(self) -> int:
        """That of the node it stands in."""
        return max(self.length - 1, 0) // STEP

    @property
    def slots(self) -> range:
        """The slots of that node that it covers."""
        if not self.length:
            return range(NODE_SLOTS)
        free = STEP * (self.depth + 1) - self.length
        first = self.steps[self.depth] >> free << free
        return range(first, first + (1 << free))

    @property
    def node(self) -> tuple[int, tuple[int, ...]]:
        """Which node that is: its root, and the steps to it."""
        return self.root, self.steps[: self.depth]

    def over(self, place: int) -> Iterator[Path]:
        """The blocks that could stand in a slot of the same node, the longest first."""
        depth, rest = self.depth, (0,) * (len(self.steps) - self.depth - 1)
        for bits in range(STEP, 0, -1):
            kept = place >> STEP - bits << STEP - bits
            yield Path(self.root, (*self.steps[:depth], kept, *rest), STEP * depth + bits)
        if not depth:
            yield Path(self.root, (0, *rest), 0)


def path_of(key: PrefixKey) -> Path:
    """Where a block stands. IndexError for a network whose number is too high."""
    if key.network >= NETWORKS:
        raise IndexError(f"network {key.network} of {NETWORKS}")
    four = key.block.ipv4
    raw = key.block.address[12:] if four else key.block.address
    steps = tuple(half for byte in raw for half in (byte >> STEP, byte & 15))
    return Path(2 * key.network + (not four), steps, key.block.length - (_IPV6 - _IPV4 if four else 0))


def key_of(root: int, steps: tuple[int, ...], slot: int) -> PrefixKey:
    """The block that is a slot's alone."""
    four = root % 2 == 0
    whole = (*steps, slot, *(0,) * ((_IPV4 if four else _IPV6) // STEP - len(steps) - 1))
    raw = bytes(high << STEP | low for high, low in zip(whole[::2], whole[1::2], strict=True))
    length = STEP * (len(steps) + 1) + (_IPV6 - _IPV4 if four else 0)
    return PrefixKey(root // 2, Block(Address(bytes(10) + b"\xff\xff" + raw if four else raw), length))


class Visit(NamedTuple):
    """One node on a way through the tree."""

    number: int
    root: int
    steps: tuple[int, ...]
    slots: tuple[int, ...]
    """The slots as packed words."""


class NoNodeError(Exception):
    """All nodes are in use, or wait until no packet can be in them any more."""


class Walk:
    """Through every node that a packet can come to, each once, whatever the slots say."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.odd = False
        """A slot leads where no tree goes: twice to one node, to a root, to nothing, or too far."""
        self.nodes: set[int] = set()

    def __iter__(self) -> Iterator[Visit]:
        empty = bytes(NODE_SLOTS * self._memory.itemsize)
        roots = self._memory[: ROOTS * NODE_SLOTS].tobytes()
        for root in range(ROOTS):
            if roots[root * len(empty) : (root + 1) * len(empty)] != empty:
                self.nodes.add(root)
                yield from self._below(root)

    def _below(self, root: int) -> Iterator[Visit]:
        waiting: list[tuple[int, tuple[int, ...]]] = [(root, ())]
        while waiting:
            number, steps = waiting.pop()
            at = number * NODE_SLOTS
            slots = tuple(self._memory[at : at + NODE_SLOTS])
            yield Visit(number, root, steps, slots)
            for place, word in enumerate(slots):
                if word >> _CHILD_AT:
                    slot = unpack_slot(word)
                    child = slot.child, (*steps, place, *slot.pattern)
                    if slot.pack() == word and self._is_sound(root, *child):
                        self.nodes.add(slot.child)
                        waiting.append(child)
                    else:
                        self.odd = True

    def _is_sound(self, root: int, node: int, steps: tuple[int, ...]) -> bool:
        limit = (_IPV6 if root % 2 else _IPV4) // STEP
        at = node * NODE_SLOTS
        return (
            node >= ROOTS
            and node not in self.nodes
            and len(steps) < limit
            and at + NODE_SLOTS <= len(self._memory)
            and any(self._memory[at : at + NODE_SLOTS])
        )


class Tree:
    """Writes to the memory of the nodes. Who stands where is the caller's to know, and ``store`` is told."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._free: list[int] = []
        self._retired: list[int] = []
        self.count()

    def count(self) -> None:
        """See which nodes are in use. A grace period has passed since any other was."""
        walk = Walk(self._memory)
        for _ in walk:
            pass
        last = len(self._memory) // NODE_SLOTS - 1
        self._free = [node for node in range(last, ROOTS - 1, -1) if node not in walk.nodes]
        self._retired.clear()

    def settle(self) -> None:
        """A grace period has passed since all that was done until now."""
        self._free += self._retired
        self._retired.clear()

    def find(self, path: Path) -> int | None:
        """The node that a block stands in, None when there is none yet."""
        way = self._way(path)
        return way[-1][1] if way is not None else None

    def _way(self, path: Path) -> list[tuple[int, int, int]] | None:
        """From the root to the block's node: of each node the slot that leads to it, its number and depth."""
        way = [(-1, path.root, 0)]
        while (depth := way[-1][2]) < path.depth:
            at = way[-1][1] * NODE_SLOTS + path.steps[depth]
            slot = unpack_slot(self._memory[at])
            end = depth + 1 + len(slot.pattern)
            if not slot.child or end > path.depth or slot.pattern != path.steps[depth + 1 : end]:
                return None
            if (slot.child + 1) * NODE_SLOTS > len(self._memory):
                return None
            way.append((at, slot.child, end))
        return way

    def grow(self, path: Path) -> int:
        """The node that a block stands in, made where there is none. Raises NoNodeError."""
        node, depth = path.root, 0
        while depth < path.depth:
            at = node * NODE_SLOTS + path.steps[depth]
            slot = unpack_slot(self._memory[at])
            ahead = path.steps[depth + 1 : path.depth]
            if slot.child and (slot.child + 1) * NODE_SLOTS <= len(self._memory):
                shared = _shared(slot.pattern, ahead)
                if shared < len(slot.pattern):
                    node = self.take()
                    rest = Slot(0, slot.child, slot.pattern[shared + 1 :])
                    self._memory[node * NODE_SLOTS + slot.pattern[shared]] = rest.pack()
                    self._memory[at] = Slot(slot.block, node, slot.pattern[:shared]).pack()
                else:
                    node = slot.child
            else:
                shared = min(LONGEST_SKIP, len(ahead))
                if depth < WORD:
                    shared = min(shared, WORD - depth - 1)
                node = self.take()
                self._memory[at] = Slot(slot.block, node, ahead[:shared]).pack()
            depth += 1 + shared
        return node

    def take(self) -> int:
        """An empty node that no packet comes to. Raises NoNodeError."""
        if not self._free:
            raise NoNodeError
        node = self._free.pop()
        self.clear(node)
        return node

    def store(self, node: int, place: int, block: int) -> None:
        """From now on this block stands in a slot (0: none)."""
        at = node * NODE_SLOTS + place
        self._memory[at] = self._memory[at] & ~BLOCK | block

    def roots(self) -> list[int]:
        """The roots that something is below."""
        slots = self._memory[: ROOTS * NODE_SLOTS]
        return sorted({at // NODE_SLOTS for at, word in enumerate(slots) if word})

    def change_root(self, root: int, other: int) -> None:
        """What is below another node is below a root from now on, slot by slot."""
        for place in range(NODE_SLOTS):
            self._memory[root * NODE_SLOTS + place] = self._memory[other * NODE_SLOTS + place]

    def clear(self, node: int) -> None:
        """Nothing is below a node any more."""
        for place in range(NODE_SLOTS):
            self._memory[node * NODE_SLOTS + place] = 0

    def prune(self, path: Path) -> None:
        """Take out the nodes on the way to a block that hold nothing any more."""
        way = self._way(path)
        while way is not None and len(way) > 1:
            at, node, depth = way.pop()
            slots = [unpack_slot(self._memory[node * NODE_SLOTS + n]) for n in range(NODE_SLOTS)]
            children = [(place, slot) for place, slot in enumerate(slots) if slot.child]
            if len(children) > 1 or any(slot.block for slot in slots):
                return
            before = unpack_slot(self._memory[at])
            if not children:
                self._memory[at] = Slot(before.block).pack()
            else:
                ((place, slot),) = children
                pattern = (*before.pattern, place, *slot.pattern)
                if len(pattern) > LONGEST_SKIP or depth == WORD:
                    return
                self._memory[at] = Slot(before.block, slot.child, pattern).pack()
            self._retired.append(node)
            if children:
                return


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many steps both begin with."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))

"""Blocks of addresses in the kernel: three arrays that together are what a trie would be.

``prefixes`` has an entry for each block by a number of its own, ``prefix_keys`` says which block that is,
and ``prefix_nodes`` is the tree by which the program finds the number. Numbers and nodes that are given up
are used again when a grace period has passed.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterable, Iterator

from cloche.datapath import bpf, encode, layout
from cloche.datapath.layout import NODE_SLOTS
from cloche.datapath.pins import Maps
from cloche.datapath.tree import BLOCK, NoNodeError, Path, Tree, Visit, Walk, key_of, path_of
from cloche.tables.schema import PrefixEntry, PrefixKey

STRAY = 1 << 31
"""In the flags of what is read: a slot names a block that does not stand there."""


class Entries:
    """What is known of the blocks by their numbers."""

    def __init__(self, maps: Maps) -> None:
        self._values, self._keys = maps.prefixes.mapped(), maps.prefix_keys.mapped()
        self._value_words, self._key_words = self._values.cast("Q"), self._keys.cast("Q")
        self.count = maps.prefixes.info.max_entries

    def key(self, number: int) -> PrefixKey | None:
        """Which block it is; None for a number that there is none of, or what is no block."""
        at = number * layout.PREFIX_KEY_SIZE
        if number >= self.count:
            return None
        try:
            return encode.read_prefix_key(self._keys[at : at + layout.PREFIX_KEY_SIZE])
        except ValueError:
            return None

    def entry(self, number: int) -> PrefixEntry:
        """What is said of it."""
        at = min(number, self.count - 1) * layout.PREFIX_SIZE
        return encode.read_prefix_entry(self._values[at : at + layout.PREFIX_SIZE])

    def write(self, number: int, key: PrefixKey, entry: PrefixEntry) -> None:
        """Word by word: one that is in use already is the same block's."""
        _store(self._key_words, number, encode.prefix_key(key))
        _store(self._value_words, number, encode.prefix_entry(entry))


def _store(words: memoryview, number: int, raw: bytes) -> None:
    for at, word in enumerate(array("Q", raw), number * len(raw) // 8):
        words[at] = word


class Standing:
    """Which blocks a walk through the tree finds, and what is amiss there."""

    def __init__(self, maps: Maps) -> None:
        self._entries, self._nodes = Entries(maps), maps.prefix_nodes.mapped().cast("Q")
        self.numbers: dict[PrefixKey, int] = {}
        """The blocks that stand in every slot that is theirs."""
        self.seen: set[int] = set()
        """All numbers in any slot."""
        self.strays: dict[PrefixKey, int] = {}
        """Numbers in slots where another one should be, by the block that is the slot's alone."""
        self.altered = False
        """Some slot says what the blocks do not explain."""

    def walk(self) -> Iterator[None]:
        """Look at one node after the other; all of this is known at the end."""
        nodes = Walk(self._nodes)
        for visit in nodes:
            self._look(visit)
            yield
        self.altered |= nodes.odd

    def _look(self, visit: Visit) -> None:
        there = [word & BLOCK for word in visit.slots]
        keys = {n: key for n in set(there) - {0} if (key := self._entries.key(n)) is not None}
        paths = {number: path_of(key) for number, key in keys.items()}
        own = {number: path for number, path in paths.items() if path.node == (visit.root, visit.steps)}
        wanted = [0] * NODE_SLOTS
        for number in sorted(own, key=lambda number: own[number].length):
            for place in own[number].slots:
                wanted[place] = number
        broken = set()
        for place, (found, right) in enumerate(zip(there, wanted, strict=True)):
            if found != right:
                self.altered = True
                broken.add(right)
                if found:
                    self.strays[key_of(visit.root, visit.steps, place)] = found
        self.seen.update(there)
        self.numbers.update((keys[number], number) for number in own if number not in broken)

    def entries(self) -> dict[PrefixKey, PrefixEntry]:
        """Every block with what is said of it, as packets find it. A slot that names another block than it
        should is told as one more, with ``STRAY`` in its flags; a block that lacks a slot is not there."""
        found = {key: self._entries.entry(number) for key, number in self.numbers.items()}
        for key, number in self.strays.items():
            entry = self._entries.entry(number)
            found[key] = entry._replace(flags=entry.flags | STRAY)
        return found


def standing(maps: Maps) -> Standing:
    """What a whole walk finds."""
    found = Standing(maps)
    for _ in found.walk():
        pass
    return found


class Prefixes:
    """Writes the blocks of one instance."""

    def __init__(self, maps: Maps) -> None:
        self._entries, self._tree = Entries(maps), Tree(maps.prefix_nodes.mapped().cast("Q"))
        held = standing(maps)
        self._at = {path_of(key): number for key, number in held.numbers.items()}
        self._free = [n for n in range(self._entries.count - 1, 0, -1) if n not in held.seen]
        self._retired: list[int] = []

    def settle(self) -> None:
        """A grace period has passed: what was given up before may be used again."""
        self._free += self._retired
        self._retired.clear()
        self._tree.settle()

    def put(self, key: PrefixKey, entry: PrefixEntry) -> None:
        """Write what is said of a block, and the way to it. OSError when there is no room, IndexError for the
        number of a network; nothing is written then."""
        path = path_of(key)
        number = self._at.get(path) or self._take()
        self._entries.write(number, key, entry)
        self._at[path] = number
        try:
            node = self._tree.grow(path)
        except NoNodeError:
            bpf.wait_grace()
            self.settle()
            node = self._grow(path)
        self._paint(path, node)

    def _grow(self, path: Path) -> int:
        try:
            return self._tree.grow(path)
        except NoNodeError:
            raise OSError(errno.ENOSPC, "no node is left for one more block") from None

    def rebuild(self, blocks: Iterable[tuple[PrefixKey, PrefixEntry]]) -> None:
        """Write all blocks and the whole tree anew, beside the one that is there, which was altered; where
        there is no room for both, all is denied until the new one stands. Waits for a grace period."""
        held = {path_of(key): (key, entry) for key, entry in blocks}
        self._at = {path: self._at.get(path) or self._take() for path in held}
        for path, number in self._at.items():
            self._entries.write(number, *held[path])
        roots = {path.root for path in held} | set(self._tree.roots())
        try:
            beside = {root: self._tree.take() for root in sorted(roots)}
            for path in held:
                self._paint(path, self._tree.grow(path._replace(root=beside[path.root])))
            for root, other in beside.items():
                self._tree.change_root(root, other)
            bpf.wait_grace()
            self._tree.count()
        except NoNodeError:
            for root in roots:
                self._tree.clear(root)
            bpf.wait_grace()
            self._tree.count()
            for path in held:
                self._paint(path, self._grow(path))

    def _take(self) -> int:
        if not self._free:
            bpf.wait_grace()
            self.settle()
        if not self._free:
            raise OSError(errno.ENOSPC, "no number is left for one more block")
        return self._free.pop()

    def _paint(self, path: Path, node: int) -> None:
        """Each slot of a block has the longest block that stands there."""
        for place in path.slots:
            right = next((self._at[one] for one in path.over(place) if one in self._at), 0)
            self._tree.store(node, place, right)

    def remove(self, key: PrefixKey) -> None:
        """A block is no more; what stands around it counts. One that is not there is no error."""
        path = path_of(key)
        number = self._at.pop(path, 0)
        node = self._tree.find(path)
        if node is not None:
            self._paint(path, node)
            self._tree.prune(path)
        if number:
            self._retired.append(number)


def usage(maps: Maps) -> tuple[int, int]:
    """How many blocks there are, and how many fit."""
    return len(standing(maps).numbers), maps.prefixes.info.max_entries

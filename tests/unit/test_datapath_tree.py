"""The tree of blocks: after every single store each address finds the block it found before or will find."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.datapath.layout import NODE_SLOTS
from cloche.datapath.tree import ROOTS, NoNodeError, Path, Slot, Tree, Walk, key_of, path_of, unpack_slot
from cloche.model.address import MAPPED, Address, Block, is_ipv4, parse_address, parse_block
from cloche.tables.schema import NODES_EACH, PrefixKey, nodes_of

ROOM = 64
"""Nodes besides the roots."""


def block(address: bytes, length: int) -> Block:
    """The block of this length around an address."""
    value = int.from_bytes(address, "big") >> 128 - length << 128 - length
    return Block(Address(value.to_bytes(16, "big")), length)


near = st.lists(st.sampled_from([0, 1, 0x80, 0xFF]), min_size=4, max_size=4).map(bytes)
far = st.binary(min_size=4, max_size=4)
ipv4 = st.one_of(near, far).map(lambda raw: Address(MAPPED + raw))
ipv6 = st.one_of(
    st.tuples(near, near).map(lambda both: Address(b"\xfd" + bytes(6) + both[0] + bytes(1) + both[1])),
    st.binary(min_size=16, max_size=16).filter(lambda raw: not is_ipv4(raw)).map(Address),
)
blocks = st.one_of(
    st.builds(block, ipv4, st.integers(96, 128)),
    st.builds(block, ipv6, st.integers(0, 128)).filter(lambda found: not found.ipv4),
)
keys = st.builds(PrefixKey, st.integers(1, 2), blocks)
histories = st.lists(st.tuples(st.booleans(), keys), min_size=1, max_size=12)


def walked(memory: memoryview, network: int, address: Address) -> int:
    """The number that bpf/prefixes.h finds, read off its source; 0: none."""
    four = is_ipv4(address)
    node, number, depth = 2 * network + (not four), 0, 0
    steps = [half for byte in (address[12:] if four else address) for half in (byte >> 4, byte & 15)]
    while depth < len(steps):
        slot = unpack_slot(memory[node * NODE_SLOTS + steps[depth]])
        number = slot.block or number
        depth += 1 + len(slot.pattern)
        if not slot.child or slot.pattern != tuple(steps[depth - len(slot.pattern) : depth]):
            break
        node = slot.child
    return number


class Watched:
    """Blocks in a tree whose every store is looked at."""

    def __init__(self, room: int = ROOM) -> None:
        self.memory = memoryview(array("Q", bytes(8 * (ROOTS + room) * NODE_SLOTS)))
        self.itemsize = self.memory.itemsize
        self.asked: list[tuple[int, Address]] = []
        """What is looked up after each store."""
        self.answers: list[list[int]] = []
        self.tree = Tree(self)  # type: ignore[arg-type]
        self.numbers: dict[PrefixKey, int] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self.memory)

    def __getitem__(self, at: int | slice) -> object:
        return self.memory[at]

    def __setitem__(self, at: int, word: int) -> None:
        self.memory[at] = word
        if self.asked:
            self.answers.append(self.ask())

    def ask(self) -> list[int]:
        """What is found now."""
        return [walked(self.memory, *one) for one in self.asked]

    def put(self, key: PrefixKey) -> None:
        """A block comes, or is written once more."""
        if key not in self.numbers:
            self.numbers[key] = self._next
            self._next += 1
        self._paint(path_of(key), self.tree.grow(path_of(key)))

    def remove(self, key: PrefixKey) -> None:
        """A block goes."""
        self.numbers.pop(key, None)
        node = self.tree.find(path_of(key))
        if node is not None:
            self._paint(path_of(key), node)
            self.tree.prune(path_of(key))

    def _paint(self, path: Path, node: int) -> None:
        at = {path_of(key): number for key, number in self.numbers.items()}
        for place in path.slots:
            self.tree.store(node, place, next((at[one] for one in path.over(place) if one in at), 0))

    def expected(self, network: int, address: Address) -> int:
        """The number of the longest block that holds an address."""
        held = [key for key in self.numbers if key.network == network and key.block.contains(address)]
        return self.numbers[max(held, key=lambda key: key.block.length)] if held else 0

    def used(self) -> int:
        """Nodes besides the roots that a packet can come to."""
        return sum(1 for visit in Walk(self.memory) if visit.number >= ROOTS)


def edges(history: list[tuple[bool, PrefixKey]]) -> list[tuple[int, Address]]:
    """The first and last address of each block, and the ones beside them, in both networks."""
    found = set()
    for _, key in history:
        low, high = (int.from_bytes(end, "big") for end in (key.block.first(), key.block.last()))
        for value in (low - 1, low, high, high + 1):
            found.add(Address((value % 2**128).to_bytes(16, "big")))
    return [(network, address) for network in (1, 2) for address in sorted(found)]


@given(histories)
@settings(max_examples=100, deadline=None)
def test_every_address_finds_its_longest_block(history: list[tuple[bool, PrefixKey]]) -> None:
    """Whatever came and went before, and in which order."""
    watched = Watched()
    for comes, key in history:
        (watched.put if comes else watched.remove)(key)
        watched.tree.settle()
        for network, address in edges(history):
            assert walked(watched.memory, network, address) == watched.expected(network, address)


@given(histories)
@settings(max_examples=60, deadline=None)
def test_no_single_store_shows_a_third_answer(history: list[tuple[bool, PrefixKey]]) -> None:
    """Between two stores each address finds what it found before the change or what it finds after it."""
    watched = Watched()
    watched.asked = edges(history)
    for comes, key in history:
        before = watched.ask()
        watched.answers.clear()
        (watched.put if comes else watched.remove)(key)
        after = watched.ask()
        for moment in watched.answers:
            assert all(found in pair for found, *pair in zip(moment, before, after, strict=True))
        watched.tree.settle()


@given(histories)
@settings(max_examples=100, deadline=None)
def test_no_more_nodes_are_used_than_blocks_are_counted_for(history: list[tuple[bool, PrefixKey]]) -> None:
    """What is counted for each block before it is written is enough; without blocks all nodes are free."""
    watched = Watched(room=200)
    for comes, key in history:
        (watched.put if comes else watched.remove)(key)
        watched.tree.settle()
        assert watched.used() <= sum(nodes_of(held.block) for held in watched.numbers)
    for key in list(watched.numbers):
        watched.remove(key)
    assert watched.used() == 0
    assert not any(watched.memory[: ROOTS * NODE_SLOTS])


def test_a_block_of_ipv4_costs_no_more_than_there_is_room_for() -> None:
    """As many blocks of IPv4 as fit by their number fit by their nodes."""
    assert max(nodes_of(block(MAPPED + bytes(4), length)) for length in range(96, 129)) <= NODES_EACH


@given(
    st.builds(
        Slot,
        st.integers(0, 2**20 - 1),
        st.integers(0, 2**22 - 1),
        st.lists(st.integers(0, 15), max_size=4).map(tuple),
    )
)
def test_slots_come_back_as_they_were(slot: Slot) -> None:
    """Block, child and pattern survive the way through 64 bits."""
    assert unpack_slot(slot.pack()) == slot


@given(keys)
def test_a_block_is_where_its_path_says(key: PrefixKey) -> None:
    """The blocks of a path's single slots together are the block itself."""
    path = path_of(key)
    pieces = [key_of(path.root, path.steps[: path.depth], place).block for place in path.slots]
    assert pieces[0].first() == key.block.first()
    assert pieces[-1].last() == key.block.last()
    for one, other in pairwise(pieces):
        assert int.from_bytes(one.last(), "big") + 1 == int.from_bytes(other.first(), "big")


def test_nodes_that_were_given_up_are_used_after_a_grace_period_alone() -> None:
    """Until then a packet may be in one of them."""
    watched = Watched(room=1)
    one, other = (PrefixKey(1, parse_block(text)) for text in ("10.0.0.0/8", "fd00::/8"))
    watched.put(one)
    watched.remove(one)
    with pytest.raises(NoNodeError):
        watched.put(other)
    watched.tree.settle()
    watched.put(other)
    assert walked(watched.memory, 1, parse_address("fd00::1")) == watched.numbers[other]


def test_a_loop_in_altered_slots_is_walked_once() -> None:
    """Whatever was written over a slot from outside, reading comes to an end, and is told."""
    watched = Watched()
    watched.put(PrefixKey(1, parse_block("10.1.0.0/16")))
    nodes = [visit.number for visit in Walk(watched.memory)]
    for number in nodes:
        for place in range(NODE_SLOTS):
            watched.memory[number * NODE_SLOTS + place] = Slot(1, nodes[-1]).pack()
    walk = Walk(watched.memory)
    assert len(list(walk)) == len(nodes)
    assert walk.odd


def test_a_network_without_room_for_blocks_is_told() -> None:
    """A number that is too high is an error, and not another network."""
    with pytest.raises(IndexError, match="network 1024 of 1024"):
        path_of(PrefixKey(1024, parse_block("10.0.0.0/8")))

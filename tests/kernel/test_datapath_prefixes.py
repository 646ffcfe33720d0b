"""Blocks and rows in the kernel: what is altered there is found, whatever word it was, and mended."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from program_lab import NETWORK, OTHER_ATOM, Lab

from cloche.datapath.audit import Altered, Auditor
from cloche.datapath.layout import HEAD_SIZE, NODE_SLOTS, ROW_UNIT
from cloche.datapath.maps import Map
from cloche.datapath.prefixes import Prefixes, standing
from cloche.datapath.reconcile import Writer
from cloche.datapath.testrun import Engine
from cloche.datapath.tree import Walk
from cloche.model.address import Address, Block, format_address, is_ipv4, parse_block
from cloche.model.flow import Verdict
from cloche.model.policy import Direction
from cloche.tables.mirror import apply_write
from cloche.tables.schema import (
    Cell,
    Flip,
    Grace,
    PrefixEntry,
    PrefixKey,
    Put,
    Remove,
    Tables,
    Write,
    settled,
)
from frames import Flow, udp

TEXTS = ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/10", "10.244.3.0/24", "10.244.3.77/32", "::/0", "fd00:244::/64")
BLOCKS = tuple(PrefixKey(1, parse_block(text)) for text in TEXTS)
WRITES: tuple[Write, ...] = tuple(
    Put("prefixes", key, PrefixEntry(settled(number), number % 2)) for number, key in enumerate(BLOCKS, 1)
)
ALLOW, DENY = Cell(Verdict.ALLOW, rule=3).pack(), Cell(Verdict.DENY, rule=1).pack()
ROW = (DENY,) * 70 + (ALLOW,) + (DENY,) * 100


def written(engine: Engine, writes: tuple[Write, ...] = WRITES) -> Tables:
    """What the engine holds, when it was told so much."""
    tables = Tables()
    for write in (*writes, Flip(1)):
        apply_write(tables, write)
    engine.write((*writes, Flip(1)))
    return tables


def found(engine: Engine, tables: Tables) -> list[Altered]:
    """What one pass of the audit finds."""
    return [one for step in Auditor(engine.loaded.maps).steps(tables) for one in step]


def words(handle: Map) -> memoryview:
    """The words of a mapped array."""
    return handle.mapped().cast("Q")


def test_a_new_writer_goes_on_with_the_blocks_that_are_there(engine: Engine) -> None:
    """A restart knows each block's number and which nodes are free: blocks go, come and change as before."""
    tables = written(engine)
    writes: tuple[Write, ...] = (
        Remove("prefixes", BLOCKS[3]),
        Grace(),
        Put("prefixes", BLOCKS[1], PrefixEntry(settled(9), 0)),
        Put("prefixes", PrefixKey(2, parse_block("10.244.0.0/16")), PrefixEntry(settled(8), 1)),
    )
    for _ in Writer(engine.loaded.maps).apply(writes):
        pass
    for write in writes:
        apply_write(tables, write)
    assert engine.tables().prefixes == tables.prefixes
    assert not found(engine, tables)


def test_blocks_that_go_leave_all_room_behind(engine: Engine) -> None:
    """Many more blocks can come and go than there is room for at a time."""
    written(engine)
    for number in range(300):
        key = PrefixKey(1, parse_block(f"172.{16 + number % 16}.{number % 250}.{number % 256 // 4 * 4}/30"))
        engine.write([Put("prefixes", key, PrefixEntry(settled(7), 0)), Remove("prefixes", key), Grace()])
    assert len(engine.tables().prefixes) == len(BLOCKS)
    engine.write([*(Remove("prefixes", key) for key in BLOCKS), Grace()])
    held = standing(engine.loaded.maps)
    assert not held.seen - {0} and not held.strays


ALTERED = (lambda word: 0, lambda word: word ^ 3, lambda word: word ^ 1 << 20, lambda word: word ^ 5 << 42)
"""Nothing, another block, another child, another pattern."""


@pytest.mark.parametrize("altered", ALTERED)
def test_each_altered_slot_of_the_tree_is_found_and_mended(
    engine: Engine, altered: Callable[[int], int]
) -> None:
    """Whichever slot that a packet can come to says something else, the audit tells, and mends it."""
    tables, done = written(engine), 0
    nodes = words(engine.loaded.maps.prefix_nodes)
    while True:
        places = [visit.number * NODE_SLOTS + at for visit in Walk(nodes) for at in range(NODE_SLOTS)]
        if done == len(places):
            break
        at, before, done = places[done], nodes[places[done]], done + 1
        nodes[at] = altered(before)
        told = found(engine, tables)
        assert bool(told) == (nodes[at] != before), f"slot {at}: {before:#x} became {nodes[at]:#x}"
        engine.write([one.write for one in told])
        assert engine.tables().prefixes == tables.prefixes, f"slot {at}: {before:#x} was altered"
        assert not found(engine, tables)
    assert done > 60


@pytest.mark.parametrize("name", ["prefixes", "prefix_keys"])
def test_each_altered_word_of_a_block_is_found_and_mended(engine: Engine, name: str) -> None:
    """Its class, its flags, and which block it is."""
    tables = written(engine)
    handle = getattr(engine.loaded.maps, name)
    view, each = words(handle), handle.stride // 8
    used = [at for at in range((len(BLOCKS) + 1) * each) if view[at]]
    assert len(used) >= len(BLOCKS)
    for at in used:
        view[at] ^= 1
        told = found(engine, tables)
        assert told, f"word {at}"
        engine.write([one.write for one in told])
        assert engine.tables().prefixes == tables.prefixes
        assert not found(engine, tables)


def test_a_writer_that_ends_between_two_stores_leaves_what_the_next_one_mends(engine: Engine) -> None:
    """Wherever the agent is killed while a block comes or goes, a restart finds out and writes the rest."""
    for change in (
        Put("prefixes", PrefixKey(1, parse_block("10.244.0.0/15")), PrefixEntry(settled(5), 1)),
        Remove("prefixes", BLOCKS[2]),
    ):
        for stores in range(40):
            engine.reset()
            tables = written(engine)
            apply_write(tables, change)
            if not ends_after(engine, change, stores):
                break
            missing = found(engine, tables)
            for _ in Writer(engine.loaded.maps).apply(one.write for one in missing):
                pass
            assert engine.tables().prefixes == tables.prefixes
        assert 2 < stores < 39


class EndedError(Exception):
    """The process ends here."""


class Ending:
    """The memory of the nodes, of a process that ends after so many stores."""

    def __init__(self, memory: memoryview, stores: int) -> None:
        self._memory, self._left = memory, stores

    def __getitem__(self, at: int) -> int:
        return int(self._memory[at])

    def __len__(self) -> int:
        return len(self._memory)

    def __setitem__(self, at: int, word: int) -> None:
        if not self._left:
            raise EndedError
        self._left -= 1
        self._memory[at] = word


def ends_after(engine: Engine, change: Put | Remove, stores: int) -> bool:
    """Make a change until so many slots are written; False when that was all of it."""
    prefixes = Prefixes(engine.loaded.maps)
    prefixes._tree._memory = Ending(prefixes._tree._memory, stores)  # type: ignore[assignment]
    try:
        if isinstance(change, Put):
            prefixes.put(change.key, change.value)  # type: ignore[arg-type]
        else:
            prefixes.remove(change.key)  # type: ignore[arg-type]
    except EndedError:
        return True
    return False


def test_each_altered_head_or_cell_is_found_and_mended(engine: Engine) -> None:
    """The audit sees what packets find by a row's head, and what lies in its cells behind that."""
    tables = written(
        engine, (Put("heads", 4, DENY), Put("cells", (4, 0), ROW), Put("rows", (1, 1), settled(4)))
    )
    heads, cells = words(engine.loaded.maps.heads), engine.loaded.maps.cells.mapped().cast("I")
    at = HEAD_SIZE // 8
    alterations = [
        (heads, at, 0),
        (heads, at + 1, heads[at + 1] ^ 3),
        (heads, at + 1, heads[at + 1] ^ 1 << 32),
    ]
    alterations += [(cells, 4 * ROW_UNIT + atom, ALLOW) for atom in (0, 69, 150)]
    for memory, place, value in alterations:
        assert not found(engine, tables)
        memory[place] = value
        told = found(engine, tables)
        assert "the entry 4 of the map cells was altered" in [one.what for one in told]
        engine.write([one.write for one in told])
    assert not found(engine, tables)


def test_a_rows_head_tells_apart_which_cells_have_to_be_looked_at(engine: Engine) -> None:
    """Only the group with the uncommon cell is looked at, before and after cells of new atoms are written."""
    written(engine, (Put("heads", 4, DENY), Put("cells", (4, 0), ROW), Put("rows", (1, 1), settled(4))))
    heads = words(engine.loaded.maps.heads)
    at = HEAD_SIZE // 8
    assert heads[at] == 0b10
    engine.write([Put("cells", (4, len(ROW)), (DENY,) * 30)])
    assert heads[at] == 0b10
    engine.write([Put("cells", (4, len(ROW) + 30), (ALLOW,))])
    assert heads[at] == 0b1010


FAR = ("193.0.14.129", "2001:7fd::1", "10.244.3.77", "fd00:244:1::2")


def around(chance: Random) -> list[Block]:
    """Blocks of all lengths, many in one another, in both families."""
    found = []
    for _ in range(60):
        address = chance.choice([*FAR, f"10.244.{chance.choice((3, 4, 131))}.{chance.randrange(256)}"])
        found.append(parse_block(f"{address}/{chance.randint(1, 128 if ':' in address else 32)}"))
    return found


def ends(block: Block) -> list[bytes]:
    """The first and last address of a block, and the ones beside them, where they are of its family."""
    low, high = (int.from_bytes(end, "big") for end in (block.first(), block.last()))
    near = (value.to_bytes(16, "big") for value in (low - 1, low, high, high + 1) if 0 <= value < 2**128)
    return [address for address in near if is_ipv4(address) == block.ipv4 and any(address)]


@pytest.mark.parametrize("seed", range(4))
def test_the_program_finds_the_longest_block_of_every_address(lab: Lab, seed: int) -> None:
    """Whatever blocks are in one another: at each one's edges, while they come and after some went."""
    chance = Random(seed)
    numbers = {block: 10 + at for at, block in enumerate(dict.fromkeys(around(chance)))}
    classes = {block: 8 + number % 7 for block, number in numbers.items()}
    lab.isolate(lab.a, Direction.EGRESS, {(class_, OTHER_ATOM): Cell(ALLOW) for class_ in range(16)})
    lab.engine.write([Remove("prefixes", key) for key in lab.engine.tables().prefixes])
    for block, class_ in classes.items():
        lab.engine.write([Put("prefixes", PrefixKey(NETWORK, block), PrefixEntry(settled(class_), 0))])
    gone = chance.sample(sorted(classes), 20)
    for left in ((), gone):
        lab.engine.write([Remove("prefixes", PrefixKey(NETWORK, block)) for block in left])
        held = {block: class_ for block, class_ in classes.items() if block not in left}
        for address in {address for block in classes for address in ends(block)}:
            holding = [block for block in held if block.contains(address)]
            asked = look_up(lab, Address(address))
            if asked is not None and holding:
                assert asked == held[max(holding, key=lambda one: one.length)], format_address(address)


def look_up(lab: Lab, address: Address) -> int | None:
    """The class that the program finds for a destination; None where policy is not asked about it."""
    lab.engine.forget("flows")
    source = lab.a.four if is_ipv4(address) else lab.a.six
    result = lab.send(lab.a, udp(Flow(source, address, 999, 999)))
    return result.class_ if result.set else None

"""The tables of many rules in the kernel, and packets spread over all their classes and atoms."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from benchmarks import world
from benchmarks.building import HERE, bpf_object
from benchmarks.rounds import PORT
from cloche.compiler import Compiler
from cloche.datapath.bpf import Runner, SkbContext
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.loader import sizes
from cloche.datapath.maps import Map
from cloche.datapath.pins import Maps
from cloche.datapath.reconcile import Writer
from cloche.model.address import Address
from cloche.model.state import Put
from cloche.model.topology import Attachment
from cloche.tables.schema import Capacity, Tables, Write

SOURCE = HERE / "classify" / "classify.bpf.c"
QUESTIONS, BATCH = 65536, 64
PREPARED, TALLY = struct.Struct("<16s4I"), struct.Struct("<4Q")
LOOPBACK = 1
FRAME = bytes(64)
PARTS = ("just_addresses", "just_prefixes", "just_cells")
"""Programs that do one part of what is asked."""

SEED = 20240229
CAPACITY = Capacity(classes=8192, cells=8 * 1024 * 1024)


class Spread(NamedTuple):
    """What the packets are spread over."""

    rules: int
    classes: int
    atoms: int
    rows: int


class Done(NamedTuple):
    """A run: ns for each question, and how many were allowed and denied."""

    ns: float
    allowed: int
    denied: int


class Classifier:
    """The loaded object with one sender's tables, asked in batches."""

    def __init__(self, maps: dict[str, Map], runners: dict[str, Runner], spread: Spread) -> None:
        self._maps, self._runners, self.spread = maps, runners, spread

    def run(self, program: str, repeat: int, *, hot: bool = False) -> Done:
        """So many batches of all questions in turn, or (``hot``) of the first alone."""
        self._maps["tally"].put(bytes(4), TALLY.pack(0, 0, 0, 0 if hot else QUESTIONS - 1))
        run = self._runners[program].run(FRAME, SkbContext(LOOPBACK), repeat)
        _, allowed, denied, _ = TALLY.unpack(self._maps["tally"].get(bytes(4)) or b"")
        return Done(run.duration_ns / BATCH, allowed, denied)


def _compiled(rules: int) -> tuple[Tables, tuple[Write, ...]]:
    """One host's tables for a client with so many egress rules, and the writes that make them."""
    client = world.endpoint("client", 1, world.HOST)
    server = world.endpoint("server", 2, world.ELSEWHERE)
    compiler = Compiler(world.HOST, CAPACITY)
    attached = Put(Attachment(client.key, 1, 1, LOOPBACK, bytes(6), bytes(6)))
    change = compiler.update([*world.egress_events(client, server, rules, PORT), attached])
    return compiler.tables, change.writes


def _addresses(tables: Tables) -> list[tuple[int, list[Address]]]:
    """Each class with the addresses that lead to it: those of endpoints, and one of each block."""
    found: dict[int, list[Address]] = {}
    for at, entry in tables.addresses.items():
        if entry.class_.at(tables.generation):
            found.setdefault(entry.class_.at(tables.generation), []).append(at.address)
    for prefix, piece in tables.prefixes.items():
        class_ = piece.class_.at(tables.generation)
        found.setdefault(class_, []).append(Address(prefix.block.first()))
    return sorted(found.items())


def _ports(tables: Tables) -> list[int]:
    """For each atom an index that leads to it."""
    found: dict[int, int] = {}
    for index, word in enumerate(tables.atoms):
        found.setdefault(word & 0xFFFFFF, index)
    return list(found.values())


def _questions(addresses: list[tuple[int, list[Address]]], ports: list[int], set_: int) -> Iterator[bytes]:
    """Random packets, every class and every atom as likely as any other; ``set_`` is the sender's."""
    chance = Random(SEED)
    for _ in range(QUESTIONS):
        class_, some = chance.choice(addresses)
        yield PREPARED.pack(chance.choice(some), 1, chance.choice(ports), class_, set_)


@contextmanager
def classifier(rules: int) -> Iterator[Classifier]:
    """The program with the tables of so many rules on one sender. Raises OSError from the kernel."""
    headers = sorted((HERE.parent / "bpf").glob("*.h"))
    tables, writes = _compiled(rules)
    addresses, ports = _addresses(tables), _ports(tables)
    set_ = tables.endpoints[1].egress.at(tables.generation)
    with ObjectFile(bpf_object(SOURCE, headers)) as opened:
        for name, entries in sizes(CAPACITY).items():
            opened.resize(name, entries)
        opened.set_constants({"max_classes": CAPACITY.classes})
        opened.load()
        names = (*Maps._fields, "prepared", "tally")
        maps = {name: Map(fd) for name, fd in opened.maps(names).items()}
        runners = {name: Runner(fd) for name, fd in opened.programs(("classify", "empty", *PARTS)).items()}
    writer = Writer(Maps(*(maps[name] for name in Maps._fields)))
    for _ in writer.apply(writes):
        pass
    for number, packed in enumerate(_questions(addresses, ports, set_)):
        maps["prepared"].put(struct.pack("<I", number), packed)
    rows = len({word.at(tables.generation) for word in tables.rows.values()})
    try:
        yield Classifier(maps, runners, Spread(rules, len(addresses), len(ports), rows))
    finally:
        for handle in maps.values():
            handle.close()

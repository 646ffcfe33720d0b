"""Generated worlds: oracle, tables and the real program give one answer, also in the middle of a change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program_lab import inside, make_devices
from program_worlds import DEVICES, ProgramWorld, attached_to, can_be_sent, on_one_ground, opening, told

from cloche.datapath.testrun import Engine
from cloche.model.address import is_ipv4
from cloche.model.flow import Entry, Packet
from cloche.model.state import Delete, Event, Put, State
from cloche.model.topology import Service
from cloche.tables.schema import Flip, Write
from cloche.tables.schema import Put as PutEntry
from worlds import TIMES, histories, in_both, packet, packets

CORPUS = Path(__file__).parents[1] / "corpus"
RELAXED = list(HealthCheck)
EACH = 20
"""Packets asked after each batch of events."""


class Kept(msgspec.Struct, frozen=True):
    """A history that was once answered wrongly, or is the smallest that gets a certain answer."""

    about: str
    batches: list[list[Event]]
    seed: int


@pytest.fixture(scope="session")
def devices(this_machine: None) -> Iterator[tuple[int, list[int]]]:
    """A namespace with a device for each endpoint, and their indexes."""
    namespace, indexes = make_devices(DEVICES + DEVICES % 2)
    yield namespace, indexes
    os.close(namespace)


@pytest.fixture
def empty(engine: Engine, devices: tuple[int, list[int]]) -> Iterator[tuple[Engine, list[int]]]:
    """The program and the devices, from inside their namespace."""
    with inside(devices[0]):
        yield engine, devices[1]


def ask_all(empty: tuple[Engine, list[int]], batches: list[list[Event]], seed: int) -> None:
    """Compare the three answers after each batch."""
    engine, indexes = empty
    engine.reset()
    world, random, port = ProgramWorld(engine, indexes), Random(seed), 30000
    for batch in attached_to(indexes, on_one_ground(batches)):
        world.become(batch)
        for plain in filter(can_be_sent, packets(world.state, random, EACH)):
            port += 1
            asked = opening(plain, port)
            oracle, tables, program = world.answers(asked)
            assert oracle == tables == program, asked


@settings(max_examples=400 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=4), seed=st.integers(0, 2**32))
def test_oracle_tables_and_program_agree(
    empty: tuple[Engine, list[int]], batches: list[list[Event]], seed: int
) -> None:
    """On any world, and after each change of it, the three give every packet one answer."""
    ask_all(empty, batches, seed)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_kept_still_holds(empty: tuple[Engine, list[int]], path: Path) -> None:
    """The histories of ``tests/corpus`` get one answer from all three."""
    kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    ask_all(empty, kept.batches, kept.seed)


def flip_at(writes: tuple[Write, ...]) -> int:
    """How many steps leave the old generation active."""
    in_maps = [w for w in writes if not isinstance(w, PutEntry) or w.map != "rules"]
    return next((at for at, write in enumerate(in_maps) if isinstance(write, Flip)), len(in_maps))


def asked_of(old: State, new: State, random: Random) -> list[Packet]:
    """Packets between what is in both generations; services are not part of a flip."""
    served = {a for state in (old, new) for s in state.services.values() for a in s.addresses}
    return [
        opening(plain, 31000)
        for plain in packets(new, random, 12)
        if can_be_sent(plain)
        and in_both(old, new, plain)
        and plain.destination not in served
        and (plain.entry is not Entry.ENDPOINT or plain.sender in old.attachments)
    ]


@settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=4), seed=st.integers(0, 2**32))
def test_the_program_changes_its_answers_at_the_flip_alone(
    empty: tuple[Engine, list[int]], batches: list[list[Event]], seed: int
) -> None:
    """Stopped after each single write, the program gives the old generation's answers before the flip and the
    new one's from the flip on."""
    engine, indexes = empty
    engine.reset()
    world, random = ProgramWorld(engine, indexes), Random(seed)
    first, *rest = attached_to(indexes, on_one_ground(batches))
    world.become(first)
    for batch in rest:
        before = State(map(Put, world.state.objects()))
        writes = world.plan(batch)
        asked = asked_of(before, world.state, random)
        old = [told(world.ask(one)) for one in asked]
        seen = []
        for _ in engine.steps(writes):
            seen.append([told(world.ask(one)) for one in asked])
        flip = flip_at(writes)
        new = [told(world.ask(one)) for one in asked]
        for at, answers in enumerate(seen):
            assert answers == (old if at < flip else new), (at, flip)


def of_a_service(event: Event) -> bool:
    """True for a service that is put or deleted."""
    if isinstance(event, Put):
        return isinstance(event.object, Service)
    return isinstance(event, Delete) and event.kind == Service.__name__


@settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=8), seed=st.integers(0, 2**32))
def test_every_write_leaves_each_service_its_old_or_its_new_list(
    empty: tuple[Engine, list[int]], batches: list[list[Event]], seed: int
) -> None:
    """Stopped after each single write of a change of services, the program answers as before it or as after
    it, and goes from the one to the other once."""
    engine, indexes = empty
    engine.reset()
    world, random = ProgramWorld(engine, indexes), Random(seed)
    first, *rest = attached_to(indexes, on_one_ground(batches))
    world.become(first)
    for batch in rest:
        writes = world.plan([event for event in batch if of_a_service(event)])
        asked = [opening(p, 31000) for p in to_services(world.state, random) if can_be_sent(p)]
        seen = [[told(world.ask(one))[:-1] for one in asked]]
        for _ in engine.steps(writes):
            seen.append([told(world.ask(one))[:-1] for one in asked])
        for one, answers in zip(asked, zip(*seen, strict=True), strict=True):
            changes = [at for at in range(1, len(answers)) if answers[at] != answers[at - 1]]
            assert len(changes) <= 1, one


def to_services(state: State, random: Random) -> list[Packet]:
    """Packets from endpoints of this host to the ports of every service, and to ports next to them."""
    local = [a for e in state.endpoints.values() if e.key in state.attachments for a in e.addresses]
    return [
        packet(state, random.choice(sources), address, (port.protocol, number))
        for service in state.services.values()
        for address in service.addresses
        for port in service.ports
        for number in (port.port, port.port + 1)
        if (sources := [a for a in local if is_ipv4(a) == is_ipv4(address)])
    ]

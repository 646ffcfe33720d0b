"""Replay: each generation against the oracle on a second instance, before it is active and after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program_lab import inside
from replay_lab import LONG, Rehearsed, flip_of, make_links
from tools import build_bpf

from cloche.agent.comparing import Run, compare
from cloche.datapath.events import EventReader
from cloche.datapath.layout import EndpointState
from cloche.datapath.pins import Maps
from cloche.datapath.second import SHARED, Second
from cloche.datapath.testrun import Engine
from cloche.model.address import parse_block
from cloche.model.labels import NAMESPACE_NAME_LABEL, make_labels, match_labels
from cloche.model.policy import BlockPeer, PodPeer, Policy, PortMatch, Rule
from cloche.model.state import Event, Put
from cloche.model.topology import ICMP, TCP, UDP, Endpoint, NamedPort, Namespace, Network
from cloche.tables.schema import Put as Written
from cloche.tables.schema import settled
from worlds import HERE, HOST, RANGES, TIMES, addresses_of, attachment, histories

RELAXED = list(HealthCheck)


@pytest.fixture(scope="module")
def links(this_machine: None) -> Iterator[int]:
    """A namespace with the devices of the worlds' endpoints."""
    namespace = make_links()
    yield namespace
    os.close(namespace)


@pytest.fixture(scope="module")
def second(loaded_engine: Engine) -> Iterator[Second]:
    """A second instance on the engine's tables."""
    made = Second(loaded_engine.loaded.maps)
    yield made
    made.close()


@pytest.fixture
def rehearsed(loaded_engine: Engine, second: Second, links: int) -> Iterator[Rehearsed]:
    """A host without anything yet, whose changes are replayed."""
    with inside(links):
        yield Rehearsed(loaded_engine, second)


@settings(max_examples=15 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(), seed=st.integers(0, 2**32))
def test_a_right_program_and_compiler_raise_no_alarm(
    loaded_engine: Engine, second: Second, links: int, batches: list[list[Event]], seed: int
) -> None:
    """Whatever policies, endpoints, services, namespaces and hosts come, change and go, replay finds nothing
    before the flip and nothing after it."""
    with inside(links):
        rehearsed = Rehearsed(loaded_engine, second, seed)
        for batch in batches:
            for compared in rehearsed.change(batch):
                assert not compared.differences, str(compared.differences[0])


SERVER, CLIENT = (
    Endpoint("x", name, addresses_of(name), make_labels({"app": name}), ports, host=HERE)
    for name, ports in (("a", (NamedPort("http", TCP, 8080),)), ("b", ()))
)
LID = Policy(
    "NetworkPolicy",
    "x",
    "lid",
    PodPeer(match_labels({"app": "a"}), "x"),
    ingress=(
        Rule(0, peers=(PodPeer(match_labels({"app": "b"}), "x"),), ports=(PortMatch(TCP, name="http"),)),
        Rule(1, peers=(BlockPeer(parse_block("203.0.113.0/24")),), ports=(PortMatch(UDP, 53, 60),)),
        Rule(2, ports=(PortMatch(ICMP, 0x800, 0x8FF),)),
    ),
    egress=(Rule(0, peers=(BlockPeer(parse_block("192.0.2.0/24")),), ports=(PortMatch(TCP, 443, 443),)),),
)
OPEN = msgspec.structs.replace(LID, ingress=(*(LID.ingress or ()), Rule(3, peers=None, ports=None)))
ATTACHED = [attachment(endpoint, 1) for endpoint in (SERVER, CLIENT)]
SPACE = Namespace("x", make_labels({NAMESPACE_NAME_LABEL: "x"}))
WORLD: tuple[Event, ...] = tuple(
    Put(one) for one in (HOST, Network(1, ranges=RANGES), SPACE, SERVER, CLIENT, *ATTACHED)
)
ALL = 100_000


def test_any_one_decision_altered_is_found_before_the_flip(rehearsed: Rehearsed) -> None:
    """Whichever cell that the new generation uses is turned round in the kernel, some packet shows it, while
    the generation before is still active."""
    rehearsed.change(WORLD)
    generation = rehearsed.prepare([Put(LID)])
    tables, found = rehearsed.compiler.tables, {}
    cases = rehearsed.cases(ALL)
    for row, cells in tables.cells.items():
        for atom, cell in enumerate(cells):
            if cell:
                with altered(rehearsed.engine, ("cells", (row, atom), (cell ^ 3,), (cell,))):
                    found[row, atom] = compare(
                        rehearsed.second, cases, Run(generation, False, LONG)
                    ).differences
    missed = [place for place, differences in found.items() if not differences]
    assert not missed and len(found) > 8
    assert rehearsed.engine.config().generation < generation
    assert not compare(rehearsed.second, cases, Run(generation, False, LONG)).differences


@contextmanager
def altered(engine: Engine, entry: tuple[str, object, object, object]) -> Iterator[None]:
    """An entry of the kernel's as it should not be, and right again."""
    name, key, wrong, right = entry
    engine.write([Written(name, key, wrong)])
    try:
        yield
    finally:
        engine.write([Written(name, key, right)])


@pytest.mark.parametrize("forgotten", ["rows", "addresses", "prefixes", "endpoints", "atoms", "cells"])
def test_what_the_compiler_forgets_to_write_is_found(rehearsed: Rehearsed, forgotten: str) -> None:
    """A change that never reaches one of the maps is found before its flip, although nothing was written that
    would tell of it."""
    rehearsed.change(WORLD)
    change = rehearsed.compiler.update([Put(LID)])
    writes = [w for w in change.writes if not (isinstance(w, Written) and w.map == forgotten)]
    assert len(writes) < len(change.writes)
    rehearsed.replay.learn([Put(LID)], writes, rehearsed.compiler.tables)
    rehearsed.engine.write(writes[: flip_of(writes)])
    assert rehearsed.ask(change.generation, ALL, active=False).differences


def test_what_goes_wrong_once_active_is_found(rehearsed: Rehearsed) -> None:
    """A row that is altered after the flip is found by the questions that are left then, and the report says
    that the generation is active."""
    rehearsed.change(WORLD)
    generation = rehearsed.prepare([Put(LID)])
    assert not rehearsed.ask(generation, 10, active=False).differences
    rehearsed.finish()
    for pair in rehearsed.compiler.tables.rows:
        rehearsed.engine.write([Written("rows", pair, settled(0))])
    (difference,) = rehearsed.ask(generation, ALL, active=True).differences
    assert difference.active and difference.generation == generation
    assert difference.datapath.reason == "unknown-class"


MUTANTS = {
    "directions swapped": ("READ_ONCE(endpoint->egress)", "READ_ONCE(endpoint->ingress)"),
    "the next atom": ("unit->cells[atom % ROW_UNIT]", "unit->cells[(atom ^ 1) % ROW_UNIT]"),
    "an off-by-one port": ("port & 0xffff)", "(port + 1) & 0xffff)"),
    "ICMP codes forgotten": ("icmp & 0xffff", "icmp >> 8"),
    "the host is anybody": ("&asked->source, asked->from_host)", "&asked->source, 0)"),
    "ingress not asked": ("if (asked->ingress_set) {", "if (0) {"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_program_is_found_before_activation(
    rehearsed: Rehearsed, tmp_path: Path, mutant: str
) -> None:
    """A program with one seeded mistake in how it asks policy answers some packet of the first generation
    with a policy otherwise than the oracle."""
    shutil.copytree(build_bpf.ROOT / "bpf", tmp_path / "bpf")
    source = tmp_path / "bpf/policy.h"
    right, wrong = MUTANTS[mutant]
    assert right in source.read_text()
    source.write_text(source.read_text().replace(right, wrong))
    build_bpf.build(tmp_path / "wrong.bpf.o", tmp_path / "bpf")
    rehearsed.second = Second(rehearsed.engine.loaded.maps, tmp_path / "wrong.bpf.o")
    rehearsed.change(WORLD, before=0, after=0)
    generation = rehearsed.prepare([Put(LID)])
    try:
        assert rehearsed.ask(generation, ALL, active=False).differences
    finally:
        rehearsed.second.close()


def test_replay_leaves_no_trace(rehearsed: Rehearsed) -> None:
    """Whatever the second instance is asked, flows, fragments, affinity, counters, reasons, owners, events
    and configuration of the first are byte for byte as they were, and the second remembers no flow."""
    rehearsed.change(WORLD)
    generation = rehearsed.prepare([Put(OPEN)])
    maps = rehearsed.engine.loaded.maps
    written = [name for name in Maps._fields if name not in SHARED and name != "events"]
    before = {name: list(getattr(maps, name).items()) for name in written}
    EventReader(maps.events.fd).discard()
    compared = rehearsed.ask(generation, ALL, active=False)
    assert compared.asked > 200 and not compared.differences
    assert {name: list(getattr(maps, name).items()) for name in written} == before
    assert not EventReader(maps.events.fd).read(100)
    again = rehearsed.ask(generation, ALL, active=False)
    assert again.asked == 0, "nothing is left to ask"
    assert rehearsed.second.flows() == 0


def test_the_second_instance_is_small_and_its_own(rehearsed: Rehearsed) -> None:
    """What the program writes the second instance has for itself, with room for next to nothing; what the
    program only reads is the first's."""
    own = rehearsed.second.map_ids()
    first = {name: handle.info.id for name, handle in rehearsed.engine.loaded.maps._asdict().items()}
    assert set(own) == set(Maps._fields) - set(SHARED)
    assert all(own[name] != first[name] for name in own)
    assert all(entries <= 4096 for entries in rehearsed.second.memory().values())


def test_what_opens_with_the_flip_is_asked_again_on_its_own_link(rehearsed: Rehearsed) -> None:
    """Before the flip new endpoints are asked about through the stack, as their links are closed; after it
    the same packets come in on their links, and one that stayed closed is found."""
    generation = rehearsed.prepare([*WORLD, Put(LID)])
    early = rehearsed.cases(ALL)
    assert early and not any(case.link for case in early)
    assert not compare(rehearsed.second, early, Run(generation, False, LONG)).differences
    rehearsed.finish()
    late = rehearsed.cases(ALL)
    assert {case.names[0] for case in late if case.link} == {SERVER.key, CLIENT.key}
    number = ATTACHED[1].number
    entry = rehearsed.compiler.tables.endpoints[number]
    closed = entry._replace(state=EndpointState.CLOSED)
    with altered(rehearsed.engine, ("endpoints", number, closed, entry)):
        (difference,) = compare(rehearsed.second, late, Run(generation, True, LONG)).differences
        assert difference.datapath.reason == "closed"
    assert not compare(rehearsed.second, late, Run(generation, True, LONG)).differences

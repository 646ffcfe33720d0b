"""Writes reach the maps in their order, and what was written can be read back and repaired."""

from __future__ import annotations

import pytest

from cloche.datapath.layout import EndpointState
from cloche.datapath.readback import difference
from cloche.datapath.reconcile import Step, Writer
from cloche.datapath.testrun import Engine
from cloche.model.address import parse_address, parse_block
from cloche.model.flow import Verdict
from cloche.tables.schema import (
    ATOMS_SIZE,
    AddressEntry,
    AddressKey,
    BackendEntry,
    Cell,
    EndpointEntry,
    Flip,
    Grace,
    MemberKey,
    PrefixEntry,
    PrefixKey,
    Put,
    Remove,
    ServiceEntry,
    ServiceKey,
    SetEntry,
    Tables,
    Versioned,
    Write,
    settled,
)

A, B = parse_address("10.0.0.1"), parse_address("fd00::1")
ALLOW = Cell(Verdict.ALLOW, rule=3).pack()


def endpoint(incarnation: int = 7, state: EndpointState = EndpointState.OPEN) -> EndpointEntry:
    sets = (Versioned(1, 2, 5), settled(3))
    return EndpointEntry(*sets, int(state), 9, 1, incarnation, b"\2" * 6, b"\4" * 6, 0, A, B, 64, 32)


def some_writes() -> list[Write]:
    return [
        Put("cells", (4, 0), (ALLOW, 0, ALLOW)),
        Put("cells", (9, 1), (ALLOW,)),
        Put("rows", (2, 3), Versioned(4, 9, 6)),
        Put("atoms", (80, 90), Versioned(1, 2, 6)),
        Put("atoms", (ATOMS_SIZE - 1, ATOMS_SIZE - 1), settled(2)),
        Put("sets", 2, SetEntry(10, 4, 0)),
        Put("rules", 2, ()),
        Put("addresses", AddressKey(1, A), AddressEntry(settled(3), 5, 0)),
        Put("addresses", AddressKey(1, B), AddressEntry(settled(4), 0, 2)),
        Put("prefixes", PrefixKey(1, parse_block("10.0.0.0/8")), PrefixEntry(settled(6), 1)),
        Put("backends", 11, BackendEntry(A, 8080, 21)),
        Put("members", MemberKey(21, A, 8080), 1),
        Put("services", ServiceKey(1, B, 80, 6), ServiceEntry(21, 11, 1, 1, 0)),
        Put("endpoints", 5, endpoint()),
        Put("links", 9, 5),
        Flip(6),
    ]


def test_what_was_written_is_read_back(engine: Engine) -> None:
    """Every kind of write is found again in the tables read out of the maps."""
    engine.write(some_writes())
    held = engine.tables()
    assert held.generation == 6
    assert held.cells == {4: [ALLOW, 0, ALLOW], 9: [0, ALLOW, 0]}
    assert held.rows == {(2, 3): Versioned(4, 9, 6)}
    assert held.atoms[80] == held.atoms[90] == Versioned(1, 2, 6).pack()
    assert held.atoms[79] == held.atoms[91] == 0
    assert held.endpoints == {5: endpoint()}
    assert held.links == {9: 5}
    assert held.sets == {2: SetEntry(10, 4, 0)}
    assert held.addresses[AddressKey(1, B)] == AddressEntry(settled(4), 0, 2)
    assert held.prefixes == {PrefixKey(1, parse_block("10.0.0.0/8")): PrefixEntry(settled(6), 1)}
    assert held.backends == {11: BackendEntry(A, 8080, 21)}
    assert held.members == {MemberKey(21, A, 8080): 1}
    assert held.services == {ServiceKey(1, B, 80, 6): ServiceEntry(21, 11, 1, 1, 0)}


def test_removed_entries_are_gone(engine: Engine) -> None:
    """Hash entries vanish and array entries are zero after their removal."""
    writes = some_writes()
    engine.write(writes)
    engine.write([Remove(w.map, w.key) for w in reversed(writes) if isinstance(w, Put)])
    held, empty = engine.tables(), Tables()
    for name in ("addresses", "prefixes", "endpoints", "links", "rows", "sets", "services", "members"):
        assert getattr(held, name) == getattr(empty, name), name
    assert held.atoms == empty.atoms
    assert held.backends == {}


def test_difference_repairs_what_was_altered(engine: Engine) -> None:
    """Whatever is altered behind the writer's back is found, and the writes named for it repair it."""
    engine.write(some_writes())
    want = engine.tables()
    assert difference(engine.tables(), want) == []
    engine.write(
        [
            Remove("addresses", AddressKey(1, A)),
            Put("addresses", AddressKey(2, A), AddressEntry(settled(1), 0, 0)),
            Put("endpoints", 5, endpoint(state=EndpointState.CLOSED)),
            Put("endpoints", 6, endpoint(incarnation=8)),
            Put("cells", (4, 1), (ALLOW,)),
            Put("atoms", (85, 95), settled(1)),
            Put("rows", (1, 1), settled(4)),
        ]
    )
    repair = difference(engine.tables(), want)
    engine.write(repair)
    assert difference(engine.tables(), want) == []
    assert len(repair) == 9


def test_one_step_is_one_write(engine: Engine) -> None:
    """Applied one by one, each write is in the maps before the next is taken."""
    seen = []
    for _ in engine.steps(some_writes()[7:10]):
        held = engine.tables()
        seen.append((len(held.addresses), len(held.prefixes)))
    assert seen == [(1, 0), (2, 0), (2, 1)]


def test_a_grace_period_is_announced_before_it_is_waited_for(engine: Engine) -> None:
    """The caller hears of the wait first, when everything before it is written."""
    writer = Writer(engine.loaded.maps)
    key = AddressKey(1, A)
    steps = writer.apply([Put("addresses", key, AddressEntry(settled(1), 0, 0)), Grace(), Flip(2)])
    assert next(steps) is Step.WAITS
    assert key in engine.tables().addresses
    assert engine.config().generation == 0
    assert list(steps) == []
    assert engine.config().generation == 2


def test_another_endpoint_under_the_same_number_is_closed_in_between(engine: Engine) -> None:
    """While one endpoint's entry becomes another's no mixture of the two is ever open."""
    engine.write([Put("endpoints", 5, endpoint())])
    records = engine.loaded.maps.endpoints.mapped()
    states = []
    writer = Writer(engine.loaded.maps)
    original = writer.arrays.endpoints._records.write

    def watch(number: int, value: bytes) -> None:
        states.append(engine.tables().endpoints[5].state)
        original(number, value)

    writer.arrays.endpoints._records.write = watch  # type: ignore[method-assign]
    list(writer.apply([Put("endpoints", 5, endpoint(incarnation=8))]))
    assert states == [int(EndpointState.CLOSED)]
    assert engine.tables().endpoints[5] == endpoint(incarnation=8)
    records.release()


@pytest.mark.parametrize(
    "write",
    [
        Put("rows", (0, 256), settled(1)),
        Put("rows", (128, 0), settled(1)),
        Put("cells", (256 * 1024 // 16, 0), (ALLOW,)),
        Put("endpoints", 64, endpoint()),
        Put("backends", -1, BackendEntry(A, 1, 1)),
        Put("atoms", (5, ATOMS_SIZE), settled(1)),
    ],
    ids=lambda write: f"{write.map}-{write.key}",
)
def test_numbers_that_do_not_fit_are_refused(engine: Engine, write: Write) -> None:
    """A number past a map's end is an IndexError, never a write somewhere else."""
    with pytest.raises(IndexError):
        engine.write([write])
    assert engine.tables().rows == {}

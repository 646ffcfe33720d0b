"""A change seen from the middle: what packets are told after each single write of it."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Iterable
from random import Random

import policy_worlds as pw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_numbers import SOON, USUAL, levelling_after

from cloche.compiler import Compiler, compile_full, digest
from cloche.compiler.comparing import compare
from cloche.model.address import parse_address
from cloche.model.flow import Decision, Packet
from cloche.model.labels import make_labels
from cloche.model.state import Delete, Event, State
from cloche.model.state import Put as PutObject
from cloche.model.topology import Attachment, Endpoint, Host
from cloche.tables.lookup import judge
from cloche.tables.mirror import apply_write
from cloche.tables.schema import Capacity, Flip, Grace, Remove, Tables, Write
from worlds import HERE, TIMES, histories, in_both, packets

SMALL = Capacity(classes=256, sets=64, cells=65536, endpoints=64, quota=16)
RELAXED = list(HealthCheck)
OPEN = 2
both_ages = pytest.mark.parametrize("level_after", (USUAL, SOON))


def copied(tables: Tables) -> Tables:
    """Tables of their own that say the same."""
    other = Tables(tables.generation)
    for name, value in vars(tables).items():
        if isinstance(value, dict):
            setattr(other, name, copy.deepcopy(value) if name == "cells" else dict(value))
    other.atoms = array("Q", tables.atoms)
    return other


def told(tables: Tables, asked: Iterable[Packet]) -> list[Decision]:
    """What the tables say of each packet."""
    return [judge(tables, packet) for packet in asked]


def flip_of(writes: tuple[Write, ...]) -> int:
    """Where the flip is; behind all writes when there is none."""
    return next((place for place, write in enumerate(writes) if isinstance(write, Flip)), len(writes))


@both_ages
@settings(max_examples=30 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=8), seed=st.integers(0, 2**32))
def test_every_write_leaves_the_old_or_the_new_answer(
    level_after: int, batches: list[list[Event]], seed: int
) -> None:
    """After every single write before the flip packets get the old generation's answers, after each one
    from the flip on the new one's (for endpoints and addresses that are in both)."""
    compiler, state, random, mirror = Compiler(HERE, SMALL), State(), Random(seed), Tables()
    for number, batch in enumerate(batches):
        with levelling_after(level_after):
            change = compiler.update(batch)
        new = State(state_events(state, batch))
        asked = [p for p in packets(new, random, 12) if number and in_both(state, new, p)]
        old_answers, new_answers = told(copied(mirror), asked), told(compiler.tables, asked)
        flip = flip_of(change.writes)
        for place, write in enumerate(change.writes):
            apply_write(mirror, write)
            assert told(mirror, asked) == (new_answers if place >= flip else old_answers), write
        state = new


def state_events(state: State, batch: list[Event]) -> list[Event]:
    """The events that make a state and then change it."""
    return [*(PutObject(value) for value in state.objects()), *batch]


@settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(histories(length=6))
def test_endpoints_are_open_only_while_they_are_here(batches: list[list[Event]]) -> None:
    """What comes is not open before the flip, what goes not after it, and another endpoint under an old
    number is opened only after both a flip and a grace period."""
    compiler, mirror = Compiler(HERE, SMALL), Tables()
    for batch in batches:
        before = {n: e.incarnation for n, e in mirror.endpoints.items() if e.state == OPEN}
        change = compiler.update(batch)
        after = {n: e.incarnation for n, e in compiler.tables.endpoints.items() if e.state == OPEN}
        flip = flip_of(change.writes)
        for place, write in enumerate(change.writes):
            apply_write(mirror, write)
            opened = {n: e.incarnation for n, e in mirror.endpoints.items() if e.state == OPEN}
            allowed = before if place < flip else after
            assert opened.items() <= allowed.items()
            if place == flip:
                assert opened.items() == (before.items() & after.items())
        assert after.items() >= before.items() & after.items()


@both_ages
@settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=8))
def test_removals_wait_for_a_grace_period(level_after: int, batches: list[list[Event]]) -> None:
    """Nothing that packets on their way may read is removed, and no flip is followed by another change's
    writes, without a grace period between; it is the change with the flip that waits for it."""
    compiler, graced = Compiler(HERE, SMALL), True
    for batch in batches:
        with levelling_after(level_after):
            change = compiler.update(batch)
        for write in change.writes:
            match write:
                case Grace():
                    graced = True
                case Flip():
                    graced = False
                case Remove("services", _):
                    pass
                case Remove():
                    assert graced
        assert graced
        writes = compiler.update(()).writes
        assert writes == ()


@both_ages
@settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=8))
def test_writes_do_what_they_say(level_after: int, batches: list[list[Event]]) -> None:
    """The writes of all changes, taken one by one, make the same tables as the compiler's own."""
    compiler, mirror = Compiler(HERE, SMALL), Tables()
    for batch in batches:
        with levelling_after(level_after):
            change = compiler.update(batch)
        for write in change.writes:
            apply_write(mirror, write)
        assert mirror.generation == compiler.tables.generation
        assert mirror.atoms == compiler.tables.atoms
        for name in ("addresses", "prefixes", "endpoints", "links", "rows", "sets", "services", "backends"):
            assert getattr(mirror, name) == getattr(compiler.tables, name)


def test_an_address_that_leaves_its_endpoint_comes_with_a_flip() -> None:
    """Another endpoint elsewhere with the same address and labels and a name before it gets the address, and
    nothing else changes: still there is a flip, by which the short way of known flows finds it out."""
    address = (parse_address("10.244.0.9"),)
    labels = make_labels({"app": "one"})
    mine = Endpoint("x", "b", address, labels, host=HERE)
    other = Endpoint("x", "a", address, labels, host="elsewhere")
    compiler = Compiler(HERE, SMALL)
    attached = PutObject(Attachment(mine.key, 1, 1, 101, bytes(6), bytes(6)))
    compiler.update([*map(PutObject, (pw.NETWORK, Host(HERE), pw.namespace("x"), mine)), attached])
    (before,) = (entry.endpoint for entry in compiler.tables.addresses.values() if entry.endpoint)
    change = compiler.update([PutObject(other)])
    assert before == 1
    assert all(entry.endpoint != 1 for entry in compiler.tables.addresses.values())
    assert any(isinstance(write, Flip) for write in change.writes)


@settings(max_examples=30 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(histories(length=8), st.sets(st.integers(0, 7)))
def test_a_digest_that_is_asked_for_later_is_the_same(batches: list[list[Event]], asked: set[int]) -> None:
    """Whichever changes the digest is asked for at, it is that of one who asked at every change."""
    always, seldom = Compiler(HERE, SMALL), Compiler(HERE, SMALL)
    for number, batch in enumerate(batches):
        digest = always.update(batch).digest
        assert seldom.update(batch, digested=False).digest == ""
        if number in asked:
            assert seldom.digest == digest
    assert seldom.digest == always.digest


def adopted(tables: Tables, before: Compiler, state: State) -> Compiler:
    """Who finds the tables that another compiler's writes had made when they ended, and is told the state."""
    made = Compiler(HERE, SMALL, tables, before.tables.generation)
    made.update(PutObject(value) for value in state.objects())
    return made


@both_ages
@settings(max_examples=25 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(length=4), goes=st.booleans(), after=st.booleans())
def test_whoever_adopts_half_a_change_ends_where_a_full_compile_does(
    level_after: int, batches: list[list[Event]], goes: bool, after: bool
) -> None:
    """Wherever the writes of a change end (``goes``: one after which no endpoint is here), a compiler that
    finds the tables so makes those of a full compile, of the state before the change as of the one after."""
    compiler = Compiler(HERE, SMALL)
    if goes:
        here = State(event for batch in batches for event in batch).attachments
        batches = [*batches, [Delete(kind, key) for key in here for kind in ("Attachment", "Endpoint")]]
    for batch in batches[:-1]:
        with levelling_after(level_after):
            compiler.update(batch)
    mirror = copied(compiler.tables)
    with levelling_after(level_after):
        writes = compiler.update(batches[-1]).writes
    taken = batches if after else batches[:-1]
    state = State(event for batch in taken for event in batch)
    want = compile_full(state, HERE, SMALL)
    for write in writes:
        apply_write(mirror, write)
        adopting = adopted(copied(mirror), compiler, state)
        assert list(compare(adopting.tables, want, str)) == [], write
        assert adopting.digest == digest(want)


def test_a_generation_that_never_was_active_does_not_come_again() -> None:
    """Words that were written for a generation before its flip, which never came, do not count in another
    one: whoever adopts the tables gives that number to none."""
    address, far = (parse_address("10.244.0.2"), parse_address("10.244.0.3"))
    labels = make_labels({"app": "one"})
    mine = Endpoint("x", "a", (address,), labels, host=HERE)
    attached = PutObject(Attachment(mine.key, 1, 1, 101, bytes(6), bytes(6)))
    first = [*map(PutObject, (pw.NETWORK, Host(HERE), pw.namespace("x"), mine)), attached]
    compiler = Compiler(HERE, SMALL)
    compiler.update(first)
    mirror = copied(compiler.tables)
    last = PutObject(Endpoint("x", "b", (far,), host="elsewhere"))
    writes = compiler.update([last]).writes
    assert flip_of(writes) > 0
    for write in writes[: flip_of(writes)]:
        apply_write(mirror, write)
    adopting = adopted(mirror, compiler, State([*first, last]))
    assert adopting.tables.generation > compiler.tables.generation
    want = compile_full(adopting.state, HERE, SMALL)
    assert list(compare(adopting.tables, want, str)) == []
    assert adopting.digest == digest(want)

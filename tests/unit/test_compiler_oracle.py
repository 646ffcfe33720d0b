"""The tables against the oracle: on any world, and after each change of any history."""

from __future__ import annotations

from random import Random

import policy_worlds as pw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_numbers import SOON, USUAL, levelling_after

from cloche.compiler import Compiler, compile_full, digest
from cloche.model.evaluate import Answer, decide, judge, question
from cloche.model.flow import Decision, Packet, Verdict
from cloche.model.policy import Direction
from cloche.model.state import Event, State
from cloche.model.topology import TCP, UDP, NamedPort
from cloche.tables.lookup import judge as look_up
from cloche.tables.schema import Capacity
from worlds import HERE, TIMES, histories, packets, worlds

SMALL = Capacity(classes=256, sets=64, cells=65536, endpoints=64, quota=16)
RELAXED = list(HealthCheck)


def expected(state: State, packet: Packet) -> Decision:
    """The oracle's answer, as far as this host has a say: only its own endpoints are subjects here."""
    answers = []
    for direction in Direction:
        asked = question(state, packet, direction)
        subject = asked.subject.endpoint
        here = subject is not None and subject.key in state.attachments
        answers.append(judge(state, asked) if here else Answer(Verdict.ALLOW))
    return decide(packet, *answers)


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(worlds(), st.integers(0, 2**32))
def test_tables_say_what_the_oracle_says(state: State, seed: int) -> None:
    """On any world, verdict, reason and rules of both directions are the oracle's for its edge packets."""
    tables = compile_full(state, HERE, SMALL)
    for packet in packets(state, Random(seed), 120):
        assert look_up(tables, packet) == expected(state, packet)


@pytest.mark.parametrize("level_after", (USUAL, SOON))
@settings(max_examples=40 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(), seed=st.integers(0, 2**32))
def test_changes_lead_where_a_full_compile_does(
    level_after: int, batches: list[list[Event]], seed: int
) -> None:
    """After each change of any history the tables differ from a full compile's in numbering alone, and say
    what the oracle says."""
    compiler, state, random = Compiler(HERE, SMALL), State(), Random(seed)
    for batch in batches:
        with levelling_after(level_after):
            change = compiler.update(batch)
        for event in batch:
            state.apply(event)
        assert change.digest == digest(compiler.tables) == digest(compile_full(state, HERE, SMALL))
        for packet in packets(state, random, 30):
            assert look_up(compiler.tables, packet) == expected(state, packet)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_named_port_is_of_its_protocol_alone(protocol: int) -> None:
    """Where a pod gives the name to a port of another protocol, a rule by that name opens neither."""
    web, friend = pw.pod("x/web", 1, {}, [NamedPort("http", UDP, 80)]), pw.pod("x/friend", 2, {})
    lid = pw.policy("x/lid", ingress=[pw.rule(everyone=True, ports=[pw.port("http")])])
    state = pw.world(pw.namespace("x"), web, friend, *pw.attached(web, friend), lid)
    packet = pw.packet(friend, web, protocol=protocol)
    assert expected(state, packet).verdict is Verdict.DENY
    assert look_up(compile_full(state, HERE, SMALL), packet) == expected(state, packet)

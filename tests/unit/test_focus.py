"""The oracle on a state cut down to one packet, against the oracle on the whole."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_worlds import HOST, NETWORK, block, namespace, packet, pod, pods, policy, rule

from cloche.model.evaluate import evaluate
from cloche.model.focus import Focus
from cloche.model.state import Event, Put, State
from worlds import TIMES, histories, packets, worlds

RELAXED = list(HealthCheck)


@settings(max_examples=40 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(worlds(), st.integers(0, 2**32))
def test_cutting_down_never_changes_the_answer(state: State, seed: int) -> None:
    """For any packet in any world the oracle decides on what is around the packet as on everything."""
    focus = Focus(Put(value) for value in state.objects())
    for one in packets(state, Random(seed), 60):
        assert evaluate(focus.around(one), one) == evaluate(state, one)


@settings(max_examples=30 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(histories(), st.integers(0, 2**32))
def test_it_follows_every_change(batches: list[list[Event]], seed: int) -> None:
    """After each change of any history the cut-down state answers as the whole one: nothing stays behind."""
    focus, state, random = Focus(), State(), Random(seed)
    for batch in batches:
        for event in batch:
            focus.apply(event)
            state.apply(event)
        for one in packets(state, random, 20):
            assert evaluate(focus.around(one), one) == evaluate(state, one)


def test_what_cannot_matter_is_left_out() -> None:
    """Around a packet there are its two endpoints and the policies that select them, and no others."""
    a, b, other = pod("x/a", 2), pod("x/b", 3), pod("y/c", 4)
    mine = policy("x/mine", pods(where="x"), ingress=[rule(block("10.0.0.0/8"))])
    theirs = policy("y/theirs", pods(where="y"), ingress=[])
    focus = Focus(Put(o) for o in (NETWORK, HOST, namespace("x"), namespace("y"), a, b, other, mine, theirs))
    part = focus.around(packet(a, b))
    assert set(part.endpoints) == {"x/a", "x/b"} and set(part.policies) == {mine.key}

"""What holds of the oracle in every world."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from random_worlds import objects, packets, policies

from cloche.model.evaluate import evaluate
from cloche.model.explain import explain
from cloche.model.flow import Decision, Verdict
from cloche.model.policy import Action, Direction, Rule, Tier
from cloche.model.reasons import Reason
from cloche.model.state import Delete, Put, State
from cloche.model.tracker import OracleWorld
from worlds import TIMES


def state_of(things: list[object]) -> State:
    """The state after these objects."""
    return State(Put(thing) for thing in things)  # type: ignore[arg-type]


@settings(max_examples=15 * TIMES, deadline=None)
@given(st.data())
def test_order_does_not_matter(data: st.DataObject) -> None:
    """Events in any order, repeated or taken back and told again, make a state with the same answers."""
    things = data.draw(objects())
    state = state_of(things)
    other = state_of(data.draw(st.permutations(things)))
    for thing in data.draw(st.lists(st.sampled_from(things), max_size=3)):
        other.apply(Delete(type(thing).__name__, thing.key))
        other.apply(Put(thing))
    for _ in range(4):
        packet = data.draw(packets(state))
        assert evaluate(state, packet) == evaluate(other, packet)


@settings(max_examples=15 * TIMES, deadline=None)
@given(st.data())
def test_another_allow_never_denies(data: st.DataObject) -> None:
    """In the default tier one more allowing rule in an isolating policy denies nothing that was allowed."""
    things = data.draw(objects((Tier.DEFAULT,)))
    state = state_of(things)
    for policy in list(state.policies.values()):
        wider = {}
        for direction in Direction:
            old, more = policy.rules(direction), data.draw(policies((Tier.DEFAULT,))).rules(direction)
            if old is not None:
                extra = tuple(
                    Rule(len(old) + n, r.action, r.peers, r.ports) for n, r in enumerate(more or ())
                )
                wider[direction.name.lower()] = old + extra
        changed = State(Put(thing) for thing in things)
        changed.apply(Put(msgspec.structs.replace(policy, **wider)))
        for _ in range(3):
            packet = data.draw(packets(state))
            if evaluate(state, packet).verdict is Verdict.ALLOW:
                assert evaluate(changed, packet).verdict is Verdict.ALLOW


@settings(max_examples=15 * TIMES, deadline=None)
@given(st.data())
def test_the_rule_named_is_the_one_that_decided(data: st.DataObject) -> None:
    """Reason, direction and rule of a decision agree, and the rule named exists with that action."""
    state = state_of(data.draw(objects()))
    for _ in range(4):
        found = evaluate(state, data.draw(packets(state)))
        assert (found.verdict is Verdict.DENY) == (found.deciding is not None)
        denying = {
            None: None,
            Direction.EGRESS: found.egress_rule,
            Direction.INGRESS: found.ingress_rule,
        }[found.deciding]
        if denying is None:
            assert found.reason is Reason.NONE
            continue
        policy = state.policies[denying.policy]
        isolation = found.reason in (Reason.EGRESS_NOT_ALLOWED, Reason.INGRESS_NOT_ALLOWED)
        assert isolation == (denying.index == -1) == (policy.tier is Tier.DEFAULT)
        if not isolation:
            rules = policy.rules(denying.direction)
            assert rules is not None
            assert rules[denying.index].action in (Action.DENY, Action.PASS)


def without_sides(decision: Decision) -> tuple[object, ...]:
    """The verdict and what decided it."""
    return decision.verdict, decision.reason, decision.deciding, decision.egress_rule, decision.ingress_rule


@settings(max_examples=15 * TIMES, deadline=None)
@given(st.data())
def test_explanations_and_worlds_agree_with_the_oracle(data: st.DataObject) -> None:
    """Explanations hold the oracle's decision, and so does a world whose endpoints are all here."""
    state = state_of(data.draw(objects()))
    world = OracleWorld(state, 1, lambda asked, view: view.backends[0])
    for _ in range(4):
        packet = data.draw(packets(state))
        expected = evaluate(state, packet)
        explanation = explain(state, packet)
        assert explanation.decision == expected
        assert without_sides(world.judge(packet)) == without_sides(expected)
        for why in (explanation.egress, explanation.ingress):
            assert why.nearest is None or (why.verdict is Verdict.DENY and why.nearest.misses)

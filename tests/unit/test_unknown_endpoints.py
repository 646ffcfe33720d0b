"""An address of the pods' ranges that nobody is known to have: what cannot be known is denied."""

from __future__ import annotations

import pytest
from policy_worlds import attached, block, namespace, packet, pod, pods, policy, rule, world

from cloche.compiler import compile_full
from cloche.model.evaluate import evaluate
from cloche.model.flow import Verdict
from cloche.model.labels import EVERYTHING
from cloche.model.policy import Action, PodPeer, Policy, Tier
from cloche.tables.lookup import judge
from cloche.tables.schema import Capacity

SMALL = Capacity(classes=64, sets=16, cells=16384, endpoints=16, quota=16)
A = pod("x/a", 1, {"app": "a"})
UNKNOWN, KNOWN_OUTSIDE = "10.244.9.9", "203.0.113.9"
EVERY = PodPeer(EVERYTHING, "", EVERYTHING)
SOME = pods(EVERYTHING, app="b")


def admin(action: Action, *peers: PodPeer) -> Policy:
    """A policy of the admin tier about everybody."""
    return policy("/p", EVERY, ingress=[rule(*peers, action=action)], tier=Tier.ADMIN)


WORLDS = {
    "no policy": ((), True),
    "an allow by selector": ((policy("x/p", ingress=[rule(SOME)]),), False),
    "an allow of the own namespace": ((policy("x/p", ingress=[rule(pods(where="x"))]),), False),
    "an allow of every endpoint": ((policy("x/p", ingress=[rule(EVERY)]),), True),
    "an allow by block": ((policy("x/p", ingress=[rule(block("10.244.0.0/16"))]),), True),
    "an allow by block that leaves it out": (
        (policy("x/p", ingress=[rule(block("10.244.0.0/16", "10.244.9.0/24"))]),),
        False,
    ),
    "a deny by selector": ((admin(Action.DENY, SOME),), False),
    "a pass by selector": ((admin(Action.PASS, SOME),), False),
    "an allow by selector in the admin tier": ((admin(Action.ALLOW, SOME),), True),
    "an allow by selector in the admin tier, isolated": (
        (admin(Action.ALLOW, SOME), policy("x/p", ingress=[])),
        False,
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_not_known_is_not_allowed_by_a_selector(name: str) -> None:
    """An allow needs every endpoint to match; a deny or pass by selector counts as matching, and denies."""
    policies, allowed = WORLDS[name]
    state = world(namespace("x"), A, *attached(A), *policies)
    tables = compile_full(state, "node", SMALL)
    asked = packet(UNKNOWN, A)
    found, said = judge(tables, asked), evaluate(state, asked)
    assert (found.verdict, found.reason, found.ingress_rule) == (said.verdict, said.reason, said.ingress_rule)
    assert (found.verdict is Verdict.ALLOW) == allowed


def test_who_is_outside_is_known() -> None:
    """Outside the ranges a selector matches nobody, neither to allow nor to deny."""
    state = world(namespace("x"), A, *attached(A), admin(Action.DENY, SOME))
    asked = packet(KNOWN_OUTSIDE, A)
    assert judge(compile_full(state, "node", SMALL), asked).verdict is Verdict.ALLOW
    assert evaluate(state, asked).verdict is Verdict.ALLOW

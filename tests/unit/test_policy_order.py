"""Which policy speaks first: priority, then namespace and name; in the tables as in the oracle."""

from __future__ import annotations

import pytest
from policy_worlds import attached, namespace, packet, pod, policy, rule, world

from cloche.compiler import compile_full
from cloche.model.evaluate import evaluate
from cloche.model.flow import Verdict
from cloche.model.labels import EVERYTHING
from cloche.model.policy import Action, PodPeer, Tier
from cloche.tables.lookup import judge
from cloche.tables.schema import Capacity

SMALL = Capacity(classes=64, sets=16, cells=16384, endpoints=16, quota=16)
A, B = pod("x/a", 1), pod("x/b", 2)
EVERY = PodPeer(EVERYTHING, "", EVERYTHING)


@pytest.mark.parametrize("tier", [Tier.ADMIN, Tier.BASELINE])
@pytest.mark.parametrize(("early", "late", "allowed"), [(0, 1, True), (1, 0, False), (1, 1, True)])
def test_the_lower_priority_decides(tier: Tier, early: int, late: int, allowed: bool) -> None:
    """Of an allowing policy and a denying one the lower number counts; of equals the first by name."""
    policies = (
        policy("/a", EVERY, ingress=[rule(EVERY, action=Action.ALLOW)], tier=tier, priority=early),
        policy("/b", EVERY, ingress=[rule(EVERY, action=Action.DENY)], tier=tier, priority=late),
    )
    state = world(namespace("x"), A, B, *attached(A, B), *policies)
    asked = packet(A, B)
    assert (judge(compile_full(state, "node", SMALL), asked).verdict is Verdict.ALLOW) == allowed
    assert (evaluate(state, asked).verdict is Verdict.ALLOW) == allowed

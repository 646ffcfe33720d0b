"""Explanations: who isolates, which rule decides, and which one came nearest."""

from __future__ import annotations

import pytest
from policy_worlds import attached, block, namespace, packet, pod, pods, policy, port, rule, world

from cloche.model.explain import Explanation, Miss, explain
from cloche.model.flow import Entry, RuleName
from cloche.model.labels import EVERYTHING
from cloche.model.policy import Action, Direction, Policy, Rule, Tier
from cloche.model.topology import TCP, UDP, NamedPort, Origin

A, B = pod("x/a", 1, {"app": "a"}), pod("x/b", 2, {"app": "b"}, [NamedPort("http", TCP, 8080)])
C = pod("y/c", 3, {"app": "c"})
OUTSIDE = "203.0.113.9"
TO_B = pods(where="x", app="b")


def why(*policies: Policy, source: object = A, **more: object) -> Explanation:
    """Why a packet to b:80 is decided as it is."""
    spaces = namespace("x", team="red"), namespace("y", team="blue")
    state = world(*spaces, A, B, C, *attached(A, B, C), *policies)
    return explain(state, packet(source, B, **more))  # type: ignore[arg-type]


def test_an_allowing_rule_is_named_with_its_line() -> None:
    """The rule that allowed, where it is written, and every policy that isolates."""
    found = why(policy("x/q", TO_B, ingress=[]), policy("x/p", TO_B, ingress=[rule(pods(where="x"))]))
    assert found.ingress.subject == "x/b"
    assert [each.policy for each in found.ingress.isolated_by] == [
        "NetworkPolicy/x/p",
        "NetworkPolicy/x/q",
    ]
    assert found.ingress.rule == RuleName("NetworkPolicy/x/p", Direction.INGRESS, 0)
    assert found.ingress.origin == Origin("world.yaml", 20)
    assert found.ingress.nearest is None
    assert (found.egress.isolated_by, found.egress.rule) == ((), None)


def test_isolation_is_named_with_its_policy() -> None:
    """What nothing allows is denied by the first policy that isolates."""
    found = why(policy("x/p", TO_B, ingress=[]))
    assert found.ingress.rule == RuleName("NetworkPolicy/x/p", Direction.INGRESS, -1)
    assert str(found.ingress.origin) == "world.yaml:1"
    assert found.ingress.nearest is None


NEAREST = [
    (rule(pods(where="x", app="z")), (Miss.PODS,)),
    (rule(pods({"team": "blue"}, app="a")), (Miss.NAMESPACES,)),
    (rule(pods({"team": "blue"}, app="z")), (Miss.NAMESPACES, Miss.PODS)),
    (rule(block("10.0.0.0/16")), (Miss.CIDR,)),
    (rule(block("10.244.0.0/16", "10.244.0.0/30")), (Miss.EXCEPT,)),
    (rule(everyone=True, ports=[port(81)]), (Miss.PORT,)),
    (rule(everyone=True, ports=[port(80, protocol=UDP)]), (Miss.PROTOCOL,)),
    (rule(everyone=True, ports=[port(81, protocol=UDP)]), (Miss.PROTOCOL, Miss.PORT)),
    (rule(everyone=True, ports=[port(81, protocol=UDP), port(82)]), (Miss.PORT,)),
    (rule(everyone=True, ports=[port("http")]), (Miss.PORT,)),
    (rule(pods(where="x", app="z"), ports=[port(81)]), (Miss.PODS, Miss.PORT)),
    (rule(pods(where="y", app="z"), pods(where="x", app="z")), (Miss.PODS,)),
    (rule(), (Miss.PEERS,)),
    (rule(everyone=True, ports=[]), (Miss.PORTS,)),
]


@pytest.mark.parametrize(("missing", "misses"), NEAREST)
def test_what_a_rule_misses(missing: Rule, misses: tuple[Miss, ...]) -> None:
    """Each field that keeps a rule from matching is named, by its nearest peer and port."""
    found = why(policy("x/p", TO_B, ingress=[missing])).ingress.nearest
    assert found is not None
    assert (found.misses, found.origin) == (misses, Origin("world.yaml", 20))


def test_a_selector_says_nothing_of_an_outside_address() -> None:
    """From outside both selectors miss, so a block that is wrong is nearer."""
    found = why(
        policy("x/p", TO_B, ingress=[rule(pods(EVERYTHING)), rule(block("10.0.0.0/8"))]), source=OUTSIDE
    ).ingress.nearest
    assert found is not None
    assert (found.rule.index, found.misses) == (1, (Miss.CIDR,))


def test_fewest_misses_then_order() -> None:
    """Among several the one with fewest misses is nearest, alike the first."""
    far = rule(pods(where="x", app="z"), ports=[port(81)])
    near = rule(everyone=True, ports=[port(81)])
    found = why(policy("x/q", TO_B, ingress=[near]), policy("x/p", TO_B, ingress=[far, near])).ingress
    assert found.nearest is not None
    assert found.nearest.rule == RuleName("NetworkPolicy/x/p", Direction.INGRESS, 1)


def test_a_deny_rule_is_named() -> None:
    """An admin denial names its rule; an allow of that tier that missed is the nearest."""
    deny = rule(everyone=True, action=Action.DENY)
    found = why(
        policy(
            "x/p", pods(EVERYTHING), ingress=[rule(everyone=True, ports=[port(81)]), deny], tier=Tier.ADMIN
        )
    ).ingress
    assert found.rule == RuleName("NetworkPolicy/x/p", Direction.INGRESS, 1)
    assert found.nearest is not None
    assert found.nearest.misses == (Miss.PORT,)


def test_the_own_host_and_unknown_addresses_are_said() -> None:
    """What is no policy's doing is told too."""
    closed = policy("x/p", TO_B, ingress=[])
    assert why(closed, source="172.18.0.2", entry=Entry.HOST).ingress.own_host
    assert why(closed, source="10.244.9.9").ingress.unknown_peer

"""Numbers lead back to names."""

from __future__ import annotations

from cloche.agent.naming import KEPT, Directory
from cloche.model.address import parse_address
from cloche.model.labels import EVERYTHING
from cloche.model.policy import Direction, PodPeer, Policy, Rule
from cloche.model.state import Delete, Put
from cloche.model.topology import Attachment, Endpoint, Origin, Service
from cloche.tables.schema import RuleOrigin

ONE, TWO = parse_address("10.0.0.1"), parse_address("fd00::2")
WEB = Endpoint("shop", "web", (ONE, TWO))
POLICY = Policy(
    "NetworkPolicy",
    "shop",
    "lid",
    PodPeer(EVERYTHING, "shop"),
    ingress=(Rule(0, origin=Origin("lid.yaml", 12)), Rule(1, origin=Origin("lid.yaml", 20))),
    origin=Origin("lid.yaml", 1),
)


def rule(index: int) -> RuleOrigin:
    return RuleOrigin(POLICY.key, Direction.INGRESS, index)


def test_endpoints_are_found_by_number_and_by_each_address() -> None:
    """An event's endpoint number is believed first; an address alone is enough."""
    directory = Directory()
    directory.apply(Put(WEB))
    directory.apply(Put(Attachment("shop/web", 4, 1, 9, bytes(6), bytes(6))))
    assert directory.endpoint(4, parse_address("192.0.2.1")) == "shop/web"
    assert [directory.endpoint(0, address) for address in (ONE, TWO)] == ["shop/web"] * 2
    assert directory.endpoint(5, parse_address("192.0.2.1")) == ""


def test_a_changed_or_deleted_object_leaves_no_name_behind() -> None:
    """An address that an endpoint or a service no longer has leads nowhere."""
    directory = Directory()
    directory.apply(Put(WEB))
    directory.apply(Put(Service("shop", "front", (parse_address("10.96.0.7"),))))
    directory.apply(Put(Endpoint("shop", "web", (TWO,))))
    assert (directory.by_address(ONE), directory.by_address(TWO)) == ("", "shop/web")
    directory.apply(Delete("Endpoint", "shop/web"))
    directory.apply(Delete("Service", "shop/front"))
    assert (directory.by_address(TWO), directory.service(parse_address("10.96.0.7"))) == ("", "")


def test_a_rule_is_named_as_its_generation_had_it() -> None:
    """When a set's number is given to another set, events of the older generation keep their rule."""
    directory = Directory()
    directory.apply(Put(POLICY))
    directory.learn_rules(10, 3, (rule(-1), rule(0)))
    directory.learn_rules(20, 3, (rule(-1), rule(1)))
    older, newer = directory.rule(19, 3, 1), directory.rule(20, 3, 1)
    assert older is not None and newer is not None
    assert (older.index, older.origin) == (0, "lid.yaml:12")
    assert (newer.index, newer.origin, newer.direction) == (1, "lid.yaml:20", "ingress")


def test_rule_zero_is_the_policy_that_isolates() -> None:
    """What no rule allowed is blamed on the isolating policy, and on nobody when there is none."""
    directory = Directory()
    directory.apply(Put(POLICY))
    directory.learn_rules(10, 3, (rule(-1), rule(0)))
    directory.learn_rules(10, 4, (RuleOrigin("", Direction.INGRESS, -1),))
    isolating = directory.rule(10, 3, 0)
    assert isolating is not None
    assert (isolating.policy, isolating.index, isolating.origin) == (POLICY.key, -1, "lid.yaml:1")
    assert directory.rule(10, 4, 0) is None


def test_what_is_unknown_has_no_rule() -> None:
    """An unknown set, a number beyond the set and a forgotten generation name nothing."""
    directory = Directory()
    directory.learn_rules(10, 3, (rule(-1), rule(0)))
    asked = [(10, 4, 1), (10, 3, 2), (9, 3, 1)]
    assert [directory.rule(*question) for question in asked] == [None] * 3
    for generation in range(11, 11 + KEPT):
        directory.learn_rules(generation, 3, (rule(-1),))
    assert directory.rule(10, 3, 1) is None

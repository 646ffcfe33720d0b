"""The oracle, case by case: what each word of a policy means for a packet."""

from __future__ import annotations

import pytest
from policy_worlds import HOST, attached, block, namespace, packet, pod, pods, policy, port, rule, world

from cloche.model.evaluate import evaluate
from cloche.model.flow import Decision, Entry, RuleName, Verdict
from cloche.model.labels import EVERYTHING, Operator, Requirement, Selector
from cloche.model.policy import Action, Direction, Policy, PortMatch, Rule, Tier
from cloche.model.reasons import Reason
from cloche.model.state import State
from cloche.model.topology import ICMP, SCTP, TCP, UDP, Endpoint, NamedPort

HTTP = NamedPort("http", TCP, 80)
A = pod("x/a", 1, {"app": "a", "tier": "front"})
B = pod("x/b", 2, {"app": "b"}, [HTTP, NamedPort("dns", UDP, 53)])
C = pod("y/c", 3, {"app": "a"}, [NamedPort("http", TCP, 8080)])
SPACES = (namespace("x", team="red"), namespace("y", team="blue"))
EVERY_POD = pods(EVERYTHING)
OUTSIDE = "203.0.113.9"


def here(*policies: Policy) -> State:
    """The three pods, their namespaces and these policies."""
    return world(*SPACES, A, B, C, *attached(A, B, C), *policies)


def verdict(state: State, *args: object, **kwargs: object) -> str:
    """The verdict on one packet, in a word."""
    return evaluate(state, packet(*args, **kwargs)).verdict.name.lower()  # type: ignore[arg-type]


def asked_of(rules: list[Rule], *args: object, **kwargs: object) -> str:
    """The verdict when pod x/b has these ingress rules."""
    return verdict(here(policy("x/p", pods(where="x", app="b"), ingress=rules)), *args, **kwargs)


def test_without_a_policy_everything_is_allowed() -> None:
    """Pods that no policy selects are not isolated, in either family, for any protocol."""
    for ends in ((A, B), (A, C), (A, OUTSIDE), (OUTSIDE, B)):
        for protocol in (TCP, UDP, SCTP, ICMP, 47):
            assert verdict(here(), *ends, protocol=protocol) == "allow"
    assert verdict(here(), A, B, ipv6=True) == "allow"


INGRESS_CASES = [
    ("no rules deny everything", [], (A, B), {}, "deny"),
    ("a rule without peers allows everyone", [rule(everyone=True)], (OUTSIDE, B), {}, "allow"),
    ("a rule without ports allows every protocol", [rule(everyone=True)], (A, B), {"protocol": 47}, "allow"),
    ("empty ports match nothing", [rule(everyone=True, ports=[])], (A, B), {}, "deny"),
    ("empty peers match nothing", [rule()], (A, B), {}, "deny"),
    ("podSelector alone: own namespace", [rule(pods(where="x", app="a"))], (A, B), {}, "allow"),
    ("podSelector alone: not another namespace", [rule(pods(where="x", app="a"))], (C, B), {}, "deny"),
    ("namespaceSelector: its pods", [rule(pods({"team": "blue"}))], (C, B), {}, "allow"),
    ("namespaceSelector: not others'", [rule(pods({"team": "blue"}))], (A, B), {}, "deny"),
    ("both in one peer: both must match", [rule(pods({"team": "blue"}, app="b"))], (C, B), {}, "deny"),
    ("both in one peer: both match", [rule(pods({"team": "blue"}, app="a"))], (C, B), {}, "allow"),
    ("several peers: any", [rule(pods(where="x", app="z"), pods({"team": "blue"}))], (C, B), {}, "allow"),
    ("every pod is not an outside address", [rule(EVERY_POD)], (OUTSIDE, B), {}, "deny"),
    ("ipBlock holds an outside address", [rule(block("203.0.113.0/24"))], (OUTSIDE, B), {}, "allow"),
    ("ipBlock with except", [rule(block("203.0.113.0/24", "203.0.113.8/30"))], (OUTSIDE, B), {}, "deny"),
    ("ipBlock holds a pod's address", [rule(block("10.244.0.0/24"))], (A, B), {}, "allow"),
    ("ipBlock except a pod's address", [rule(block("10.244.0.0/24", "10.244.0.1/32"))], (A, B), {}, "deny"),
    ("0.0.0.0/0 is no IPv6 address", [rule(block("0.0.0.0/0"))], (A, B), {"ipv6": True}, "deny"),
    ("::/0 is no IPv4 address", [rule(block("::/0"))], (A, B), {}, "deny"),
    ("::/0 is every IPv6 address", [rule(block("::/0"))], (A, B), {"ipv6": True}, "allow"),
    ("port 80 is 80", [rule(everyone=True, ports=[port(80)])], (A, B), {"to": 80}, "allow"),
    ("port 80 is not 81", [rule(everyone=True, ports=[port(80)])], (A, B), {"to": 81}, "deny"),
    ("endPort: below", [rule(everyone=True, ports=[port(80, 90)])], (A, B), {"to": 79}, "deny"),
    ("endPort: first", [rule(everyone=True, ports=[port(80, 90)])], (A, B), {"to": 80}, "allow"),
    ("endPort: last", [rule(everyone=True, ports=[port(80, 90)])], (A, B), {"to": 90}, "allow"),
    ("endPort: above", [rule(everyone=True, ports=[port(80, 90)])], (A, B), {"to": 91}, "deny"),
    ("TCP is not UDP", [rule(everyone=True, ports=[port(80)])], (A, B), {"protocol": UDP}, "deny"),
    ("SCTP is a protocol", [rule(everyone=True, ports=[port(9, protocol=SCTP)])], (A, B),
     {"to": 9, "protocol": SCTP}, "allow"),
    ("ports leave out ICMP", [rule(everyone=True, ports=[PortMatch(TCP)])], (A, B),
     {"protocol": ICMP}, "deny"),
    ("a named port", [rule(everyone=True, ports=[port("http")])], (A, B), {"to": 80}, "allow"),
    ("a name's other number", [rule(everyone=True, ports=[port("http")])], (A, B), {"to": 8080}, "deny"),
    ("a name of another protocol", [rule(everyone=True, ports=[port("dns")])], (A, B), {"to": 53}, "deny"),
    ("ICMP type and code", [rule(everyone=True, ports=[PortMatch(ICMP, 0x800, 0x800)])], (A, B),
     {"protocol": ICMP, "icmp": 0x800}, "allow"),
    ("another ICMP type", [rule(everyone=True, ports=[PortMatch(ICMP, 0x800, 0x800)])], (A, B),
     {"protocol": ICMP, "icmp": 0x900}, "deny"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "ends", "more", "expected"), [c[1:] for c in INGRESS_CASES],
                         ids=[c[0] for c in INGRESS_CASES])  # fmt: skip
def test_ingress_rules(
    rules: list[Rule], ends: tuple[object, object], more: dict[str, object], expected: str
) -> None:
    """Each form of peer and port matches what the API says, and nothing else."""
    assert asked_of(rules, *ends, **more) == expected


def test_named_ports_are_each_destinations_own() -> None:
    """In egress the same name is another number in each destination, also when a block matched it."""
    for peer in (EVERY_POD, block("10.244.0.0/16")):
        state = here(policy("x/p", pods(where="x", app="a"), egress=[rule(peer, ports=[port("http")])]))
        assert [verdict(state, A, B, to) for to in (80, 8080)] == ["allow", "deny"]
        assert [verdict(state, A, C, to) for to in (80, 8080)] == ["deny", "allow"]
        assert verdict(state, A, OUTSIDE, 80) == "deny"


OPERATORS = [
    (Requirement("app", Operator.IN, ("a", "z")), "allow"),
    (Requirement("app", Operator.IN, ("z",)), "deny"),
    (Requirement("app", Operator.NOT_IN, ("z",)), "allow"),
    (Requirement("app", Operator.NOT_IN, ("a",)), "deny"),
    (Requirement("none", Operator.NOT_IN, ("a",)), "allow"),
    (Requirement("tier", Operator.EXISTS), "allow"),
    (Requirement("none", Operator.EXISTS), "deny"),
    (Requirement("none", Operator.DOES_NOT_EXIST), "allow"),
    (Requirement("tier", Operator.DOES_NOT_EXIST), "deny"),
]


@pytest.mark.parametrize(("requirement", "expected"), OPERATORS)
def test_match_expressions(requirement: Requirement, expected: str) -> None:
    """Every operator means what the API says, for keys that are there and keys that are not."""
    peer = pods(EVERYTHING)
    peer = type(peer)(Selector((requirement,)), "x")
    assert asked_of([rule(peer)], A, B) == expected


def test_both_ends_must_allow() -> None:
    """A packet passes only if the sender's egress and the receiver's ingress allow it."""
    out = policy("x/out", pods(where="x", app="a"), egress=[rule(pods(where="x", app="b"))])
    into = policy("x/in", pods(where="x", app="b"), ingress=[rule(pods(where="x", app="z"))])
    assert verdict(here(out), A, B) == "allow"
    assert verdict(here(out), A, C) == "deny"
    found = evaluate(here(out, into), packet(A, B))
    assert (found.verdict, found.reason) == (Verdict.DENY, Reason.INGRESS_NOT_ALLOWED)
    assert found.egress_rule == RuleName(out.key, Direction.EGRESS, 0)
    assert found.ingress_rule == RuleName(into.key, Direction.INGRESS, -1)


def test_egress_denies_before_ingress() -> None:
    """When both directions deny, egress is the reason and both rules are named."""
    closed = policy("x/closed", egress=[], ingress=[])
    found = evaluate(here(closed), packet(A, B))
    assert (found.reason, found.deciding) == (Reason.EGRESS_NOT_ALLOWED, Direction.EGRESS)
    assert found.ingress_rule == RuleName(closed.key, Direction.INGRESS, -1)


def test_a_direction_not_spoken_of_is_open() -> None:
    """An ingress policy does not isolate in egress."""
    state = here(policy("x/in", ingress=[]))
    assert verdict(state, A, OUTSIDE) == "allow"
    assert evaluate(state, packet(A, OUTSIDE)) == Decision(
        Verdict.ALLOW,
        source=A.addresses[0],
        destination=packet(A, OUTSIDE).destination,
        source_port=40000,
        destination_port=80,
    )


def test_the_first_by_namespace_and_name_is_named() -> None:
    """When several rules allow alike, the first by namespace, name and index is named."""
    late = policy("x/late", ingress=[rule(everyone=True)])
    early = policy("x/early", ingress=[rule(pods(where="x", app="z")), rule(everyone=True)], priority=9)
    for state in (here(late, early), here(early, late)):
        assert evaluate(state, packet(A, B)).ingress_rule == RuleName(early.key, Direction.INGRESS, 1)


def test_host_network_pods_are_their_host() -> None:
    """A hostNetwork pod is no subject and no selector finds it; only blocks do."""
    guest = Endpoint("x", "guest", HOST.addresses, labels=A.labels, host="node", host_network=True)
    far = Endpoint("x", "far", (packet(OUTSIDE, B).source,), labels=A.labels, host="other", host_network=True)
    closed = policy("x/closed", pods(where="x"), egress=[], ingress=[rule(pods(where="x"))])
    state = world(*SPACES, B, C, guest, far, closed)
    assert verdict(state, OUTSIDE, B) == "deny"
    assert verdict(state, "172.18.0.2", C, entry=Entry.STACK) == "allow"
    opened = policy("x/closed", pods(where="x"), ingress=[rule(block("203.0.113.9/32"))])
    assert verdict(world(*SPACES, B, far, opened), OUTSIDE, B) == "allow"


def test_a_pods_own_host_is_never_cut_by_isolation() -> None:
    """The host's own processes reach its pods, and pods reach it; what it forwards is judged."""
    state = here(policy("x/closed", egress=[], ingress=[]))
    assert verdict(state, "172.18.0.2", B, entry=Entry.HOST) == "allow"
    assert verdict(state, "172.18.0.2", B, entry=Entry.STACK) == "deny"
    assert verdict(state, OUTSIDE, B, entry=Entry.HOST) == "deny"
    assert verdict(state, A, "172.18.0.2") == "allow"
    assert verdict(state, A, "fd00:172::2", ipv6=True) == "allow"


def test_another_hosts_pod_is_cut() -> None:
    """Own host means the host the endpoint is on."""
    away = pod("x/away", 7, host="elsewhere")
    state = world(*SPACES, away, policy("x/closed", ingress=[], egress=[]))
    assert verdict(state, "172.18.0.2", away, entry=Entry.HOST) == "deny"
    assert verdict(state, away, "172.18.0.2") == "deny"


def test_admin_rules_may_cut_the_own_host() -> None:
    """Baseline leaves the pod's own host alone, admin rules on its address do not."""
    deny = [rule(block("172.18.0.0/16"), action=Action.DENY)]
    for tier, expected in ((Tier.ADMIN, "deny"), (Tier.BASELINE, "allow")):
        state = here(policy("x/p", pods(EVERYTHING), egress=deny, ingress=deny, tier=tier))
        assert verdict(state, "172.18.0.2", B, entry=Entry.HOST) == expected
        assert verdict(state, A, "172.18.0.2") == expected


UNKNOWN = "10.244.77.1"
UNKNOWN_CASES = [
    ("allow by some selector", Action.ALLOW, pods({"team": "red"}), "deny"),
    ("allow every pod of one namespace", Action.ALLOW, pods(where="x"), "deny"),
    ("allow some pods everywhere", Action.ALLOW, pods(EVERYTHING, app="a"), "deny"),
    ("allow every pod", Action.ALLOW, EVERY_POD, "allow"),
    ("allow by block", Action.ALLOW, block("10.244.64.0/18"), "allow"),
]


@pytest.mark.parametrize(("action", "peer", "expected"), [c[1:] for c in UNKNOWN_CASES],
                         ids=[c[0] for c in UNKNOWN_CASES])  # fmt: skip
def test_unknown_endpoints_in_the_default_tier(action: Action, peer: object, expected: str) -> None:
    """An address in a pod range that no pod has gets only what every pod there would get."""
    state = here(policy("x/p", ingress=[rule(peer, action=action)]))  # type: ignore[arg-type]
    assert verdict(state, UNKNOWN, B) == expected


def test_unknown_endpoints_are_denied_where_a_selector_might_deny() -> None:
    """A deny or a pass by selector counts as matching an unknown address and denies; by block it is exact."""
    for action, expected in ((Action.DENY, "deny"), (Action.PASS, "deny"), (Action.ALLOW, "allow")):
        state = here(policy("x/p", EVERY_POD, egress=[rule(pods(where="z"), action=action)], tier=Tier.ADMIN))
        assert verdict(state, A, UNKNOWN) == expected
    passing = rule(block("10.244.0.0/16"), action=Action.PASS)
    assert verdict(here(policy("x/p", EVERY_POD, egress=[passing], tier=Tier.ADMIN)), A, UNKNOWN) == "allow"


def test_tiers_in_their_order() -> None:
    """Admin decides first, pass leads to isolation, baseline comes last and only where nothing isolates."""
    everything = [rule(everyone=True)]

    def admin(action: Action) -> Policy:
        return policy("x/admin", EVERY_POD, ingress=[rule(everyone=True, action=action)], tier=Tier.ADMIN)

    baseline = policy(
        "x/base", EVERY_POD, ingress=[rule(everyone=True, action=Action.DENY)], tier=Tier.BASELINE
    )
    closed, opened = policy("x/p", ingress=[]), policy("x/p", ingress=everything)
    cases = [
        ((admin(Action.ALLOW), closed), "allow", Reason.NONE),
        ((admin(Action.DENY), opened), "deny", Reason.INGRESS_DENIED),
        ((admin(Action.PASS), opened, baseline), "allow", Reason.NONE),
        ((admin(Action.PASS), closed), "deny", Reason.INGRESS_NOT_ALLOWED),
        ((admin(Action.PASS), baseline), "deny", Reason.INGRESS_DENIED),
        ((admin(Action.PASS),), "allow", Reason.NONE),
        ((baseline,), "deny", Reason.INGRESS_DENIED),
    ]
    for policies, expected, reason in cases:
        found = evaluate(here(*policies), packet(A, B))
        assert (found.verdict.name.lower(), found.reason) == (expected, reason)


def test_admin_rules_by_priority_then_name_then_index() -> None:
    """The lowest priority goes first; alike, the first by namespace, name and index."""

    def admin(key: str, priority: int, *actions: Action) -> Policy:
        rules = [rule(everyone=True, action=action) for action in actions]
        return policy(key, EVERY_POD, ingress=rules, tier=Tier.ADMIN, priority=priority)

    cases = [
        ([admin("x/a", 2, Action.DENY), admin("x/b", 1, Action.ALLOW)], "allow"),
        ([admin("x/b", 1, Action.ALLOW), admin("x/a", 1, Action.DENY)], "deny"),
        ([admin("y/a", 1, Action.DENY), admin("x/b", 1, Action.ALLOW)], "allow"),
        ([admin("x/a", 1, Action.ALLOW, Action.DENY)], "allow"),
    ]
    for policies, expected in cases:
        assert verdict(here(*policies), A, B) == expected


def test_networks_do_not_meet() -> None:
    """The same address in another network is another's: its endpoint's policies do not count here."""
    twin = pod("x/twin", 1, network=2)
    state = world(*SPACES, twin, B, policy("x/closed", pods(where="x"), egress=[]))
    assert verdict(state, "10.244.0.1", B, entry=Entry.STACK) == "allow"
    assert verdict(state, "10.244.0.1", B, network=2) == "deny"


def test_itself_is_judged_in_both_directions() -> None:
    """An endpoint that reaches itself through a service is its own peer."""
    assert verdict(here(policy("x/p", ingress=[rule(pods(where="x", app="b"))])), B, B) == "allow"
    assert verdict(here(policy("x/p", ingress=[rule(pods(where="x", app="a"))])), B, B) == "deny"
    assert verdict(here(policy("x/p", egress=[rule(pods(where="x", app="a"))])), B, B) == "deny"

"""Questions about a state: the matrix of all pairs and the explanation of one flow."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_worlds import attached, block, namespace, packet, pod, pods, policy, port, rule, world
from random_worlds import STRANGERS, objects

from cloche.analysis import Pair, explain_flow, matrix
from cloche.analysis.judging import Judge
from cloche.analysis.matrix import probe_packet
from cloche.errors import InputError
from cloche.model.address import parse_address
from cloche.model.evaluate import evaluate
from cloche.model.flow import Entry, Verdict
from cloche.model.labels import EVERYTHING
from cloche.model.policy import Direction, Policy
from cloche.model.ports import Port, parse_port
from cloche.model.state import Put, State
from cloche.model.topology import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Backend,
    Endpoint,
    NamedPort,
    Service,
    ServicePort,
)
from worlds import TIMES

HTTP = parse_port("80/tcp")
A = pod("x/a", 1, {"app": "a"})
B = pod("x/b", 2, {"app": "b"}, [NamedPort("http", TCP, 80), NamedPort("dns", UDP, 53)])
C = pod("y/c", 3, {"app": "c"}, [NamedPort("http", TCP, 8080)])
DNS = pod("kube-system/dns", 4, {}, [NamedPort("dns", UDP, 53)], system=True)
FRONT = parse_address("10.96.0.1")


def service(*members: Backend) -> Service:
    """The service x/web on 80/tcp, named http."""
    return Service("x", "web", (FRONT,), (ServicePort("http", TCP, 80, members),))


def here(*policies: Policy, members: tuple[Endpoint, ...] = (B, C)) -> State:
    """Three pods, a system pod, a service with these backends and these policies."""
    spaces = namespace("x"), namespace("y")
    backends = (Backend(e.addresses[0], 80, e.key) for e in members)
    return world(*spaces, A, B, C, DNS, *attached(A, B, C, DNS), service(*backends), *policies)


CLOSED_B = policy("x/p", pods(where="x", app="b"), ingress=[])


def rows(pairs: tuple[Pair, ...]) -> list[str]:
    """Each pair in a line."""
    return [f"{p.source} {p.destination} {p.port} {p.verdict} {p.egress} {p.ingress}" for p in pairs]


def test_the_matrix_of_declared_ports() -> None:
    """Without ports each destination is asked on its own; self pairs and system pods are left out."""
    assert rows(matrix(here(CLOSED_B)).pairs) == [
        "x/a x/b 80/tcp deny allow deny",
        "x/a x/b 53/udp deny allow deny",
        "x/a y/c 8080/tcp allow allow allow",
        "x/b y/c 8080/tcp allow allow allow",
        "y/c x/b 80/tcp deny allow deny",
        "y/c x/b 53/udp deny allow deny",
    ]


def test_the_matrix_of_asked_ports() -> None:
    """Each pair on each port asked; a name only where it is declared; system pods when asked for."""
    found = rows(matrix(here(CLOSED_B), (parse_port("http/tcp"), parse_port("8/icmp"))).pairs)
    assert [row for row in found if row.startswith("x/a ")] == [
        "x/a x/b 8/icmp deny allow deny",
        "x/a x/b http/tcp deny allow deny",
        "x/a y/c 8/icmp allow allow allow",
        "x/a y/c http/tcp allow allow allow",
    ]
    assert "x/a kube-system/dns 80/tcp allow allow allow" in rows(matrix(here(), (HTTP,), system=True).pairs)


def test_json_of_a_row() -> None:
    """A row has exactly the fields of the interface; the family only where the families differ."""
    plain = msgspec.to_builtins(matrix(here(), (HTTP,)))
    assert plain["version"] == 1
    assert plain["pairs"][0] == {
        "source": "x/a",
        "destination": "x/b",
        "port": "80/tcp",
        "verdict": "allow",
        "egress": "allow",
        "ingress": "allow",
    }
    only4 = policy("x/p", pods(where="x", app="b"), ingress=[rule(block("10.244.0.0/16"))])
    pairs = [p for p in matrix(here(only4), (HTTP,)).pairs if (p.source, p.destination) == ("x/a", "x/b")]
    assert [(p.family, p.verdict) for p in pairs] == [("ipv4", "allow"), ("ipv6", "deny")]


def test_services_in_the_matrix() -> None:
    """A service is allowed only if every backend is; each distinct verdict comes with its backends."""
    found = {p.source: p for p in matrix(here(CLOSED_B), (HTTP,), services=True).pairs if p.backends}
    pair = found["x/a"]
    assert (pair.destination, pair.verdict, pair.ingress) == ("service/x/web", "deny", "deny")
    assert [(each.verdict, each.backends) for each in pair.backends] == [
        ("allow", ("y/c",)),
        ("deny", ("x/b",)),
    ]
    (none,) = [p for p in matrix(here(members=()), services=True).pairs if p.source == "x/a" and p.reason]
    assert (none.verdict, none.reason, none.port) == ("deny", "no-backend", "80/tcp")


@settings(max_examples=12 * TIMES, deadline=None)
@given(st.data())
def test_the_matrix_is_the_oracles(data: st.DataObject) -> None:
    """Asked once per distinct question, every pair still gets what the oracle says of it."""
    state = State(Put(thing) for thing in data.draw(objects()))
    judge = Judge(state)
    addresses = [a for e in state.endpoints.values() for a in e.addresses] + [
        parse_address(s) for s in STRANGERS
    ]
    asked = [Port(TCP, 80), Port(UDP, 53), Port(TCP, 79), Port(SCTP, 80), Port(ICMP, 8 << 8)]
    for source in addresses:
        for destination in addresses:
            wanted = data.draw(st.sampled_from(asked))
            sent = probe_packet(source, destination, wanted)
            one, other = judge.member(1, source), judge.member(1, destination)
            answers = [judge.answer(direction, one, other, sent) for direction in Direction]
            expected = evaluate(state, msgspec.structs.replace(sent, entry=one.entry))
            assert [answer.rule for answer in answers] == [expected.egress_rule, expected.ingress_rule]
            allowed = all(answer.verdict is Verdict.ALLOW for answer in answers)
            assert allowed == (expected.verdict is Verdict.ALLOW)


def test_a_matrix_of_hundreds_of_pods_is_quick() -> None:
    """The oracle is asked once per distinct question, not once per pair."""
    many = [
        Endpoint(
            f"n{n % 20}",
            f"p{n}",
            (parse_address(f"10.244.{n // 250}.{n % 250 + 1}"),),
            (("app", f"a{n % 10}"), ("pod", str(n))),
        )
        for n in range(300)
    ]
    isolating = [
        policy(f"n{n}/p", ingress=[rule(pods(EVERYTHING, app=f"a{n % 10}"), ports=[port(80)])])
        for n in range(20)
    ]
    state = world(*(namespace(f"n{n}") for n in range(20)), *many, *isolating)
    found = matrix(state, (HTTP,)).pairs
    assert len(found) == 300 * 299
    assert sum(p.verdict == "allow" for p in found) == 300 * 29  # those of the same app but itself


def test_explaining_a_pod_to_a_pod() -> None:
    """Both families alike are one answer, with the rule, its line and what came nearest."""
    opened = policy("x/p", pods(where="x", app="b"), ingress=[rule(pods(where="x", app="z"))])
    found = explain_flow(here(opened), "x/a", "x/b", HTTP)
    (answer,) = found.answers
    assert (found.verdict, answer.reason, answer.families) == (
        "deny",
        "ingress-not-allowed",
        ("ipv4", "ipv6"),
    )
    assert (answer.sources, answer.destinations) == (("x/a",), ("x/b",))
    assert answer.ingress.rule is not None
    assert (answer.ingress.rule.index, answer.ingress.rule.origin) == (-1, "world.yaml:1")
    assert answer.ingress.nearest is not None
    assert (answer.ingress.nearest.origin, answer.ingress.nearest.missed) == (
        "world.yaml:20",
        ("podSelector",),
    )
    assert [each.policy for each in answer.ingress.isolated_by] == ["NetworkPolicy/x/p"]
    assert (answer.ingress.subject, answer.egress.subject) == ("x/b", "x/a")


def test_explaining_a_service() -> None:
    """Each distinct answer names its backends; the whole is allowed only if all are."""
    found = explain_flow(here(CLOSED_B), "x/a", "x/web", HTTP)
    assert found.verdict == "deny"
    assert {(a.verdict, a.backends) for a in found.answers} == {("deny", ("x/b",)), ("allow", ("y/c",))}
    assert (
        explain_flow(here(CLOSED_B), "x/a", "service/x/web", parse_port("http/tcp")).answers == found.answers
    )
    assert explain_flow(here(CLOSED_B), "x/a", "10.96.0.1", HTTP).answers == found.answers
    (refused,) = explain_flow(here(members=()), "x/a", "x/web", HTTP).answers
    assert (refused.verdict, refused.reason) == ("deny", "no-backend")
    (refused,) = explain_flow(here(), "x/a", "x/web", parse_port("81/tcp")).answers
    assert (refused.verdict, refused.reason) == ("deny", "no-service")


def test_explaining_a_service_as_source() -> None:
    """A service sends through its backends' pods."""
    silent = policy("y/out", egress=[])
    found = explain_flow(here(silent), "x/web", "x/a", HTTP)
    assert {(a.verdict, a.sources) for a in found.answers} == {("allow", ("x/b",)), ("deny", ("y/c",))}


def test_explaining_a_block() -> None:
    """A CIDR has each distinct answer once, with an example and how many addresses it stands for."""
    some = policy(
        "x/p", pods(where="x", app="b"), ingress=[rule(block("203.0.113.0/24", "203.0.113.128/25"))]
    )
    found = explain_flow(here(some), "203.0.112.0/23", "x/b", HTTP)
    assert [(a.verdict, a.example_source, a.addresses) for a in found.answers] == [
        ("deny", "203.0.112.0", 256),
        ("allow", "203.0.113.0", 128),
        ("deny", "203.0.113.128", 128),
    ]
    assert [a.ingress.nearest and a.ingress.nearest.missed for a in found.answers] == [
        ("cidr",),
        None,
        ("except",),
    ]


def test_a_block_leaves_out_what_no_flow_has() -> None:
    """Everything there is, is asked about, but for addresses that no packet may carry."""
    found = explain_flow(here(), "x/a", "0.0.0.0/0", HTTP)
    assert sum(a.addresses for a in found.answers) < 2**32 - 2**29
    assert not any(a.example_destination.startswith(("127.", "169.254.", "224.")) for a in found.answers)


def test_a_pod_may_be_called_like_a_block() -> None:
    """A name that looks like a block is the pod's when there is one."""
    state = here()
    state.apply(Put(Endpoint("10", "8", (parse_address("10.244.0.8"),))))
    assert explain_flow(state, "10/8", "x/b", HTTP).answers[0].sources == ("10/8",)


def test_what_policy_does_not_decide_is_noted() -> None:
    """A pod and itself, its own host, and addresses that nobody has."""
    closed = policy("x/p", pods(where="x", app="b"), egress=[], ingress=[])
    (itself,) = explain_flow(here(closed), "x/b", "x/b", HTTP).answers
    assert (itself.verdict, itself.note != "") == ("allow", True)
    (host,) = explain_flow(here(closed), "172.18.0.2", "x/b", HTTP).answers
    assert (host.verdict, host.ingress.note != "") == ("allow", True)
    (nobody,) = explain_flow(here(), "x/b", "10.244.9.9", HTTP).answers
    assert "unknown-destination" in nobody.note


ASSUMED = [
    (rule(block("10.244.0.0/24")), True),
    (rule(block("10.244.0.0/16", "10.244.9.0/24")), True),
    (rule(block("0.0.0.0/0")), False),
    (rule(block("10.0.0.0/8")), False),
    (rule(block("203.0.113.0/24")), False),
    (rule(pods(where="x", app="a"), block("10.244.0.0/24")), False),
    (rule(pods(where="x", app="z"), block("10.244.0.0/24")), True),
    (rule(block("10.244.0.0/24"), ports=[port(81)]), False),
]


@pytest.mark.parametrize(("ingress", "hangs"), ASSUMED)
def test_a_verdict_that_hangs_on_an_address_given_out_here(ingress: object, hangs: bool) -> None:
    """Where another address in the ranges might change the answer, the row and the explanation say so."""
    state = here(policy("x/p", pods(where="x", app="b"), ingress=[ingress]))  # type: ignore[list-item]
    for assumed, expected in ((("x/a",), hangs), (("x/b",), False), ((), False)):
        pairs = matrix(state, (HTTP,), assumed=assumed).pairs
        found = {p.assumed for p in pairs if (p.source, p.destination) == ("x/a", "x/b")}
        assert any(found) == expected
        assert any(a.assumed for a in explain_flow(state, "x/a", "x/b", HTTP, assumed).answers) == expected


WRONG = [
    ("x/none", "x/b", "80/tcp", "no such pod"),
    ("x/a", "x/none", "80/tcp", "no such pod"),
    ("x/a", "10.0.0.0/40", "80/tcp", "no CIDR"),
    ("x/a", "x/b", "web/tcp", "no port named"),
    ("x/a", "x/web", "web/tcp", "no port named"),
    ("x/a", "203.0.113.1", "128/icmp6", "no address pair"),
]


@pytest.mark.parametrize(("source", "destination", "asked", "message"), WRONG)
def test_questions_that_make_no_sense(source: str, destination: str, asked: str, message: str) -> None:
    """Ends and names that there are not are refused with a hint."""
    with pytest.raises(InputError, match=message) as found:
        explain_flow(here(), source, destination, parse_port(asked))
    assert found.value.findings[0].hint


PORTS = [
    ("80/tcp", Port(TCP, 80)),
    ("65535/UDP", Port(UDP, 65535)),
    ("9/sctp", Port(SCTP, 9)),
    ("http/tcp", Port(TCP, name="http")),
    ("8/icmp", Port(ICMP, 0x800)),
    ("128/icmp6", Port(ICMPV6, 0x8000)),
]


@pytest.mark.parametrize(("text", "expected"), PORTS)
def test_ports_as_people_write_them(text: str, expected: Port) -> None:
    """A port reads and writes as the same text."""
    assert parse_port(text) == expected
    assert str(expected) == text.lower()


@pytest.mark.parametrize(
    "text", ["80", "80/", "/tcp", "0/tcp", "65536/tcp", "256/icmp", "echo/icmp", "80/gre", "٣/udp2"]
)
def test_what_is_no_port(text: str) -> None:
    """What is no port is refused."""
    with pytest.raises(ValueError, match="is"):
        parse_port(text)


def test_the_entry_of_an_address() -> None:
    """Pods send on their links, the host itself as the host, all others through the stack."""
    judge = Judge(here())
    ends = {str(n): judge.member(1, packet(n, B).source).entry for n in ("172.18.0.2", "203.0.113.9")}
    assert ends == {"172.18.0.2": Entry.HOST, "203.0.113.9": Entry.STACK}
    assert judge.member(1, A.addresses[0]).entry is Entry.ENDPOINT

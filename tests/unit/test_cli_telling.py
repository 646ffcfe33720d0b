"""What ``explain`` tells people, word by word, where one answer is about several pods."""

from __future__ import annotations

import io
import json
from typing import cast

import msgspec
from policy_worlds import attached, block, namespace, pod, pods, policy, rule, world
from rich.console import Console

from cloche.analysis import explain_flow
from cloche.cli.telling import tell
from cloche.model.address import parse_address
from cloche.model.ports import parse_port
from cloche.model.state import State
from cloche.model.topology import TCP, Backend, Service, ServicePort

EVE, ONE, TWO = (
    pod("x/eve", 1, {"app": "eve"}),
    pod("y/one", 2, {"app": "web"}),
    pod("y/two", 3, {"app": "web"}),
)
WEB = Service(
    "y",
    "web",
    (parse_address("10.96.0.1"),),
    (ServicePort("http", TCP, 80, tuple(Backend(e.addresses[0], 80, e.key) for e in (ONE, TWO))),),
)
LID = policy("y/lid", pods(where="y", app="web"), ingress=[rule(pods(where="y", app="front"))])
OUT = policy("y/out", pods(where="y", app="web"), egress=[rule(block("192.0.2.0/24"))])
HTTP = parse_port("80/tcp")


def here(*policies: object) -> State:
    """A stranger, two equal pods behind a service, and these policies."""
    return world(namespace("x"), namespace("y"), EVE, ONE, TWO, *attached(EVE, ONE, TWO), WEB, *policies)  # type: ignore[arg-type]


def told(state: State, source: str, destination: str) -> list[str]:
    """The lines for people, without colour."""
    console = Console(file=io.StringIO(), width=300, color_system=None)
    for line in tell(explain_flow(state, source, destination, HTTP)):
        console.print(line, soft_wrap=True)
    return cast(io.StringIO, console.file).getvalue().splitlines()


def test_two_equal_backends_are_judged_and_the_answer_says_so() -> None:
    """Isolation, the denial and the nearest rule are told of both pods, which share the answer."""
    assert told(here(LID), "x/eve", "y/web") == [
        "x/eve > y/web 80/tcp: deny",
        "  x/eve > y/one, y/two, by backends y/one, y/two  (ipv4; like 10.244.0.1 > 10.244.0.2)",
        "  ingress-not-allowed: the receiver is isolated and no rule allows this",
        "  egress  allow  no policy isolates x/eve here",
        "  ingress deny",
        "          y/one, y/two are isolated by NetworkPolicy/y/lid  world.yaml:1",
        "          nearest to allowing: NetworkPolicy/y/lid ingress rule 0  world.yaml:20  "
        "missed by: namespaceSelector, podSelector",
    ]


def test_a_block_over_several_pods_names_those_that_are_judged() -> None:
    """A CIDR as source holds pods of ours: they are judged, and strangers beside them are not."""
    lines = told(here(OUT), "10.244.0.2/31", "x/eve")
    assert lines == [
        "10.244.0.2/31 > x/eve 80/tcp: deny",
        "  y/one, y/two > x/eve  (ipv4; like 10.244.0.2 > 10.244.0.1)",
        "  egress-not-allowed: the sender is isolated and no rule allows this",
        "  egress  deny",
        "          y/one, y/two are isolated by NetworkPolicy/y/out  world.yaml:1",
        "          nearest to allowing: NetworkPolicy/y/out egress rule 0  world.yaml:10  missed by: cidr",
        "  ingress allow  no policy isolates x/eve here",
    ]
    assert "no pod of ours" in "".join(told(here(OUT), "198.51.100.0/24", "x/eve"))


def test_a_headless_service_is_answered_as_its_backends() -> None:
    """Pod by pod, each judged at its own port."""
    headless = Service("y", "bare", (), WEB.ports)
    explanation = explain_flow(here(LID, headless), "x/eve", "y/bare", parse_port("http/tcp"))
    (answer,) = explanation.answers
    assert (answer.verdict, answer.destinations, answer.ingress.subjects) == (
        "deny",
        ("y/one", "y/two"),
        ("y/one", "y/two"),
    )


def test_a_pod_and_itself_need_but_one_sentence() -> None:
    """Nothing is judged, so neither direction is told of."""
    assert told(here(LID), "y/one", "y/one") == [
        "y/one > y/one 80/tcp: allow",
        "  y/one > y/one  (ipv4, ipv6; like 10.244.0.2 > 10.244.0.2)",
        "  a pod always reaches its own address: nothing leaves it",
    ]


def test_json_lists_the_subjects_and_keeps_the_one() -> None:
    """``subjects`` has all; ``subject`` the one that there is, as before, and nothing for several."""
    explanation = json.loads(msgspec.json.encode(explain_flow(here(LID), "x/eve", "y/web", HTTP)))
    (answer,) = explanation["answers"]
    assert (answer["ingress"]["subject"], answer["ingress"]["subjects"]) == ("", ["y/one", "y/two"])
    assert (answer["egress"]["subject"], answer["egress"]["subjects"]) == ("x/eve", ["x/eve"])

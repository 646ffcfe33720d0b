"""The policy scenarios against the oracle: manifests in, one question for each pair of pods and family."""

from __future__ import annotations

import json

import pytest

from cloche.model.address import parse_address, parse_block
from cloche.model.evaluate import evaluate
from cloche.model.flow import Packet, Verdict
from cloche.model.state import Put, State
from cloche.model.topology import PROTOCOL_NUMBERS
from cloche.orchestrators.sandbox import build, read
from e2e.scenarios import PAIRS, POD_RANGES, PODS, Step, addresses, expected, world
from e2e.scenarios_all import SCENARIOS

RANGES = tuple(parse_block(text) for text in POD_RANGES)


def state_of(step: Step) -> State:
    """The step's manifests, read as a kubectl dump, as model objects."""
    dump = json.dumps({"apiVersion": "v1", "kind": "List", "items": world(step)})
    return State(Put(value) for value in build(read(["-"], stdin=dump), RANGES).objects)


def allowed(state: State, pair: tuple[str, str], port: str, family: int) -> bool:
    """What the oracle says of a first packet of this pair, in family 0 (IPv4) or 1 (IPv6)."""
    number, protocol = port.split("/")
    source, destination = (parse_address(addresses(pod)[family]) for pod in pair)
    packet = Packet(
        source=source,
        destination=destination,
        protocol=PROTOCOL_NUMBERS[protocol],
        source_port=40000,
        destination_port=int(number),
        sender=pair[0],
    )
    return evaluate(state, packet).verdict is Verdict.ALLOW


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.fact)
def test_oracle_agrees_with_the_truth_table(scenario) -> None:  # type: ignore[no-untyped-def]
    """Each step's truth table holds for all 72 pairs, in both families."""
    for step in scenario.steps:
        state = state_of(step)
        for port, truth in step.truth.items():
            for family in (0, 1):
                table = {pair: allowed(state, pair, port, family) for pair in PAIRS}
                assert table == expected(truth)


def test_there_are_as_many_as_upstream() -> None:
    """42 scenarios are about TCP, 3 about UDP, 3 about SCTP, and no two state the same fact."""
    facts = [scenario.fact for scenario in SCENARIOS]
    assert len(set(facts)) == 48
    assert sum("over udp" in fact for fact in facts) == sum("over sctp" in fact for fact in facts) == 3


def test_a_truth_table_has_every_pair() -> None:
    """Later lines win, and what no line names is allowed."""
    table = expected("deny * x/a; allow x/b x/a")
    assert len(table) == len(PODS) * (len(PODS) - 1)
    assert [pair for pair, truth in table.items() if not truth] == [
        (pod, "x/a") for pod in PODS if pod not in ("x/a", "x/b")
    ]

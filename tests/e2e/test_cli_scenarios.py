"""The policy scenarios with real packets, on IPv4 and IPv6: every pair of pods, after every step."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloche.agent.client import Client
from cloche.model.ports import parse_port
from cloche.model.topology import SCTP
from e2e.cli_lab import live_matrix, replace, sandbox, second_octet
from e2e.scenarios import PAIRS, Scenario, Step, expected, world
from e2e.scenarios_all import SCENARIOS

SLOT = 0


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A sandbox with the scenarios' pods, and no policy yet."""
    with sandbox(SLOT) as made:
        up = made.up("-", stdin=dump(Step((), {})))
        assert up.status == 0, up.err
        with made.client() as client:
            yield client


def dump(step: Step) -> str:
    """The step's objects as one document, their addresses moved into this run's ranges."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": world(step)})
    number = second_octet(SLOT)
    return text.replace("10.201.", f"10.{number}.").replace("fd00:201::", f"fd00:{number}::")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.fact)
def test_packets_do_what_the_truth_table_says(client: Client, scenario: Scenario) -> None:
    """After each step every pair answers, or stays silent, in both families, as the table says."""
    for step in scenario.steps:
        replace(client, dump(step))
        ports = [parse_port(text) for text in step.truth]
        answer = live_matrix(client, ports)
        for port, truth in zip(ports, step.truth.values(), strict=True):
            rows = [pair for pair in answer.pairs if pair.port == str(port)]
            assert {(pair.source, pair.destination): pair.verdict == "allow" for pair in rows} == expected(
                truth
            )
            probed = [pair for pair in rows if pair.live is not None]
            assert [pair for pair in probed if pair.live != pair.verdict] == []
            assert len(probed) == len(PAIRS) or port.protocol == SCTP

"""The policy scenarios on the real program by test-run: manifests, compiler, maps, verdicts; SCTP too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from program_lab import inside, make_devices

from cloche.compiler import Compiler
from cloche.datapath.testrun import SMALL, Engine
from cloche.model.address import parse_address, parse_block
from cloche.model.flow import Delivery, Verdict
from cloche.model.state import Put
from cloche.model.topology import Attachment, Host
from cloche.orchestrators.sandbox import World, build, difference, read
from e2e.scenarios import PAIRS, POD_RANGES, PODS, Scenario, Step, addresses, expected, world
from e2e.scenarios_all import SCENARIOS
from frames import Flow, Link, ethernet, sctp, tcp, udp

HOST = "node"
RANGES = tuple(parse_block(text) for text in POD_RANGES)
PACKETS = {"tcp": tcp, "udp": udp, "sctp": sctp}


class Machine:
    """One host with the scenarios' pods attached: the compiler's writes in the program's maps."""

    def __init__(self, engine: Engine, devices: list[int]) -> None:
        self.engine, self.port = engine, 30000
        self.pods = {pod: self._attachment(n, devices[n]) for n, pod in enumerate(PODS)}
        self.compiler = Compiler(HOST, SMALL)
        self.world: World | None = None
        self._write([Put(Host(HOST)), *map(Put, self.pods.values())])

    @staticmethod
    def _attachment(number: int, device: int) -> Attachment:
        macs = bytes([2, 0, 0, 0, 1, number]), bytes([2, 0, 0, 0, 2, number])
        return Attachment(PODS[number], number + 1, number + 1, device, *macs)

    def _write(self, events: list[object]) -> None:
        self.engine.write(self.compiler.update(events).writes)  # type: ignore[arg-type]

    def enter(self, step: Step) -> None:
        """Make the step's manifests what counts."""
        dump = json.dumps({"apiVersion": "v1", "kind": "List", "items": world(step)})
        new = build(read(["-"], stdin=dump), RANGES, previous=self.world)
        self._write(list(difference(self.world, new)))
        self.world = new
        self.port += 1

    def arrives(self, pair: tuple[str, str], port: str, family: int) -> bool:
        """True when a first packet of this pair is delivered to the right pod."""
        number, protocol = port.split("/")
        source, destination = (parse_address(addresses(pod)[family]) for pod in pair)
        sender, receiver = (self.pods[pod] for pod in pair)
        packet = PACKETS[protocol](Flow(source, destination, self.port, int(number)))
        frame = ethernet(Link(sender.mac, sender.gateway_mac), packet)
        result = self.engine.run("from_endpoint", frame, sender.ifindex)
        if result.verdict is Verdict.ALLOW:
            assert (result.delivery, result.endpoint) == (Delivery.ENDPOINT, receiver.number)
        return result.verdict is Verdict.ALLOW


@pytest.fixture(scope="module")
def devices(this_machine: None) -> Iterator[tuple[int, list[int]]]:
    """A namespace with a device for each pod, and their indexes."""
    namespace, indexes = make_devices(10)
    yield namespace, indexes
    os.close(namespace)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.fact)
def test_the_program_does_what_the_truth_table_says(
    engine: Engine, devices: tuple[int, list[int]], scenario: Scenario
) -> None:
    """After each step, a change from the one before, all 72 pairs in both families are as the table says."""
    namespace, indexes = devices
    with inside(namespace):
        machine = Machine(engine, indexes)
        for step in scenario.steps:
            machine.enter(step)
            for port, truth in step.truth.items():
                for family in (0, 1):
                    table = {pair: machine.arrives(pair, port, family) for pair in PAIRS}
                    assert table == expected(truth)

"""The ways that are compared do what they are compared for: real packets through each of them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from benchmarks import building, firewalls, paths, redirecting, rounds, runtime, samples
from benchmarks.cloche_way import cloche
from benchmarks.paths import SkippedError, Way
from benchmarks.rounds import PORT, Plan, Traffic

from cloche.datapath.namespaces import call_in

OTHER_PORT = PORT + 1
SILENT_SECONDS = 0.4
PLAN = Plan(1, 0.1, 0, 0)
Made = Callable[[], AbstractContextManager[Way]]
JUDGING: dict[str, Made] = {
    "iptables-nft": lambda: firewalls.iptables("nft", 1000, PORT),
    "iptables-legacy": lambda: firewalls.iptables("legacy", 1000, PORT),
    "nft set": lambda: firewalls.nft_set(PORT),
    "cloche 1": lambda: cloche(1),
    "cloche 1000": lambda: cloche(1000),
}
OPEN: dict[str, Made] = {
    "veth": paths.bare_veth,
    "bridge": paths.linux_bridge,
    "redirect": redirecting.redirect,
    "routed": firewalls.routed,
}


@contextmanager
def entered(made: Made) -> Iterator[Way]:
    """The way, or the test is skipped for the reason that the machine gave."""
    way = made()
    try:
        entered_way = way.__enter__()
    except SkippedError as reason:
        pytest.skip(str(reason))
    try:
        yield entered_way
    finally:
        way.__exit__(None, None, None)


def listener(port: int) -> Callable[[], socket.socket]:
    """What makes a listening socket, to be called inside a namespace."""
    return lambda: socket.create_server(("", port))


def connects(way: Way, port: int) -> bool:
    """True when the client gets a connection to the port, False when nothing answers."""

    def connect() -> bool:
        try:
            with socket.create_connection((way.address, port), SILENT_SECONDS):
                return True
        except TimeoutError:
            return False

    with call_in(Path("/run/netns", way.server), listener(port)):
        return call_in(Path("/run/netns", way.client), connect)


@pytest.mark.parametrize("name", JUDGING)
def test_a_way_that_judges_lets_only_the_measured_port_through(name: str) -> None:
    """The port whose rule comes last is reached; one without a rule gets no answer."""
    with entered(JUDGING[name]) as way:
        assert connects(way, PORT)
        assert not connects(way, OTHER_PORT)


@pytest.mark.parametrize("name", OPEN)
def test_a_way_that_judges_nothing_lets_all_through(name: str) -> None:
    """Both ports are reached."""
    with entered(OPEN[name]) as way:
        assert connects(way, PORT) and connects(way, OTHER_PORT)


def test_rules_that_the_kernel_refuses_skip_the_way_with_its_words() -> None:
    """A peer that cannot be made is left out with what was said, and its namespaces are gone."""
    before = set(os.listdir("/run/netns"))
    with pytest.raises(SkippedError, match=r"iptables-none-restore is not installed"):
        firewalls.iptables("none", 10, PORT).__enter__()
    assert set(os.listdir("/run/netns")) == before


def test_every_kind_of_traffic_passes_and_is_accounted_for() -> None:
    """Each kind has a rate on Cloche's way, and the statistics say what the program did for it: two runs for
    an exchange, a run and a burst's share of an answer for a datagram."""
    program = building.traffic_program()
    with cloche(2) as way, rounds.serving([way], PLAN, program):

        def measure(of: Way, kind: Traffic) -> float:
            rate = rounds.measure(of, kind, PLAN, program)
            assert rate > 0
            return rate

        costs = runtime.hook_costs([way], list(Traffic), PLAN.seconds, measure, lambda: None)
    found = {cost.traffic: cost for cost in costs if cost.program == "from_endpoint"}
    assert set(found) == set(Traffic)
    assert found[Traffic.RR].runs.median == pytest.approx(2, abs=0.1)
    assert found[Traffic.UDP].runs.median == pytest.approx(1 + 1 / 32, abs=0.05)
    assert found[Traffic.CRR].runs.median > 6
    assert all(cost.ns.median > 0 for cost in costs)


@pytest.mark.skipif(not shutil.which("perf"), reason="no perf here (Debian: linux-perf)")
def test_samples_tell_the_program_from_the_bare_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the bare pair, Cloche's program is among the functions that surely take longer."""
    monkeypatch.setattr(samples, "ROUNDS", 2)
    program = building.traffic_program()
    with paths.bare_veth() as bare, cloche(2) as way, rounds.serving([bare, way], PLAN, program):
        (found,) = samples.sampled((bare, way), [Traffic.RR], PLAN, program, lambda: None)
    assert found.samples > 100
    assert any(one.name == "program from_endpoint" and one.more > 0 for one in found.functions)

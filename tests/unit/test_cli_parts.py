"""The parts of the command line that decide something: ends, ports, live answers, the matrix for people."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console, RenderableType

from cloche.agent.client import Client
from cloche.agent.messages import FlowEvent, Outcome, ProbePair, ProbeResult
from cloche.analysis import Matrix, Pair, matrix
from cloche.cli import grid, lines, live, render, watching
from cloche.cli.asking import sendable
from cloche.cli.options import configuration
from cloche.cli.places import find_destination, find_pod, port_number, read_port, targets
from cloche.errors import InputError
from cloche.model.address import format_address, parse_address
from cloche.model.state import Put, State
from cloche.model.topology import TCP, UDP, Backend, Endpoint, NamedPort, Service, ServicePort

A4, A6, B4, B6, S4 = (
    parse_address(text) for text in ("10.244.0.1", "fd00:244::1", "10.244.0.2", "fd00:244::2", "10.96.0.7")
)
PODS = (
    Endpoint("x", "a", (A4, A6), ports=(NamedPort("http", TCP, 80),)),
    Endpoint("x", "b", (B4, B6), ports=(NamedPort("http", TCP, 8080), NamedPort("dns", UDP, 53))),
)
SERVICE = Service("x", "s", (S4,), (ServicePort("web", TCP, 80, (Backend(B4, 8080, "x/b"),)),))
WORLD = State(Put(value) for value in (*PODS, SERVICE))


class Network:
    """Stands for an agent's probes: what each destination address does, and what was asked."""

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        self.outcomes, self.asked = outcomes, list[ProbePair]()

    def probe(self, pairs: Sequence[ProbePair]) -> list[ProbeResult]:
        """Answers for each pair."""
        self.asked += pairs
        return [ProbeResult(pair, self.outcomes.get(pair.destination, Outcome.ALLOW)) for pair in pairs]


def probed(outcomes: dict[str, Outcome], asked: Matrix) -> tuple[Matrix, Network]:
    """The matrix with what packets did in a network that does this."""
    network = Network(outcomes)
    return live.probe_matrix(cast(Client, network), WORLD, asked, lambda done: None), network


def printed(thing: RenderableType, width: int) -> str:
    """What people see of a thing on so many columns, without colour."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    return cast(io.StringIO, console.file).getvalue()


def shown(answer: Matrix, width: int = 300) -> str:
    """The matrix as people see it."""
    return printed(grid.draw(answer), width)


def test_every_row_is_probed_in_both_families_by_number() -> None:
    """A row is probed on each address family that both ends have, on its port."""
    answer, network = probed({}, matrix(WORLD))
    assert {(p.source, p.destination, p.protocol, p.port) for p in network.asked} == {
        ("x/a", "10.244.0.2", TCP, 8080),
        ("x/a", "fd00:244::2", TCP, 8080),
        ("x/a", "10.244.0.2", UDP, 53),
        ("x/a", "fd00:244::2", UDP, 53),
        ("x/b", "10.244.0.1", TCP, 80),
        ("x/b", "fd00:244::1", TCP, 80),
    }
    assert {pair.live for pair in answer.pairs} == {"allow"}
    assert not any(live.differs(pair) for pair in answer.pairs)


def test_named_ports_are_probed_by_each_destinations_number() -> None:
    """http is 80 in one pod and 8080 in the other."""
    _, network = probed({}, matrix(WORLD, [read_port("http/tcp")]))
    assert {(p.destination, p.port) for p in network.asked if "." in p.destination} == {
        ("10.244.0.1", 80),
        ("10.244.0.2", 8080),
    }


def test_families_that_differ_become_two_rows() -> None:
    """Where packets did another thing over IPv6 the pair appears twice, and only that one is a difference."""
    answer, _ = probed({"fd00:244::1": Outcome.DENY}, matrix(WORLD))
    rows = [pair for pair in answer.pairs if pair.destination == "x/a"]
    assert [(pair.family, pair.live, live.differs(pair)) for pair in rows] == [
        ("ipv4", "allow", False),
        ("ipv6", "deny", True),
    ]
    assert "v6 allow, but live deny" in shown(answer)


def test_what_cannot_be_probed_has_no_live_and_is_no_difference() -> None:
    """An unprobeable pair is left without live."""
    unprobeable = dict.fromkeys(("10.244.0.1", "fd00:244::1"), Outcome.UNPROBEABLE)
    answer, _ = probed(unprobeable, matrix(WORLD))
    (row,) = (pair for pair in answer.pairs if pair.destination == "x/a")
    assert row.live is None
    assert not live.differs(row)


def test_icmp_is_asked_in_its_own_family() -> None:
    """ICMP goes over IPv4 and ICMPv6 over IPv6: matrix, live and probe ask no other."""
    for text, family in (("8/icmp", "10.244."), ("128/icmp6", "fd00:244:")):
        answer, network = probed({}, matrix(WORLD, [read_port(text)]))
        assert {pair.family for pair in answer.pairs} == {None}
        assert {pair.live for pair in answer.pairs} == {"allow"}
        assert [p.destination.startswith(family) for p in network.asked] == [True, True]
        found = sendable(PODS[0], find_destination(WORLD, "x/b"), read_port(text))
        assert [format_address(address).startswith(family) for address in found] == [True]
    with pytest.raises(InputError, match="same family"):
        sendable(PODS[0], find_destination(WORLD, "x/s"), read_port("128/icmp6"))


def test_services_are_probed_on_their_own_address_and_port() -> None:
    """A service's row is asked at the service, not at its backends."""
    _, network = probed({}, matrix(WORLD, services=True))
    assert ("10.96.0.7", 80) in {(p.destination, p.port) for p in network.asked}


def test_count_is_the_number_of_questions() -> None:
    """The progress bar's total is what is asked."""
    asked = matrix(WORLD, services=True)
    _, network = probed({}, asked)
    assert live.count(WORLD, asked) == len(network.asked)


def test_probing_is_told_in_steps() -> None:
    """Many questions are asked in some twenty requests, so that a bar moves; few in requests of eight."""
    many = [Endpoint("x", f"p{n}", (parse_address(f"10.244.1.{n}"),)) for n in range(1, 21)]
    world = State(Put(pod) for pod in many)
    ticks: list[int] = []
    for pods, steps in ((many, range(20, 25)), (many[:4], range(2, 3))):
        names = {pod.key for pod in pods}
        asked = matrix(world, [read_port("80/tcp")]).pairs
        some = Matrix(1, tuple(pair for pair in asked if {pair.source, pair.destination} <= names))
        ticks.clear()
        answer = live.probe_matrix(cast(Client, Network({})), world, some, ticks.append)
        assert {pair.live for pair in answer.pairs} == {"allow"}
        assert (len(ticks) in steps, sum(ticks)) == (True, len(some.pairs))


def test_wide_matrix_becomes_a_list() -> None:
    """With more columns than fit the eye, each destination gets one line that names who is denied."""
    numbers = itertools.permutations(range(20), 2)
    verdicts = [(source, target, "deny" if target == 3 else "allow") for source, target in numbers]
    pairs = [Pair(f"x/{s}", f"x/{t}", "80/tcp", word, "allow", word) for s, t, word in verdicts]
    text = shown(Matrix(1, tuple(pairs)))
    assert len(text.splitlines()) == 21
    assert "all 19" in text


def test_a_grid_that_does_not_fit_becomes_a_list() -> None:
    """On few columns each destination gets a line, and no name is cut; on many the grid stays."""
    members = ["attacker/eve", *(f"shop-in-the-city/front-{n}" for n in range(5))]
    pairs = [Pair(s, t, "8080/tcp", "allow", "allow", "allow") for s, t in itertools.permutations(members, 2)]
    answer = Matrix(1, tuple(pairs))
    assert "FROM \\ TO" in shown(answer, 300)
    narrow = shown(answer, 80)
    assert "FROM \\ TO" not in narrow
    assert all(any(line.startswith(name) for line in narrow.splitlines()) for name in members)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            FlowEvent(0, "drop", reason="unknown-link", link="eth7"),
            "a packet that was not read, on link eth7",
        ),
        (FlowEvent(0, "drop", source="x/a", reason="closed"), "a packet that was not read, from x/a"),
        (FlowEvent(0, "drop", reason="malformed"), "a packet that was not read  malformed"),
        (FlowEvent(0, "new", "x/a", "10.244.0.1", 7, "x/b", "10.244.0.2", "8/icmp"), "x/a > x/b 8/icmp"),
    ],
)
def test_a_packet_that_was_not_read_is_told_by_where_it_came_from(told: FlowEvent, line: str) -> None:
    """Without addresses and port that nobody knows; a read one has both."""
    assert line in str(lines.event(told))
    assert "0/0" not in str(lines.event(told))


def test_no_table_is_cut(width: int = 60) -> None:
    """What is wider than the terminal goes on in the next line, whole, and the first column stays in one."""
    words = [f"{letter * 25}-end" for letter in "abc"]
    text = printed(
        render.table(["ONE", "TWO", "THREE"], [["shop/api-0", *words[:2]], ["shop/db", *words[1:]]]), width
    )
    assert "…" not in text
    for letter in "ac":
        assert text.count(letter * 5) >= 1
        assert sum(line.count(letter) for line in text.splitlines()) >= 25
    assert {line.split()[0] for line in text.splitlines() if not line.startswith(" ")} >= {
        "shop/api-0",
        "shop/db",
    }


@pytest.mark.parametrize(
    ("text", "number"), [("80/tcp", 80), ("http/tcp", 8080), ("dns/udp", 53), ("8/icmp", 8 << 8)]
)
def test_ports_are_numbers_in_the_destination(text: str, number: int) -> None:
    """A number is itself, a name the destination's own, an ICMP type is in the upper byte."""
    assert port_number(find_destination(WORLD, "x/b"), read_port(text)) == number


@pytest.mark.parametrize(
    "text", ["", "80", "80/", "/tcp", "0/tcp", "70000/tcp", "http/icmp", "256/icmp", "80/gre"]
)
def test_impossible_ports_are_refused(text: str) -> None:
    """What is no port is bad input."""
    with pytest.raises(InputError):
        read_port(text)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "x/nobody", "nobody", "10.0.0.300"])
def test_impossible_destinations_are_refused(text: str) -> None:
    """A block, a pod that there is not, and nonsense are bad input for a probe."""
    with pytest.raises(InputError):
        find_destination(WORLD, text)


def test_only_pods_send() -> None:
    """A service or an address is no sender of real packets."""
    for text in ("x/s", "10.244.0.9"):
        with pytest.raises(InputError):
            find_pod(WORLD, text)


def test_a_headless_service_is_asked_as_its_backends() -> None:
    """Each backend at its own number for a name of the service's, at the number given for a number."""
    backends = (Backend(A4, 80, "x/a"), Backend(B4, 8080, "x/b"))
    named = Service("x", "h", (), (ServicePort("web", TCP, 80, backends),))
    empty = Service("x", "e", (), (ServicePort("web", TCP, 80),))
    world = State(Put(value) for value in (*PODS, named, empty))
    end = find_destination(world, "service/x/h")
    assert targets(end, read_port("web/tcp")) == {A4: 80, B4: 8080}
    assert targets(end, read_port("9/tcp")) == {A4: 9, B4: 9}
    with pytest.raises(InputError, match="has no port named http/tcp"):
        targets(end, read_port("http/tcp"))
    with pytest.raises(InputError, match="without backends"):
        targets(find_destination(world, "service/x/e"), read_port("80/tcp"))


def test_a_pod_on_the_host_network_is_no_end_of_its_own() -> None:
    """It is its host, whose address is to be named."""
    world = State([Put(Endpoint("x", "h", host_network=True))])
    with pytest.raises(InputError, match="on the host network: it is its host"):
        find_destination(world, "x/h")


def test_service_names_its_own_ports() -> None:
    """A port name of a service is the service's, not its backends'."""
    assert port_number(find_destination(WORLD, "service/x/s"), read_port("web/tcp")) == 80
    with pytest.raises(InputError):
        port_number(find_destination(WORLD, "service/x/s"), read_port("http/tcp"))


def test_a_range_of_one_family_leaves_the_others_default() -> None:
    """--pod-cidr for IPv4 alone keeps the IPv6 default."""
    config = configuration("t1", ["10.9.0.0/16"])
    assert [str(block) for block in config.pod_ranges] == ["10.9.0.0/16", "fd00:244::/64"]


def test_overlapping_ranges_are_refused() -> None:
    """Pods and services do not share addresses."""
    with pytest.raises(InputError):
        configuration("t1", ["10.96.0.0/12"])


def test_a_change_counts_once_it_is_still() -> None:
    """What is seen at one look only, as half a file being saved, is passed over; each state counts once."""
    old, half, new = ({"a.yaml": (1, size, 7)} for size in (10, 0, 20))
    settling = watching.Settling(old)
    looks = [old, half, new, new, new, old, half, half]
    assert [settling.look(now) for now in looks] == [False, False, False, True, False, False, False, True]


def test_an_edit_made_since_the_files_were_read_counts() -> None:
    """What changed before the first look, while the sandbox came up, is a change."""
    settling = watching.Settling({"a.yaml": (1, 10, 7)})
    edited = {"a.yaml": (2, 10, 7)}
    assert [settling.look(edited), settling.look(edited)] == [False, True]


def test_watching_sees_changes_additions_and_removals(tmp_path: Path) -> None:
    """A file that is written, comes or goes changes what is watched; an unrelated one does not."""
    (tmp_path / "a.yaml").write_text("a")
    stamps = [watching.stamps([str(tmp_path)])]
    (tmp_path / "a.yaml").write_text("ab")
    stamps.append(watching.stamps([str(tmp_path)]))
    (tmp_path / "b.yaml").write_text("b")
    stamps.append(watching.stamps([str(tmp_path)]))
    (tmp_path / "note.txt").write_text("n")
    assert watching.stamps([str(tmp_path)]) == stamps[-1]
    (tmp_path / "a.yaml").unlink()
    stamps.append(watching.stamps([str(tmp_path)]))
    assert len({tuple(stamp.items()) for stamp in stamps}) == 4

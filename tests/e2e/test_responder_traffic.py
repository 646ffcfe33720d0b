"""What the responder answers and asks inside namespaces: echo, DNS and probes, by real packets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest
from responder_lab import NOBODY4, NOBODY6, Pod, connect, pods, read_line, socket_path

from cloche.model.address import Address, parse_address
from cloche.model.topology import ICMP, ICMPV6, TCP, UDP
from cloche.responder.client import AsyncClient, Client, start
from cloche.responder.messages import Outcome, Probe, ProbeResult, Zone, ZoneService

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root")
INSTANCE = "lab"
PODS = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = socket_path(tmp_path_factory.mktemp("responder"))
    start(INSTANCE, where)
    yield where
    with Client.connect(INSTANCE, where) as client:
        client.stop()


@pytest.fixture(scope="module")
def lab(path: Path) -> Iterator[list[Pod]]:
    with pods(PODS) as made, Client.connect(INSTANCE, path) as client:
        served = [pod.served([(TCP, 80), (UDP, 80)], dns=pod is made[0]) for pod in made]
        assert client.serve(served) == ()
        yield made


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    with Client.connect(INSTANCE, path) as connected:
        yield connected


def probe(source: Pod, destination: Address | str, port: int, protocol: int) -> Probe:
    address = parse_address(destination) if isinstance(destination, str) else destination
    return Probe(source.netns, source.addresses, address, port, protocol)


def one(client: Client, asked: Probe) -> ProbeResult:
    (result,) = client.probe([asked])
    return result


WAYS = [(4, TCP, 80), (6, TCP, 80), (4, UDP, 80), (6, UDP, 80)]


@pytest.mark.parametrize(("family", "protocol", "port"), WAYS)
def test_every_pair_is_answered_by_whom_it_asked(
    lab: list[Pod], client: Client, family: int, protocol: int, port: int
) -> None:
    """All pairs at once: each is answered by the endpoint that it asked, and by no other."""
    pairs = [(a, b) for a in lab for b in lab if a is not b]
    to = [b.ipv4 if family == 4 else b.ipv6 for _a, b in pairs]
    asked = [probe(a, address, port, protocol) for (a, _b), address in zip(pairs, to, strict=True)]
    results = client.probe(asked)
    assert [(r.outcome, r.answered_by) for r in results] == [(Outcome.ANSWERED, b.name) for _a, b in pairs]
    assert [r.source for r in results] == [a.ipv4 if family == 4 else a.ipv6 for a, _b in pairs]
    assert all(r.source_port and 0 < r.rtt < 5 for r in results)


@pytest.mark.parametrize(("destination", "protocol"), [("10.9.0.2", ICMP), ("fd00:9::2", ICMPV6)])
def test_echo_requests_are_answered(lab: list[Pod], client: Client, destination: str, protocol: int) -> None:
    """ICMP echo is asked and its reply recognised, many at once between the same two."""
    results = client.probe([probe(lab[0], destination, 0, protocol)] * 20)
    assert [result.outcome for result in results] == [Outcome.ANSWERED] * 20
    assert len({result.source_port for result in results}) == 20


@pytest.mark.parametrize("destination", ["10.9.0.2", "fd00:9::2"])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_closed_port_is_refused(lab: list[Pod], client: Client, destination: str, protocol: int) -> None:
    """The endpoint's own refusal is told apart from silence."""
    assert one(client, probe(lab[0], destination, 4242, protocol)).outcome is Outcome.REFUSED


SILENT = [(NOBODY4, TCP), (NOBODY6, TCP), (NOBODY4, UDP), (NOBODY6, UDP), (NOBODY4, ICMP), (NOBODY6, ICMPV6)]


@pytest.mark.parametrize(("destination", "protocol"), SILENT)
def test_silence_is_silence(lab: list[Pod], client: Client, destination: str, protocol: int) -> None:
    """Where nothing comes back the outcome is silent, no sooner than after every try."""
    begin = time.monotonic()
    port = 0 if protocol in (ICMP, ICMPV6) else 80
    assert one(client, probe(lab[0], destination, port, protocol)).outcome is Outcome.SILENT
    assert time.monotonic() - begin >= 0.6


def test_silence_costs_its_time_once(lab: list[Pod], client: Client) -> None:
    """Hundreds of silent probes take little longer than one, and do not spoil the answered among them."""
    silent = [probe(pod, NOBODY4, 80, TCP) for pod in lab for _ in range(30)]
    answered = [probe(pod, lab[1].ipv4, 80, UDP) for pod in lab[2:]]
    begin = time.monotonic()
    results = client.probe([*silent, *answered])
    assert time.monotonic() - begin < 10
    assert {result.outcome for result in results[: len(silent)]} == {Outcome.SILENT}
    assert {result.answered_by for result in results[len(silent) :]} == {"lab/p1"}


UNPROBABLE = [
    ("10.9.0.2", 80, 47, "protocol 47"),
    ("10.9.0.2", 0, ICMPV6, "does not speak icmp6"),
    ("10.9.0.2", 13 << 8, ICMP, "only echo requests"),
]


@pytest.mark.parametrize(("destination", "port", "protocol", "why"), UNPROBABLE)
def test_what_cannot_be_asked_says_so(
    lab: list[Pod], client: Client, destination: str, port: int, protocol: int, why: str
) -> None:
    """What cannot be asked is neither answered nor silent, and says why."""
    result = one(client, probe(lab[0], destination, port, protocol))
    assert result.outcome is Outcome.UNPROBED
    assert why in result.detail


def test_without_a_way_it_cannot_be_asked(lab: list[Pod], client: Client) -> None:
    """No namespace, no address of that family, or no route: cannot be asked, each with its reason."""
    no_space = Probe("/run/netns/none-such", (), lab[0].ipv4, 80, TCP)
    no_family = Probe(lab[0].netns, (lab[0].ipv4,), lab[1].ipv6, 80, TCP)
    foreign = Probe(lab[0].netns, (lab[1].ipv4,), lab[2].ipv4, 80, TCP)
    results = client.probe([no_space, no_family, foreign])
    assert [result.outcome for result in results] == [Outcome.UNPROBED] * 3
    assert "No such file" in results[0].detail
    assert "no IPv6 address" in results[1].detail
    assert "assign" in results[2].detail


def test_the_source_address_is_bound(lab: list[Pod], client: Client) -> None:
    """A probe leaves from the address it is told to, also when the namespace has another one first."""
    subprocess.run(["ip", "-n", lab[1].space, "addr", "add", "10.9.0.98/32", "dev", "lo"], check=True)
    second = parse_address("10.9.0.98")
    result = one(client, Probe(lab[1].netns, (second,), lab[1].ipv4, 80, TCP))
    assert (result.outcome, result.answered_by, result.source) == (Outcome.ANSWERED, "lab/p1", second)


def test_a_stranger_is_reached_but_unnamed(lab: list[Pod], client: Client) -> None:
    """A server that says nothing of ours counts as answered, by nobody known."""
    with lab[4].inside(lambda: socket.create_server(("10.9.0.5", 5000))):
        result = one(client, probe(lab[0], "10.9.0.5", 5000, TCP))
    assert (result.outcome, result.answered_by) == (Outcome.ANSWERED, "")


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_the_name_server_says_who_it_is(lab: list[Pod], client: Client, protocol: int) -> None:
    """A probe of port 53 speaks DNS, and learns by it who answered."""
    result = one(client, probe(lab[1], lab[0].ipv6, 53, protocol))
    assert (result.outcome, result.answered_by) == (Outcome.ANSWERED, "lab/p0")


def test_many_callers_at_once(lab: list[Pod], path: Path) -> None:
    """While one caller waits for silence, others are answered on the same connection."""

    async def run() -> None:
        async with await AsyncClient.connect(INSTANCE, path) as asking:
            silent = asyncio.create_task(asking.probe([probe(lab[0], NOBODY4, 80, TCP)]))
            await asyncio.sleep(0)
            answered = await asking.probe([probe(lab[0], lab[1].ipv4, 80, TCP)])
            assert not silent.done()
            assert answered[0].answered_by == "lab/p1"
            assert len(await asking.list()) == PODS
            assert (await silent)[0].outcome is Outcome.SILENT

    asyncio.run(run())


def test_a_stream_comes_back_whole(lab: list[Pod]) -> None:
    """Megabytes echo in order, also to a client that reads late."""
    sent = os.urandom(8 << 20)
    with connect(lab[2], "fd00:9::4", 80) as connection:
        assert read_line(connection) == "lab/p3"
        sender = threading.Thread(
            target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
        )
        sender.start()
        time.sleep(0.2)
        back = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
    assert back == sent


def test_a_datagram_comes_back_behind_the_name(lab: list[Pod]) -> None:
    """A datagram is echoed, from the address it was sent to, behind the name of who answers."""

    def ask() -> tuple[bytes, str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(b"hello\x00\xff", ("10.9.0.2", 80))
            data, sender = asking.recvfrom(4096)
            return data, sender[0]

    assert lab[5].inside(ask) == (b"lab/p1\nhello\x00\xff", "10.9.0.2")


def test_two_echoes_do_not_talk_for_ever(lab: list[Pod]) -> None:
    """What holds an endpoint's own line already is not answered by it again."""

    def ask() -> list[bytes]:
        heard = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            for data in (b"lab/p2\nlab/p1\nx", b"y"):
                asking.sendto(data, ("10.9.0.2", 80))
            heard.append(asking.recv(4096))
            asking.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                heard.append(asking.recv(4096))
        return heard

    assert lab[5].inside(ask) == [b"lab/p1\ny"]


def test_zones_are_replaced_whole(lab: list[Pod], client: Client) -> None:
    """DNS answers over UDP and TCP from the zone it was last given, and from that one alone."""

    def ask(name: str) -> list[str]:
        query = dns.message.make_query(f"{name}.shop.svc.cluster.local", "A")
        answers = [
            lab[1].inside(lambda: dns.query.udp(query, "10.9.0.1", timeout=5)),
            lab[1].inside(lambda: dns.query.tcp(query, "fd00:9::1", timeout=5)),
        ]
        texts = [str(rdata) for answer in answers for rrset in answer.answer for rdata in rrset]
        assert answers[0].rcode() == answers[1].rcode()
        return texts

    client.zone(Zone((ZoneService("shop", "web", (parse_address("10.96.0.1"),)),)))
    assert (ask("web"), ask("db")) == (["10.96.0.1"] * 2, [])
    client.zone(Zone((ZoneService("shop", "db", (parse_address("10.96.0.2"),)),)))
    assert (ask("web"), ask("db")) == ([], ["10.96.0.2"] * 2)


def test_a_resolver_asks_many_times_on_one_connection(lab: list[Pod], client: Client) -> None:
    """DNS over TCP takes several questions in one segment, and a question in several."""
    client.zone(Zone((ZoneService("shop", "web", (parse_address("10.96.0.1"),)),)))
    wires = [
        dns.message.make_query("web.shop.svc.cluster.local", kind, id=number).to_wire()
        for number, kind in ((1, "A"), (2, "AAAA"))
    ]
    stream = b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires)
    with connect(lab[1], "10.9.0.1", 53) as connection, connection.makefile("rb") as reading:
        connection.sendall(stream)
        for byte in stream:
            connection.sendall(bytes([byte]))
        answers = [
            dns.message.from_wire(reading.read(int.from_bytes(reading.read(2), "big"))) for _ in range(4)
        ]
    assert [answer.id for answer in answers] == [1, 2, 1, 2]
    assert [len(answer.answer) for answer in answers] == [1, 0, 1, 0]

"""The agent's socket under attack: whatever comes in by it, the agent goes on and serves the others."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

from cloche.agent.client import Client
from cloche.agent.connections import HEAD_SECONDS, MAX_CONNECTIONS
from cloche.agent.messages import Mode
from cloche.agent.server import MAX_BODY
from cloche.datapath import namespaces
from cloche.errors import NotRunningError
from e2e.agent_lab import Instance, machine, objects, pod, wait_for

NOBODY = 65534
SLOW = b"GET /v1/status HTTP/1.1\r\nHost: a\r\nX-Slow: "


class Attacked(NamedTuple):
    """An agent with one pod, and a client that asks as honest ones do."""

    instance: Instance
    client: Client


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    """One agent for all tests here: each must leave it able to serve the next."""
    with machine() as made:
        instance = made.instance()
        with instance.start() as client:
            client.apply(objects(pod("web")), Mode.REPLACE)
            yield Attacked(instance, client)


@pytest.fixture(autouse=True)
def serves_on(attacked: Attacked) -> Iterator[None]:
    """After each test the same process answers, and a change can still be made."""
    before = attacked.client.status()
    yield
    with Client(attacked.instance.config) as another:
        status = another.status()
        assert (status.pid, status.digest) == (before.pid, before.digest)
        assert another.apply(objects(pod("web")), Mode.REPLACE).digest == before.digest


def dial(attacked: Attacked) -> socket.socket:
    """A raw connection."""
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(10)
    raw.connect(str(attacked.instance.config.socket))
    return raw


def said(raw: socket.socket) -> bytes:
    """Everything that comes until the other side hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while part := raw.recv(65536):
            heard += part
    return heard


def post(path: str, body: bytes, length: int | None = None) -> bytes:
    """A request in bytes that ends its connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def test_only_root_may_open_it(attacked: Attacked) -> None:
    """Socket, its folder and what the agent keeps are root's alone, and another user cannot connect."""
    config = attacked.instance.config
    assert stat.S_IMODE(config.socket.stat().st_mode) == 0o600
    assert config.socket.stat().st_uid == 0
    assert not stat.S_IMODE(config.socket.parent.stat().st_mode) & 0o077
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            dial(attacked)
        except PermissionError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    "sent",
    [
        b"\0" * 1000,
        os.urandom(1000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(10),
)
def test_what_is_no_request_is_refused(attacked: Attacked, sent: bytes) -> None:
    """Bytes that are no HTTP, or HTTP that contradicts itself, are refused or hung up on."""
    with dial(attacked) as raw:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
        heard = said(raw)
    assert heard == b"" or heard.split()[1] in (b"400", b"404")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa9manifests" + b"\x91" * 100_000 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        msgspec.msgpack.encode({"manifests": 7}),
        msgspec.msgpack.encode({"manifests": [["Pod", "a", "b", "f", 1, {}]]}),
        msgspec.msgpack.encode({"manifests": [["Pod", "", "\0\ud7ff", "f", -1, [[], 0]]], "mode": "merge"}),
        msgspec.msgpack.encode({"pairs": [["x", "y", 6, 2**40]], "timeout_s": -1.0}),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("path", ["/v1/apply", "/v1/delete", "/v1/probe"])
def test_a_body_of_nonsense_is_refused_and_changes_nothing(
    attacked: Attacked, path: str, body: bytes
) -> None:
    """Bodies that are no such message, nest without end or lie about lengths: the world is as it was."""
    before = attacked.client.status()
    with dial(attacked) as raw:
        raw.sendall(post(path, body))
        heard = said(raw)
    assert heard.split()[1] in (b"400", b"422", b"500", b"503")
    assert attacked.client.status().digest == before.digest


def test_what_is_longer_than_any_honest_request_is_refused_unread(attacked: Attacked) -> None:
    """A body past the limit is cut off, and the agent is not larger by more than the limit meanwhile."""
    part = bytes(1 << 20)
    sent = 0
    with dial(attacked) as raw:
        raw.sendall(post("/v1/apply", b"", 1 << 40))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 2 * MAX_BODY:
                sent += raw.send(part)
    assert sent < MAX_BODY + (64 << 20)


def test_slow_clients_are_cut_off_and_cost_nobody_else(attacked: Attacked) -> None:
    """Who sends a request's head byte by byte is hung up on in seconds; others are answered at once."""
    slow = [dial(attacked) for _ in range(40)]
    for raw in slow:
        raw.sendall(SLOW)
    begin = time.monotonic()
    gone: set[int] = set()

    def all_cut() -> bool:
        for number, raw in enumerate(slow):
            try:
                raw.sendall(b"a")
            except OSError:
                gone.add(number)
        attacked.client.status()
        time.sleep(0.2)
        return len(gone) == len(slow)

    wait_for(all_cut, HEAD_SECONDS * 4)
    assert time.monotonic() - begin >= HEAD_SECONDS / 2
    for raw in slow:
        raw.close()


def test_a_flood_of_connections_does_not_shut_others_out(attacked: Attacked) -> None:
    """Thousands of connections that ask nothing: a new client is answered all the while, files stay few."""
    pid = attacked.client.status().pid
    flood: list[socket.socket] = []
    try:
        for number in range(900):
            flood.append(dial(attacked))
            if number % 100 == 99:
                with Client(attacked.instance.config) as honest:
                    assert honest.status().pid == pid
        held = len(os.listdir(f"/proc/{pid}/fd"))
        assert held < MAX_CONNECTIONS + 100
    finally:
        for raw in flood:
            raw.close()


def test_who_does_not_read_gives_way(attacked: Attacked) -> None:
    """Connections that ask for all and read nothing fill the room; the next client gets its place."""
    asked = b"GET /v1/objects HTTP/1.1\r\nHost: a\r\n\r\n" * 200
    deaf = []
    for _ in range(MAX_CONNECTIONS + 20):
        raw = dial(attacked)
        raw.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            raw.send(asked)
        deaf.append(raw)

    def served() -> bool:
        try:
            with Client(attacked.instance.config) as honest:
                return honest.status().pid > 0
        except NotRunningError:  # all are being served still
            return False

    wait_for(served)
    for raw in deaf:
        raw.close()


def test_pipelined_requests_are_all_answered(attacked: Attacked) -> None:
    """Ten requests in one write get ten answers, in order."""
    one = b"GET /v1/status HTTP/1.1\r\nHost: a\r\n"
    with dial(attacked) as raw:
        raw.sendall((one + b"\r\n") * 9 + one + b"Connection: close\r\n\r\n")
        assert said(raw).count(b"HTTP/1.1 200") == 10


def test_a_pod_does_not_see_the_socket(attacked: Attacked) -> None:
    """From a pod's network namespace no abstract or TCP socket of the agent can be found."""

    def listening() -> list[str]:
        lines = open("/proc/thread-self/net/unix").read().splitlines()  # noqa: SIM115
        return [line for line in lines if attacked.instance.config.instance in line]

    assert not namespaces.call_in(attacked.instance.netns("web"), listening)

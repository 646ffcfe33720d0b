"""The agent's socket and its client, over a real Unix socket, with a core that answers from a table."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cloche.agent import server
from cloche.agent.client import AgentError, Client
from cloche.agent.history import History
from cloche.agent.messages import (
    Applied,
    ApplyRequest,
    DeleteRequest,
    FlowEvent,
    Outcome,
    ProbePair,
    ProbeRequest,
    ProbeResult,
    Show,
    ShownMap,
    Status,
)
from cloche.agent.server import Server, listen
from cloche.config import Config
from cloche.errors import ClocheError, Finding, InputError, NotRunningError, TooBigError
from cloche.model.state import Object
from cloche.model.topology import Endpoint, Namespace

GONE = 2**22 + 1
"""A process that cannot be: past the kernel's highest number."""
STATUS = Status(
    "unit", "0", GONE, 7, "d", 1, 2, 3, 4, ("a",), ("b",), 1.5, True, 3.0, 2.0, 5, 6, 7, 8, 9, 1, 0
)
APPLIED = Applied(7, "d", 1, 2, 3, 4, 5, (Finding("f", 1, "x", "m"),), {"total": 1.0})
FINDING = Finding("lid.yaml", 3, "spec.port", "70000 is no port", "1 to 65535")
REFUSED: dict[bytes, ClocheError] = {
    b"input": InputError([FINDING]),
    b"big": TooBigError("cells", 9, 4, [("NetworkPolicy/a/b", 8)]),
    b"broken": ClocheError("the disk is full"),
}
OBJECTS: list[Object] = [Namespace("n"), *(Endpoint("n", str(number)) for number in range(1200))]


class Told:
    """A core that says what it is told to say."""

    def __init__(self) -> None:
        self.history = History(10)
        self.error: ClocheError | None = None
        self.asked: list[object] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def happen(self, event: FlowEvent) -> None:
        """Let an event arrive on the server's loop."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.history.add, [event])

    async def change(self, kind: type[ApplyRequest | DeleteRequest], body: bytes) -> Applied:
        self.asked.append((kind, len(body)))
        if self.error:
            raise self.error
        return APPLIED

    async def status(self) -> Status:
        return STATUS

    def objects(self) -> list[Object]:
        return OBJECTS

    async def show(self, what: Show) -> list[object]:
        return [ShownMap(what, 1, 2)]

    async def probe(self, request: ProbeRequest) -> list[ProbeResult]:
        return [ProbeResult(pair, Outcome.ALLOW, "n/1") for pair in request.pairs]

    async def down(self) -> None:
        self.asked.append("down")


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[Told, Client]]:
    config = Config(instance="unit", root=str(tmp_path))
    core = Told()
    listener = listen(config)
    ready: threading.Event = threading.Event()
    servers: list[Server] = []

    async def serve() -> None:
        core.loop = asyncio.get_running_loop()
        servers.append(Server(core))
        ready.set()
        await servers[0].run_on(listener)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        with Client(config) as client:
            yield core, client
    finally:
        servers[0].stop()
        thread.join()


def test_every_answer_arrives_typed(told: tuple[Told, Client]) -> None:
    """Status, objects by the thousand, lists and probes come back as the values that were sent."""
    core, client = told
    pair = ProbePair("n/1", "10.0.0.1", 6, 80)
    assert client.status() == STATUS
    assert client.objects() == OBJECTS
    assert client.maps() == [ShownMap("maps", 1, 2)]
    assert client.probe([pair]) == [ProbeResult(pair, Outcome.ALLOW, "n/1")]
    assert (client.apply([]), client.delete([])) == (APPLIED, APPLIED)
    client.down()
    assert [asked if isinstance(asked, str) else asked[0] for asked in core.asked] == [  # type: ignore[index]
        ApplyRequest,
        DeleteRequest,
        "down",
    ]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refusal_is_the_same_error_on_this_side(told: tuple[Told, Client], name: bytes) -> None:
    """Findings, costs and messages survive the wire; what is neither is an AgentError."""
    core, client = told
    core.error = REFUSED[name]
    expected = AgentError if name == b"broken" else type(core.error)
    with pytest.raises(expected) as caught:
        client.apply([])
    assert str(caught.value) == str(core.error)


def test_followers_get_events_as_they_come(told: tuple[Told, Client]) -> None:
    """A follower gets the history first and then a new event without asking again."""
    core, client = told
    core.history.add([FlowEvent(1.0, "new")])
    assert [event.kind for event in client.flows()] == ["new"]
    stream = client.flows(follow=True)
    kinds = []
    for kind in ("new", "drop", "cut"):
        if kind != "new":
            core.happen(FlowEvent(2.0, kind))
        kinds.append(next(stream).kind)
    stream.close()  # type: ignore[attr-defined]
    assert kinds == ["new", "drop", "cut"]


def test_socket_is_roots_alone(tmp_path: Path) -> None:
    """The socket has mode 0600 in a folder of mode 0700 from the moment it exists."""
    config = Config(instance="unit", root=str(tmp_path))
    with listen(config):
        assert stat.S_IMODE(os.stat(config.socket).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(config.run).st_mode) == 0o700


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/show/nothing", 404),
        ("GET", "/v2/status", 404),
        ("GET", "/v1/apply", 405),
        ("POST", "/v1/probe", 400),
    ],
)
def test_nonsense_is_answered_and_harms_nobody(
    told: tuple[Told, Client], method: str, path: str, status: int
) -> None:
    """Wrong paths, verbs and bodies get their HTTP status, and the next request is served."""
    _, client = told
    transport = httpx.HTTPTransport(uds=str(client.config.socket))
    with httpx.Client(transport=transport, base_url="http://agent") as raw:
        assert raw.request(method, path, content=b"\xc1" if method == "POST" else None).status_code == status
    assert client.status() == STATUS


def heard(connection: socket.socket, words: bytes) -> bool:
    """True once the words have come; False when the other side hangs up before."""
    said = b""
    while words not in said:
        part = connection.recv(65536)
        if not part:
            return False
        said += part
    return True


def test_a_body_that_never_ends_is_given_up(
    told: tuple[Told, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who announces a body and does not send it is told so in time, and what it took is free again."""
    _, client = told
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(10)
        slow.connect(str(client.config.socket))
        slow.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        assert heard(slow, b"took over")
    assert client.apply([]) == APPLIED


def test_bodies_share_one_room(told: tuple[Told, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests at once may not be longer together than one alone may be."""
    _, client = told
    monkeypatch.setattr(server, "MAX_BODY", 1000)
    head = b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for one in (first, second):
            one.settimeout(10)
            one.connect(str(client.config.socket))
        first.sendall(head + bytes(800))
        assert client.status() == STATUS
        second.sendall(head + bytes(800))
        assert heard(second, b"over 1000 bytes")
        first.sendall(bytes(100))
        assert heard(first, b"HTTP/1.1 200")


def test_nobody_there_is_not_running(tmp_path: Path) -> None:
    """No socket, and a socket behind which nobody listens any more, are both: not running."""
    config = Config(instance="unit", root=str(tmp_path))
    with Client(config) as client, pytest.raises(NotRunningError):
        client.status()
    config.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(config.socket))
    with Client(config) as client, pytest.raises(NotRunningError):
        client.status()

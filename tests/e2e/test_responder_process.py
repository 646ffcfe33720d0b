"""The responder as a process: it outlives who started it, keeps what is wanted, and survives nonsense."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from responder_lab import Pod, connect, pods, read_line, remove, socket_path

from cloche.errors import NotRunningError
from cloche.model.topology import SCTP, TCP, UDP
from cloche.responder.client import Client, ResponderError, start
from cloche.responder.messages import MAX_FRAME, Refused, reply_decoder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root")
INSTANCE = "lab"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    where = socket_path(tmp_path)
    start(INSTANCE, where)
    yield where
    try:
        with Client.connect(INSTANCE, where) as client:
            client.stop()
    except NotRunningError:
        pass


@pytest.fixture(scope="module")
def lab() -> Iterator[list[Pod]]:
    with pods(2) as made:
        yield made


def pid(path: Path) -> int:
    with Client.connect(INSTANCE, path) as client:
        return client.pid


def test_started_once(path: Path) -> None:
    """Starting again adopts the one that runs; its socket is for its owner alone."""
    before = pid(path)
    start(INSTANCE, path)
    assert pid(path) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_outlives_who_started_it(tmp_path: Path) -> None:
    """It goes on, in a session of its own, when the process that started it was killed."""
    where = socket_path(tmp_path)
    program = (
        "import os, pathlib, signal, sys; from cloche.responder.client import start;"
        "start('lab', pathlib.Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(where)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Client.connect(INSTANCE, where) as client:
        assert os.getsid(client.pid) not in (0, os.getsid(0))
        client.stop()


def test_two_starters_make_one(tmp_path: Path) -> None:
    """Two that start it at the same moment get the same one."""
    where = socket_path(tmp_path)
    program = (
        "import pathlib, sys; from cloche.responder.client import Client, start;"
        "p = pathlib.Path(sys.argv[1]); start('lab', p); print(Client.connect('lab', p).pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, str(where)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    seen = {starter.communicate(timeout=30)[0] for starter in starters}
    assert seen == {f"{pid(where)}\n"}
    with Client.connect(INSTANCE, where) as client:
        client.stop()


def test_stopped_is_gone(path: Path) -> None:
    """After a stop nobody is there, its socket's file is gone, and another one can be started."""
    with Client.connect(INSTANCE, path) as client:
        first = client.pid
        client.stop()
    assert not path.exists()
    with pytest.raises(NotRunningError):
        Client.connect(INSTANCE, path)
    start(INSTANCE, path)
    assert pid(path) != first


def test_another_instance_is_not_adopted(path: Path) -> None:
    """A responder of another instance is refused, and keeps running."""
    before = pid(path)
    with pytest.raises(ResponderError, match="instance 'lab'"):
        start("other", path)
    assert pid(path) == before


def test_connections_outlive_the_agent(path: Path, lab: list[Pod]) -> None:
    """A connection that an earlier agent saw opened still echoes for the next, told of the same endpoints."""
    served = [pod.served([(TCP, 80)]) for pod in lab]
    with Client.connect(INSTANCE, path) as first:
        assert first.serve(served) == ()
    with connect(lab[0], "10.9.0.2", 80) as connection:
        assert read_line(connection) == "lab/p1"
        with Client.connect(INSTANCE, path) as second:
            assert second.serve(served) == ()
            assert [listed.connections for listed in second.list()] == [0, 1]
        connection.sendall(b"still here\n")
        assert read_line(connection) == "still here"


def test_only_differences_are_made(path: Path, lab: list[Pod]) -> None:
    """A port that goes is closed with its connections, one that comes answers, one that stays stays."""
    with Client.connect(INSTANCE, path) as client:
        client.serve([lab[1].served([(TCP, 80), (TCP, 81)])])
        stays, goes = connect(lab[0], "10.9.0.2", 80), connect(lab[0], "fd00:9::2", 81)
        assert [read_line(stays), read_line(goes)] == ["lab/p1"] * 2
        client.serve([lab[1].served([(TCP, 80), (TCP, 82)])])
        assert goes.recv(1) == b""
        stays.sendall(b"on\n")
        assert read_line(stays) == "on"
        with pytest.raises(ConnectionRefusedError):
            connect(lab[0], "10.9.0.2", 81)
        with connect(lab[0], "10.9.0.2", 82) as comes:
            assert read_line(comes) == "lab/p1"
        client.serve([])
        assert stays.recv(1) == b""
        assert client.list() == ()
        stays.close()
        goes.close()


def test_a_namespace_that_goes_is_let_go(path: Path) -> None:
    """When a namespace is deleted its sockets are closed, without being told; the others stay."""
    with pods(2) as made, Client.connect(INSTANCE, path) as client:
        client.serve([pod.served([(TCP, 80), (UDP, 80)]) for pod in made])
        remove(made[0])
        deadline = time.monotonic() + 10
        while len(client.list()) == 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [listed.name for listed in client.list()] == ["lab/p1"]
        problems = client.serve([pod.served([(TCP, 80)]) for pod in made])
        assert [problem.name for problem in problems] == ["lab/p0"]
        assert "no network namespace" in problems[0].message


def test_a_namespace_made_anew_is_served_anew(path: Path) -> None:
    """Another namespace under the same path is not taken for the one before."""
    with pods(1) as (pod,), Client.connect(INSTANCE, path) as client:
        client.serve([pod.served([(TCP, 80)])])
        remove(pod)
        subprocess.run(["ip", "netns", "add", pod.space], check=True)
        subprocess.run(["ip", "-n", pod.space, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", pod.space, "addr", "add", "10.9.0.1/32", "dev", "lo"], check=True)
        assert client.serve([pod.served([(TCP, 80)])]) == ()
        with connect(pod, "10.9.0.1", 80) as connection:
            assert read_line(connection) == "lab/p0"


def test_what_cannot_be_opened_is_named(path: Path, lab: list[Pod]) -> None:
    """A port that is taken, or whose protocol has no ports, is named as a problem; the rest is served."""
    taken = lab[1].inside(lambda: socket.create_server(("10.9.0.2", 81)))
    with taken, Client.connect(INSTANCE, path) as client:
        problems = client.serve([lab[1].served([(TCP, 80), (TCP, 81), (47, 1)])])
        named = {(problem.protocol, problem.port) for problem in problems}
        assert named == {(TCP, 81), (47, 1)}
        with connect(lab[0], "10.9.0.2", 80) as connection:
            assert read_line(connection) == "lab/p1"


def test_sctp_as_the_kernel_has_it(path: Path, lab: list[Pod]) -> None:
    """SCTP is served where the kernel has it, and is named as a problem where not."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP).close()
        has_sctp = True
    except OSError:
        has_sctp = False
    with Client.connect(INSTANCE, path) as client:
        problems = client.serve([lab[1].served([(SCTP, 80)])])
        assert (problems == ()) is has_sctp


def test_a_name_twice_is_refused(path: Path, lab: list[Pod]) -> None:
    """Two endpoints of one name are refused and nothing changes."""
    with Client.connect(INSTANCE, path) as client:
        client.serve([lab[0].served([(TCP, 80)])])
        with pytest.raises(ResponderError, match="twice"):
            client.serve([lab[1].served([(TCP, 80)]), lab[1].served([(TCP, 81)])])
        assert [listed.netns for listed in client.list()] == [lab[0].netns]


def exchange(path: Path, sent: bytes) -> bytes:
    """What comes back, up to the end, when these bytes are sent and no more."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(str(path))
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: raw.recv(65536), b""))


NONSENSE = [
    b"\x00\x00\x00\x05hello",
    b"\x00\x00\x00\x00",
    b"\x00\x00\x00\x01\xc0",
    (MAX_FRAME + 1).to_bytes(4, "big") + b"x",
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_refused_and_survived(path: Path, lab: list[Pod], nonsense: bytes) -> None:
    """What is no request is answered as refused; the responder and what it serves go on."""
    with Client.connect(INSTANCE, path) as client:
        client.serve([lab[0].served([(TCP, 80)])])
        back = exchange(path, nonsense)
        reply = reply_decoder.decode(back[4:])
        assert reply.id == 0
        assert isinstance(reply.body, Refused)
        assert client.list()[0].listening == 2


def test_a_request_cut_short_is_survived(path: Path) -> None:
    """A connection that ends within a request ends alone."""
    before = pid(path)
    assert exchange(path, b"\x00\x00\x01\x00abc") == b""
    assert pid(path) == before


def test_a_signal_ends_it_cleanly(path: Path) -> None:
    """SIGTERM closes everything and takes the socket's file away."""
    os.kill(pid(path), signal.SIGTERM)
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not path.exists()


def test_killed_it_can_be_started_again(path: Path, lab: list[Pod]) -> None:
    """What a killed one leaves behind is in nobody's way: another takes its place and serves."""
    killed = pid(path)
    os.kill(killed, signal.SIGKILL)
    start(INSTANCE, path)
    with Client.connect(INSTANCE, path) as client:
        assert client.pid != killed
        assert client.serve([lab[0].served([(TCP, 80)])]) == ()
        assert client.list()[0].listening == 2

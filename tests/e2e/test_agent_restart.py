"""The agent may die at any time: traffic goes on, and the next one takes over what is there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.agent.client import AgentError, Client
from cloche.agent.processes import has_ended
from cloche.config import Loader
from cloche.datapath import devices, namespaces, ownership
from cloche.errors import NotRunningError
from e2e.agent_lab import (
    Instance,
    Line,
    Machine,
    addresses,
    endpoint,
    ingress_from,
    leftovers,
    objects,
    pod,
    replace,
    wait_for,
)

WORLD = pod("web") + pod("friend") + pod("stranger") + ingress_from("lid", "web", "friend")


class Running(NamedTuple):
    """A sandbox, a connection to its agent, and the web pod's IPv4 address."""

    instance: Instance
    client: Client
    web: str


LOADERS = pytest.mark.parametrize("up", [Loader.AUTO, Loader.CLSACT], indirect=True)


@pytest.fixture
def up(host: Machine, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Three pods and a policy, on the kernel's own loader or the one that the test names."""
    instance = host.instance(loader=getattr(request, "param", Loader.AUTO))
    with instance.start() as client:
        replace(client, WORLD)
        yield Running(instance, client, addresses(client, "web")[0])


@LOADERS
def test_killed_agent_leaves_traffic_and_is_adopted(up: Running) -> None:
    """kill -9: open connections go on, new ones are judged; the next agent writes and cuts nothing."""
    before = up.client.status()
    line = up.instance.dial("friend", up.web)
    assert line.answers()
    up.instance.kill()
    assert line.answers()
    assert up.instance.reaches("friend", up.web)
    assert not up.instance.reaches("stranger", up.web, timeout=0.5)
    with pytest.raises(NotRunningError):
        up.client.status()
    with up.instance.start() as client:
        after = client.status()
        assert (after.generation, after.digest) == (before.generation, before.digest)
        assert (after.writes_total, after.adopted) == (0, True)
        assert after.responder_pid == before.responder_pid
        assert endpoint(client, "web").state == "open"
        assert line.answers()
        assert up.instance.reaches("friend", up.web)
        assert not up.instance.reaches("stranger", up.web, timeout=0.5)
        replace(client, WORLD.replace("{name: friend}", "{name: nobody}"))
        assert client.status().generation > before.generation
        assert not line.answers()
    line.close()


def test_signalled_agent_leaves_everything_in_place(up: Running) -> None:
    """SIGTERM ends the agent and nothing else."""
    line = up.instance.dial("friend", up.web)
    pid = up.instance.pid()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: has_ended(pid))
    assert line.answers()
    line.close()


def test_rules_have_their_names_after_a_restart(up: Running) -> None:
    """A drop after a restart that wrote nothing still names the policy that isolates, by file and line."""
    up.instance.kill()
    with up.instance.start() as client:
        assert not up.instance.reaches("stranger", up.web, timeout=0.5)

        def named() -> bool:
            return any(
                event.rule is not None
                and event.rule.policy == "NetworkPolicy/default/lid"
                and event.rule.origin
                for event in client.flows()
                if event.kind == "drop" and event.source == "default/stranger"
            )

        wait_for(named)


def test_numbers_are_never_used_twice(up: Running) -> None:
    """Generations and incarnations go on where they were, also when the agent was killed in between."""
    first = endpoint(up.client, "web").incarnation
    up.client.delete(objects(pod("web")))
    generation = up.client.status().generation
    up.instance.kill()
    with up.instance.start() as client:
        replace(client, WORLD)
        assert endpoint(client, "web").incarnation > first
        assert client.status().generation > generation


def test_dead_worker_is_replaced(up: Running) -> None:
    """The worker killed: the generation stays active, another is fed, and changes go on."""
    before = up.client.status()
    (worker,) = workers(up.instance)
    os.kill(worker, signal.SIGKILL)
    assert up.instance.reaches("friend", up.web)
    applied = up.client.apply(objects(pod("more")))
    after = up.client.status()
    assert applied.generation > before.generation
    assert after.worker_starts == before.worker_starts + 1
    assert up.instance.reaches("more", addresses(up.client, "stranger")[0])
    assert not up.instance.reaches("more", up.web, timeout=0.5)


def workers(instance: Instance) -> list[int]:
    """The agent's worker processes."""
    with open(f"/proc/{instance.pid()}/task/{instance.pid()}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    return [pid for pid in children if b"cloche.agent.worker" in open(f"/proc/{pid}/cmdline", "rb").read()]


def test_dead_responder_is_replaced(up: Running) -> None:
    """The responder killed: another answers soon for the same pods, without any change being asked for."""
    before = up.client.status()
    os.kill(before.responder_pid, signal.SIGKILL)
    wait_for(lambda: up.instance.reaches("friend", up.web, timeout=0.5))
    assert up.client.status().generation == before.generation


def assert_kept(up: Running, client: Client, what: str, line: Line) -> None:
    """The agent says what is the matter with the store and refuses changes; traffic is judged as before."""
    assert any(what in problem for problem in client.status().problems)
    with pytest.raises(AgentError, match=what.split()[0]):
        client.apply(objects(pod("more")))
    assert line.answers()
    assert up.instance.reaches("friend", up.web)
    assert not up.instance.reaches("stranger", up.web, timeout=0.5)


@pytest.mark.parametrize("file", ["ledger", "wanted", "rules"])
def test_damaged_store_is_said_and_the_datapath_kept(up: Running, file: str) -> None:
    """A file of the store altered on disk: the agent says which and changes nothing; traffic is judged."""
    line = up.instance.dial("friend", up.web)
    up.instance.kill()
    path = up.instance.config.state / f"{file}.msgpack"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)
    with up.instance.start() as client:
        assert_kept(up, client, f"{file}.msgpack", line)
        client.down()
    line.close()
    assert leftovers(up.instance) == []


@pytest.mark.parametrize("file", ["ledger", "wanted"])
def test_lost_store_is_said_and_the_datapath_kept(up: Running, file: str) -> None:
    """A file of the store that is gone, or older than what the kernel has, is not taken for a new instance's:
    the agent says which, nobody is detached, traffic is judged."""
    path = up.instance.config.state / f"{file}.msgpack"
    line = up.instance.dial("friend", up.web)
    up.instance.kill()
    path.unlink()
    with up.instance.start() as client:
        assert_kept(up, client, f"{file}.msgpack is gone", line)
    line.close()


@LOADERS
def test_strays_of_a_killed_agent_are_removed(up: Running) -> None:
    """A link and a namespace that nobody knows, as a kill in the middle leaves them, go at the next start."""
    name = up.instance.config.instance
    up.instance.kill()
    group = ownership.device_group(name)
    ownership.create_namespace(name, f"{name}.default.stray")
    namespaces.call_in(up.instance.host, lambda: devices.create_pair(f"{name}-3f", f"{name}-xx", group))
    with up.instance.start() as client:
        replace(client, WORLD)
        found = leftovers(up.instance)
        assert [line for line in found if "stray" in line or f"{name}-3f" in line] == []
        assert up.instance.reaches("friend", up.web)


@LOADERS
def test_lost_namespace_is_made_again(up: Running) -> None:
    """A pod whose namespace went while the agent was dead is there again at the start, address kept."""
    before = endpoint(up.client, "web")
    up.instance.kill()
    namespaces.call_in(up.instance.host, lambda: devices.delete(before.link))
    with up.instance.start() as client:
        after = endpoint(client, "web")
        assert after.addresses == before.addresses
        assert after.incarnation > before.incarnation
        assert up.instance.reaches("friend", up.web)
        assert not up.instance.reaches("stranger", up.web, timeout=0.5)

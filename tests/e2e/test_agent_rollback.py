"""A roll-back: earlier policies with today's pods, held until released, over restarts, and said aloud."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.agent.client import AgentError, Client
from cloche.agent.wanted import Waiting
from cloche.datapath import namespaces
from e2e.agent_lab import Instance, Machine, addresses, ingress_from, objects, pod, replace
from e2e.test_agent_restart import workers

PODS = pod("web") + pod("friend") + pod("stranger")
OPEN_TO_FRIEND = ingress_from("lid", "web", "friend")
OPEN_TO_NOBODY = ingress_from("lid", "web", "nobody")
LID = "NetworkPolicy/default/lid"


class Running(NamedTuple):
    """A sandbox, a connection to its agent, and the web pod's IPv4 address."""

    instance: Instance
    client: Client
    web: str

    def friend(self) -> bool:
        """True when the friend reaches the web pod."""
        return self.instance.reaches("friend", self.web, timeout=0.5)


@pytest.fixture
def up(host: Machine) -> Iterator[Running]:
    """Three pods; a policy that lets a friend in, then one that lets nobody in."""
    instance = host.instance()
    with instance.start() as client:
        replace(client, PODS + OPEN_TO_FRIEND)
        web = addresses(client, "web")[0]
        client.apply(objects(OPEN_TO_NOBODY))
        yield Running(instance, client, web)


def cloche(instance: Instance, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A command of the command line, on the instance's machine."""
    command = [sys.executable, "-m", "cloche", *words, "--instance", instance.config.instance]
    return namespaces.call_in(
        instance.host, lambda: subprocess.run(command, input=stdin, capture_output=True, text=True)
    )


def test_rollback_and_release(up: Running) -> None:
    """The policies before the last change come back as a new generation, and go again at the release."""
    before = up.client.status()
    assert not up.friend()
    rolled = up.client.rollback()
    status = up.client.status()
    assert rolled.generation > before.generation
    assert status.held < before.generation
    assert status.waiting == (Waiting(LID, "changed"),)
    assert up.friend()
    line = up.instance.dial("friend", up.web)
    assert not up.instance.reaches("stranger", up.web, timeout=0.5)
    released = up.client.release()
    assert released.digest == before.digest and released.generation > rolled.generation
    assert not line.answers(timeout=0.5)
    assert not up.friend()
    assert (up.client.status().held, up.client.status().problems) == (0, ())
    line.close()


def test_policies_wait_and_all_else_does_not(up: Running) -> None:
    """While it holds, a new pod is there at once; a policy is queued, named, and comes at the release."""
    up.client.rollback()
    applied = up.client.apply(objects(pod("late") + ingress_from("more", "late", "friend")))
    assert applied.queued == ("NetworkPolicy/default/more",)
    late = addresses(up.client, "late")[0]
    assert up.instance.reaches("stranger", late)
    assert set(up.client.status().waiting) == {
        Waiting(LID, "changed"),
        Waiting("NetworkPolicy/default/more", "new"),
    }
    assert up.friend()
    assert up.client.apply(objects(pod("later"))).queued == ()
    up.client.release()
    assert not up.instance.reaches("stranger", late, timeout=0.5)
    assert up.instance.reaches("friend", late)
    assert not up.friend()


def test_it_outlives_agent_and_worker(up: Running) -> None:
    """Agent and worker killed: the earlier policies stay in force, and what waits is still known."""
    up.client.rollback()
    up.client.apply(objects(ingress_from("more", "stranger", "friend")))
    before = up.client.status()
    (worker,) = workers(up.instance)
    os.kill(worker, signal.SIGKILL)
    up.client.apply(objects(pod("late")))
    assert up.friend()
    up.instance.kill()
    assert up.friend()
    with up.instance.start() as client:
        after = client.status()
        assert (after.held, after.waiting, after.writes_total) == (before.held, before.waiting, 0)
        assert up.friend()
        assert client.apply(objects(OPEN_TO_NOBODY)).queued == ()
        client.release()
        assert not up.friend()
        assert not up.instance.reaches("web", addresses(client, "stranger")[0], timeout=0.5)


def test_step_by_step_and_by_number(up: Running) -> None:
    """Again means one further back, a number means that generation, and one that never was is refused."""
    first = up.client.rollback()
    shown = {one.generation: one for one in up.client.generations()}
    assert shown[first.generation].held and all(one.kept for one in shown.values())
    before_any = up.client.rollback()
    assert before_any.policies == 0
    assert up.instance.reaches("stranger", up.web)
    again = up.client.rollback(first.generation)
    assert again.digest == first.digest
    for wrong in (again.generation + 1, 1 << 40):
        with pytest.raises(AgentError, match="no generation"):
            up.client.rollback(wrong)
    up.client.release()
    with pytest.raises(AgentError, match="nothing to release"):
        up.client.release()


def test_command_line(up: Running) -> None:
    """rollback, its listing, an apply that is only queued (status 1), and the release, as commands."""
    said = cloche(up.instance, "rollback", "--json")
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    assert answer["waiting"] == [{"policy": LID, "change": "changed"}] and answer["held"]
    assert up.friend()
    queued = cloche(up.instance, "apply", "-f", "-", stdin=ingress_from("more", "web", "web"))
    assert queued.returncode == 1
    assert "queued: NetworkPolicy/default/more" in queued.stderr
    shown = cloche(up.instance, "show", "generations")
    assert f"the policies of generation {answer['held']} hold" in shown.stdout
    assert "waiting: NetworkPolicy/default/more (new)" in shown.stdout
    assert cloche(up.instance, "rollback", "3", "--release").returncode == 2
    released = cloche(up.instance, "rollback", "--release")
    assert released.returncode == 0 and "hold until" not in released.stdout
    assert cloche(up.instance, "rollback", "--release").returncode == 2
    assert not up.friend()

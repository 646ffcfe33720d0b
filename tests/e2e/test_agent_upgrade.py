"""Another layout of the maps takes over, up and down, under traffic that is counted packet by packet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloche.config import Loader
from cloche.datapath import adoption, namespaces
from cloche.datapath.maps import open_map
from cloche.datapath.pins import pin_directory
from e2e.agent_lab import SMALL, Instance, Machine, addresses, ingress_from, leftovers, pod, policy, replace
from e2e.upgrade_traffic import Traffic
from other_layout import other_layout

QUOTA = 16384
ROOMY = msgspec.structs.replace(SMALL, quota=QUOTA, flow_slots=QUOTA * SMALL.endpoints, flows=65536)
"""No flow of these tests is evicted for another."""
FULL = "CLOCHE_FULL" in os.environ
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {name: web}
  ports: [{name: t, port: 8080, targetPort: 80, protocol: TCP}, {name: u, port: 53, protocol: UDP}]
"""
WORLD = (
    pod("web", ports="80/TCP 53/UDP")
    + pod("friend")
    + pod("stranger")
    + ingress_from("lid", "web", "friend")
    + policy("deaf", "{podSelector: {matchLabels: {name: friend}}, policyTypes: [Ingress]}")
    + SERVICE
)
STEPS = ("attach", "move flows", "open the gate", "rename flows")
ALL_STEPS = (
    *("load", "fill", "pin", "attach", "open the gate", "wait", "move flows", "swap", "detach"),
    *(f"rename {name}" for name in ("from_endpoint", "mark_host", "addresses", "config", "flows", "sets")),
    "sweep",
)
OPENING = """
import os, signal
from pathlib import Path
from cloche.datapath import adoption, upgrade
from cloche.tables.schema import Capacity
upgrade.passing = lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == {step!r} else None
adoption.open_instance({instance!r}, Capacity(), Path({path!r}))
"""


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object whose layout differs in nearly every map."""
    return other_layout(tmp_path_factory.mktemp("other"))


@pytest.fixture(params=[Loader.AUTO, Loader.CLSACT] if FULL else [Loader.AUTO])
def still(host: Machine, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """Pods whose answers pass only as replies, a service, and no agent: it was killed."""
    instance = host.instance(loader=request.param, capacity=ROOMY)
    with instance.start() as client:
        replace(client, WORLD)
        instance.web = addresses(client, "web")  # type: ignore[attr-defined]
        instance.service = next(s for s in client.services() if s.service == "default/web").addresses[0]  # type: ignore[attr-defined]
        instance.digest = client.status().digest  # type: ignore[attr-defined]
    instance.kill()
    yield instance
    instance.clean()
    assert leftovers(instance) == []


def take_over(instance: Instance, path: Path, step: str = "") -> int:
    """Let an object take the instance over, killed before this step; the process's exit status."""
    text = textwrap.dedent(OPENING).format(step=step, instance=instance.config.instance, path=str(path))
    command = [sys.executable, "-c", text]
    return namespaces.call_in(instance.host, lambda: subprocess.run(command, check=False).returncode)


def traffic(instance: Instance) -> Traffic:
    """Flows that are open, new ones, some by a service; and a stranger's, which nothing may answer."""
    web4, web6 = instance.web  # type: ignore[attr-defined]
    made = Traffic(instance)
    made.datagrams("datagrams", "friend", web4, 53)
    made.datagrams("datagrams, IPv6", "friend", web6, 53)
    made.datagrams("datagrams by the service", "friend", instance.service, 53)  # type: ignore[attr-defined]
    made.stream("stream", "friend", web6)
    made.stream("stream by the service", "friend", instance.service, 8080)  # type: ignore[attr-defined]
    made.connections("connections", "friend", web4, 80, 10000)
    made.connections("connections by the service", "friend", instance.service, 8080, 20000)  # type: ignore[attr-defined]
    made.flows("flows", "friend", web4, 53)
    made.datagrams("forbidden datagrams", "stranger", web4, 53, 0.002)
    made.flows("forbidden flows", "stranger", web6, 53, 0.002)
    return made


def judge(made: Traffic) -> None:
    """Nothing allowed was lost, nothing forbidden was answered, and there was enough of both."""
    for name, count in made.counts.items():
        if name.startswith("forbidden"):
            assert (name, count.answered) == (name, 0)
            assert len(count.lost) > 50
        else:
            assert count.lost == []
            assert count.answered > 20, name


def value_size(instance: Instance) -> int:
    """Bytes of a flow in the table that is pinned."""
    return open_map(str(pin_directory(instance.config.instance) / "maps" / "flows")).info.value_size


def test_up_and_down_under_traffic(still: Instance, other: Path) -> None:
    """To the other layout, back by the agent's own start: 0 lost, 0 cut, 0 forbidden passed, same tables."""
    before = value_size(still)
    made = traffic(still)
    with made.flowing():
        assert take_over(still, other) == 0
        assert value_size(still) != before
        with still.start() as client:
            status = client.status()
            assert value_size(still) == before
            assert (status.digest, status.writes_total, status.adopted) == (still.digest, 0, True)  # type: ignore[attr-defined]
    judge(made)


def test_killed_at_each_step_it_is_done_again(still: Instance, other: Path) -> None:
    """Killed before any step, up and down, the next start finishes or undoes it, and nothing is lost."""
    made = traffic(still)
    with made.flowing():
        for number, step in enumerate(ALL_STEPS if FULL else STEPS):
            path = (other, adoption.OBJECT)[number % 2]
            assert take_over(still, path, step) == -signal.SIGKILL
            assert take_over(still, path) == 0
            assert not (pin_directory(still.config.instance) / "next").exists()
    judge(made)


@pytest.mark.parametrize("still", [Loader.CLSACT], indirect=True)
def test_the_other_object_finishes_what_was_begun(still: Instance, other: Path) -> None:
    """Killed behind the gate on the way up, the older object finishes that and goes down again."""
    before = value_size(still)
    made = traffic(still)
    with made.flowing():
        assert take_over(still, other, "swap") == -signal.SIGKILL
        with still.start() as client:
            assert client.status().digest == still.digest  # type: ignore[attr-defined]
            assert value_size(still) == before
    judge(made)

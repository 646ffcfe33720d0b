"""A full disk and a wall clock that jumps: said where it matters, and never a packet's verdict."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.agent.client import AgentError
from cloche.agent.messages import Outcome, ProbePair
from e2e.agent_lab import (
    Instance,
    Machine,
    addresses,
    ingress_from,
    objects,
    pod,
    replace,
    wait_for,
)

LID = ingress_from("lid", "web", "friend")
WORLD = pod("web") + pod("friend") + pod("stranger") + LID
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: default}
spec: {selector: {name: nobody}, ports: [{port: 80}]}
"""
CLOCK = """
import random, time
true_time, true_clock = time.time, time.clock_gettime_ns
def jump(): return random.choice((-1, 1)) * random.uniform(0, 10 * 365 * 86400)
time.time = lambda: true_time() + jump()
time.time_ns = lambda: int(time.time() * 1e9)
def clock(which):
    return true_clock(which) + (int(jump() * 1e9) if which == time.CLOCK_REALTIME else 0)
time.clock_gettime_ns = clock
"""


@contextmanager
def small_disk(instance: Instance) -> Iterator[Path]:
    """The instance's state on a disk of its own, of 512 KB; unmounted at the end."""
    folder = instance.config.state
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        if instance.pid():
            instance.kill()
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not one page free."""
    with open(folder / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))


def test_full_disk_is_said_and_the_datapath_kept(host: Machine) -> None:
    """No space left: what needs the disk first is refused whole and said; what does not is active and said to
    be unsaved; traffic is judged; a restart adopts; with space again everything is made and saved."""
    instance = host.instance()
    with small_disk(instance) as folder:
        with instance.start() as client:
            replace(client, WORLD + ingress_from("other", "friend", "web"))
            web = addresses(client, "web")[0]
            line = instance.dial("friend", web)
            before = client.status()
            fill(folder)
            with pytest.raises(AgentError, match="No space left"):
                client.apply(objects(pod("more") + ingress_from("new", "more", "web")))
            after = client.status()
            assert (after.generation, after.digest) == (before.generation, before.digest)
            assert any("No space left" in problem for problem in after.problems)
            assert not instance.netns("more").exists()
            client.delete(objects(ingress_from("other", "friend", "web")))
            assert any("not on disk" in problem for problem in client.status().problems)
            assert instance.reaches("stranger", addresses(client, "friend")[0])
            assert line.answers()
        instance.kill()
        with instance.start() as client:
            assert line.answers()
            assert instance.reaches("friend", web)
            assert not instance.reaches("stranger", web, timeout=0.5)
            (folder / "filler").unlink()
            wait_for(lambda: client.status().problems == ())
            client.apply(objects(pod("more")))
            client.delete(objects(ingress_from("other", "friend", "web")))
            generation = client.status().generation
        instance.kill()
        with instance.start() as client:
            assert client.status().generation == generation
            assert client.status().writes_total == 0
            assert client.attest().exact
            assert line.answers()
    line.close()


def test_jumping_wall_clock_decides_nothing(
    host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent whose wall clock jumps by years at each reading: changes, probes, flows, roll-back and restart
    do what they always do."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    instance = host.instance(look_seconds=0.5)
    for _ in range(2):
        with instance.start() as client:
            replace(client, WORLD + SERVICE)
            web = addresses(client, "web")[0]
            assert instance.reaches("friend", web)
            assert not instance.reaches("stranger", web, timeout=0.5)
            nobody = next(shown for shown in client.services() if shown.service == "default/nobody")
            asked = ProbePair("default/friend", nobody.addresses[0], 6, 80)
            assert client.probe([asked])[0].outcome is Outcome.DENY
            times = {event.time for event in client.flows()}
            assert max(times) - min(times) > 86400
            client.delete(objects(LID))
            assert instance.reaches("stranger", web)
            client.rollback()
            assert not instance.reaches("stranger", web, timeout=0.5)
            client.release()
            assert client.attest().exact
            assert (client.status().problems, client.status().repairs) == ((), 0)
        instance.kill()

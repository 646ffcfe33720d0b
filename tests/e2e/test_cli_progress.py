"""How far the agent is can be asked while it brings many pods up and takes them down."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloche.agent.client import Client
from cloche.agent.messages import Mode
from cloche.cli import bars
from cloche.orchestrators.sandbox import read
from e2e.cli_lab import leftovers, sandbox

PODS = 40
POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{0}}}\nspec: {{containers: [{{name: c, image: c}}]}}"
WORLD = "\n---\n".join(POD.format(number) for number in range(PODS))

Looks = list[tuple[str, int, int]]


def looking(client: Client, action: Callable[[], object]) -> Looks:
    """What the agent says of its progress while something is done."""
    looks: Looks = []
    doing = threading.Thread(target=action)
    doing.start()
    with Client(client.config) as own:
        while doing.is_alive():
            bars.look(own, lambda *look: looks.append(look))
    doing.join()
    return looks


def test_progress_is_told_pod_by_pod() -> None:
    """While pods are attached, and while all goes, the steps done grow, and never beyond their number."""
    with sandbox(4) as made:
        assert made.up("-", stdin=POD.format("first")).status == 0
        with made.client() as client:
            manifests = read(["-"], stdin=WORLD)
            rising = looking(client, lambda: client.apply(manifests, Mode.MERGE))
            falling = looking(client, client.down)
        for looks, what, total in (
            (rising, "attaching endpoints", PODS),
            (falling, "removing devices and namespaces", PODS),
        ):
            steps = [done for busy, done, of in looks if busy == what and of >= total]
            assert len(set(steps)) > 5, looks
            assert steps == sorted(steps)
            assert all(done <= of for busy, done, of in looks if of)
        assert leftovers(made.name) == []

"""Which world a question is about: the manifests named by ``-f``, or what an instance is running."""

from __future__ import annotations

from collections.abc import Sequence

from cloche.agent.client import Client
from cloche.agent.overlay import overlay
from cloche.config import Config
from cloche.model.state import Put, State
from cloche.orchestrators.sandbox import World, build, read


def written(paths: Sequence[str], config: Config) -> tuple[State, frozenset[str]]:
    """The world of manifests as ``up`` would make it, and the pods whose addresses were given out here.

    Raises InputError with every finding when ``up`` would refuse the manifests.
    """
    built = build(read(paths), config.pod_ranges, config.service_ranges)
    world = overlay(config, built, World())
    return State(Put(value) for value in world.objects), world.assumed


def running(client: Client) -> State:
    """The world that an instance holds now."""
    return State(Put(value) for value in client.objects())

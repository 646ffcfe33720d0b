"""A sandbox with its real agent, on a host of its own: a network namespace stands for the machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.paths import namespaces
from cloche.agent import launch
from cloche.agent.client import Client
from cloche.agent.processes import agent_pid
from cloche.agent.removal import clean
from cloche.config import Config
from cloche.datapath.namespaces import call_in, netns_name, netns_path

T = TypeVar("T")
_numbers = itertools.count()


class Sandbox:
    """One instance, with everything as a user has it who names nothing but its name."""

    def __init__(self, host: str) -> None:
        self.host = Path("/run/netns", host)
        self.config = Config(instance=f"b{os.getpid() & 0xFFFFF:x}{next(_numbers)}")

    def start(self) -> Client:
        """Start the agent, or find the one that runs. Raises ClocheError when it does not come up."""
        return call_in(self.host, lambda: launch.start(self.config))

    def pid(self) -> int:
        """The agent's process, 0: none runs."""
        return agent_pid(self.config)

    def netns(self, pod: str) -> Path:
        """The network namespace of a pod (``namespace/name``)."""
        return netns_path(netns_name(self.config.instance, pod))

    def inside(self, function: Callable[[], T]) -> T:
        """A function's result, called on the host."""
        return call_in(self.host, function)


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A host without any instance yet; whatever is made on it goes at the end. Needs root."""
    with namespaces("host") as (host,):
        made = Sandbox(host)
        try:
            yield made
        finally:
            made.inside(lambda: clean(made.config))

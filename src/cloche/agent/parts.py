"""What every part of the agent works with, and how the instance's things are called."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from cloche.agent.disk import Disk
from cloche.agent.kernel import KernelThread
from cloche.agent.responding import Responding
from cloche.agent.workshop import Workshop
from cloche.config import Config
from cloche.datapath.host import endpoint_device
from cloche.datapath.instance import Datapath
from cloche.tables.schema import Write


class Parts(NamedTuple):
    """One instance's parts. ``datapath`` is used on the ``kernel`` thread alone."""

    config: Config
    disk: Disk
    kernel: KernelThread
    datapath: Datapath
    workshop: Workshop
    responding: Responding

    def write(self, writes: Iterable[Write]) -> None:
        """Apply ordered writes, to the end; on the kernel thread. Raises OSError, IndexError."""
        deque(self.datapath.write(writes), maxlen=0)

    def link(self, number: int) -> str:
        """The host side of the endpoint with this number."""
        return endpoint_device(self.config.instance, number)

    def namespace(self, endpoint: str) -> str:
        """The path of the endpoint's network namespace."""
        return str(self.datapath.netns_path(endpoint))

"""The only part that touches the kernel: maps, programs, links and devices of one instance.

``Datapath`` is what the agent holds; ``testrun.Engine`` is the same program on crafted frames.
"""

from cloche.datapath.host import Change, check_overlap, host_addresses, uplinks
from cloche.datapath.instance import Datapath
from cloche.datapath.machine import features, require
from cloche.datapath.nft import forward_drops
from cloche.datapath.reconcile import Step
from cloche.datapath.removal import instances, remove_instance
from cloche.datapath.settings import Settings

__all__ = [
    "Change",
    "Datapath",
    "Settings",
    "Step",
    "check_overlap",
    "features",
    "forward_drops",
    "host_addresses",
    "instances",
    "remove_instance",
    "require",
    "uplinks",
]

"""Kubernetes manifests as a source: files and dumps in, model events out, with the place of every mistake.

``read`` makes manifests of paths, ``build`` a world of manifests, ``difference`` events of two worlds;
``check`` only says what there is to say; ``watch`` does it all again whenever a file changes.
"""

from cloche.orchestrators.sandbox.addresses import DEFAULT_POD_CIDRS, DEFAULT_SERVICE_CIDRS, highest_free
from cloche.orchestrators.sandbox.changes import SOURCE, difference, watch
from cloche.orchestrators.sandbox.deleting import delete
from cloche.orchestrators.sandbox.manifests import Manifest, merge, read, read_noting
from cloche.orchestrators.sandbox.readings import Readings
from cloche.orchestrators.sandbox.rest import Ranges
from cloche.orchestrators.sandbox.world import World, build, check, examine

__all__ = [
    "DEFAULT_POD_CIDRS",
    "DEFAULT_SERVICE_CIDRS",
    "SOURCE",
    "Manifest",
    "Ranges",
    "Readings",
    "World",
    "build",
    "check",
    "delete",
    "difference",
    "examine",
    "highest_free",
    "merge",
    "read",
    "read_noting",
    "watch",
]

"""Kernel state altered from outside under traffic: found and mended, and only what it touches suffers."""

from __future__ import annotations

import random

from e2e.agent_lab import Machine
from e2e.altered_devices import HOOKS, remove_device
from e2e.altered_tables import close_endpoint, remove_prefix, unprotect
from torture.altered import EVERYTHING, Alteration, Alterations
from torture.outcome import complaints
from torture.running import ROOMY

ALWAYS: tuple[Alteration, ...] = (close_endpoint, unprotect, remove_prefix, HOOKS[0], remove_device)
MORE = 3
LOOK_SECONDS = 0.5


def test_altered_from_outside(host: Machine, random_seed: int) -> None:
    """Whatever is altered is said and mended; traffic elsewhere loses nothing meanwhile, all of it nothing
    afterwards, and nothing passes but by what an alteration itself opens."""
    others = [alter for alter in EVERYTHING if alter not in ALWAYS]
    chosen = [*ALWAYS, *random.Random(random_seed).sample(others, MORE)]
    instance = host.instance(capacity=ROOMY, look_seconds=LOOK_SECONDS)
    rows = Alterations(host, instance).run(chosen, lambda: None)
    assert complaints(rows) == []
    assert len(rows) == len(chosen)
    for row in rows:
        assert min(row.sent, row.tried, row.forbidden) > 100, row
    assert sum(row.closed for row in rows) > 100
    assert sum(row.opened for row in rows) > 0

"""Takes one instance away: responder, devices, namespaces, pins, files; with or without its agent."""

from __future__ import annotations

import contextlib

from cloche.agent.processes import agent_pid, end
from cloche.agent.responding import stop_responder
from cloche.config import Config
from cloche.datapath.removal import Tick, remove_instance, unheard


def remove(config: Config, tick: Tick = unheard) -> list[str]:
    """Remove everything but the agent's own process; says what there was."""
    removed = []
    if stop_responder(config):
        removed.append("responder")
    removed += remove_instance(config.instance, (config.run, config.state), tick)
    for path in (config.log, *config.log.parent.glob(f"{config.instance}.*.log")):
        if path.exists():
            path.unlink()
            removed.append(f"file {path}")
    for folder in (config.run.parent, config.state.parent, config.log.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return removed


def clean(config: Config, tick: Tick = unheard) -> list[str]:
    """End the instance's agent if one runs, whatever its state, and remove everything."""
    removed = []
    pid = agent_pid(config)
    if pid:
        end(pid)
        removed.append(f"agent {pid}")
    return removed + remove(config, tick)

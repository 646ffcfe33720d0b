"""Starting an agent from the command line: detached, waited for, and its failure told with its log's end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import msgspec

from cloche.agent.blame import at_endpoints
from cloche.agent.clashes import host_clashes, kept_addresses
from cloche.agent.client import AgentError, Client, connect
from cloche.agent.disk import Disk
from cloche.config import Config, Loader, check
from cloche.errors import Finding, InputError, MachineError, NotRunningError
from cloche.model.address import host_block
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import World

READY_SECONDS = 180.0
POLL_SECONDS = 0.03
TAIL_LINES = 20

__all__ = ["AgentError", "Client", "connect", "start"]


def require_root() -> None:
    """Raise MachineError when this process may not touch the kernel."""
    if os.geteuid() != 0:
        raise MachineError("not root: the datapath needs CAP_BPF and CAP_NET_ADMIN; run it as root")


def check_machine(config: Config, world: World) -> None:
    """Raise MachineError or InputError for what keeps this world from coming up here, before anything is
    made: what the machine lacks, strangers' names and routes, addresses that are its own."""
    from cloche.datapath import host_addresses, machine, namespaces, ownership  # slow to import
    from cloche.datapath.host import check_overlap

    machine.require()
    name, ranges = config.instance, (*config.pod_ranges, *config.service_ranges)
    pods = [found for found in world.objects if isinstance(found, Endpoint) and not found.host_network]
    ownership.check_devices(name)
    ownership.check_namespaces(name, [namespaces.netns_name(name, pod.key) for pod in pods])
    clashes = list(host_clashes(world.objects, host_addresses()))
    if clashes:
        raise InputError(clashes)
    kept = kept_addresses(world.objects, config.pod_ranges)
    try:
        check_overlap(name, [*ranges, *map(host_block, kept)])
    except InputError as error:
        raise InputError(at_endpoints(error.findings, pods)) from None


def start(config: Config) -> Client:
    """A client of the instance's agent, started if it does not run; returns once it answers.

    Raises InputError when the instance exists with other ranges, devices, capacities or loader, MachineError
    when this machine or user cannot run one, AgentError with the log's last lines when it did not come up.
    """
    check(config)
    require_root()
    with contextlib.suppress(NotRunningError):
        return _same(connect(config.instance), config)
    disk = Disk(config)
    kept = disk.load_config()
    if kept is not None and not _fits(kept, config):
        raise _different(config)
    if kept is None:
        disk.save_config(config)
    config.log.parent.mkdir(parents=True, exist_ok=True)
    with config.log.open("ab") as log:
        begin = log.tell()
        agent = subprocess.Popen(
            [sys.executable, "-m", "cloche.agent", "--instance", config.instance],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    return _wait(config, agent, begin)


def _same(client: Client, config: Config) -> Client:
    kept = Disk(config).load_config()
    if kept is not None and not _fits(kept, config):
        client.close()
        raise _different(config)
    return client


def _fits(kept: Config, config: Config) -> bool:
    """True when the instance is as it is asked for; who leaves the loader open takes the one it has."""
    loader = kept.loader if config.loader is Loader.AUTO else config.loader
    return kept == msgspec.structs.replace(config, loader=loader)


def _different(config: Config) -> InputError:
    message = f"instance {config.instance} exists with other ranges, devices or capacities"
    hint = f"use those, take it down first (cloche down --instance {config.instance}), or name another"
    return InputError([Finding("", 0, "instance", message, hint)])


def _wait(config: Config, agent: subprocess.Popen[bytes], begin: int) -> Client:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(NotRunningError):
            return connect(config.instance)
        if agent.poll() is not None:
            raise AgentError(f"the agent ended with status {agent.returncode}:\n{tail(config, begin)}")
        time.sleep(POLL_SECONDS)
    agent.terminate()
    raise AgentError(f"the agent did not answer in {READY_SECONDS:.0f} s:\n{tail(config, begin)}")


def tail(config: Config, begin: int = 0) -> str:
    """The last lines of the agent's log, from byte ``begin`` on."""
    with config.log.open("rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:]) or f"{config.log} says nothing"

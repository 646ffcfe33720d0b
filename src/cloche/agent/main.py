"""The agent's process: everything put together, started in order, ended in order."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys

import structlog

from cloche.agent.change import Changer
from cloche.agent.core import Core
from cloche.agent.disk import DamagedError, Disk
from cloche.agent.kernel import KernelThread
from cloche.agent.parts import Parts
from cloche.agent.processes import hold_pid_file
from cloche.agent.pulse import Pulse
from cloche.agent.responding import Responding
from cloche.agent.server import Server, listen
from cloche.agent.watch import Watcher
from cloche.agent.workshop import Workshop
from cloche.config import DEFAULT_INSTANCE, Config, check
from cloche.datapath import faults, machine
from cloche.datapath.faults import Point
from cloche.datapath.host import check_overlap
from cloche.datapath.instance import Datapath
from cloche.datapath.ownership import check_devices
from cloche.datapath.settings import Settings
from cloche.errors import ClocheError

SWITCH_SECONDS = 0.001
"""How long another thread may hold the interpreter while the loop wants it."""

log = structlog.get_logger()


def open_datapath(config: Config) -> Datapath:
    """Adopt what is pinned or make it; on the kernel thread. Raises MachineError, InputError, OSError."""
    machine.require()
    ranges = (*config.pod_ranges, *config.service_ranges)
    check_devices(config.instance)
    check_overlap(config.instance, ranges)
    datapath = Datapath.open(config.instance, config.capacity, how=config.loader)
    faults.passing(Point.ADOPTED)
    for change in datapath.prepare_host(ranges):
        log.warning("the machine was set", sysctl=change.sysctl, old=change.old, new=change.new)
    faults.passing(Point.PREPARED)
    datapath.attach_uplinks(config.devices or None)
    datapath.configure(Settings())
    faults.passing(Point.CONFIGURED)
    return datapath


async def assemble(config: Config) -> Parts:
    """The parts of the agent."""
    kernel = KernelThread()
    datapath = await kernel.run(open_datapath, config)
    log.info("datapath", adopted=datapath.adopted, generation=datapath.generation)
    responding = Responding(config, lambda endpoint: str(datapath.netns_path(endpoint)))
    return Parts(config, Disk(config), kernel, datapath, Workshop(), responding)


async def run(config: Config) -> None:
    """Run until a signal or ``down``; the datapath goes on after a signal."""
    parts = await assemble(config)
    changer = Changer(parts)
    pulse = Pulse()
    watcher = Watcher(parts, changer.active.directory)
    watcher.attached = changer.attachments.incarnations
    changer.replay.tell = watcher.history.add
    core = Core(parts, changer, watcher, pulse)
    server = Server(core)
    await server.rehearse()
    pulse.install()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, core.ending.set)
    try:
        async with asyncio.TaskGroup() as group:
            watching = (core.watcher.follow(), core.watcher.sweep(), core.lookout.follow())
            tasks = [group.create_task(part) for part in (core.act(), *watching)]
            await adopt(core, changer)
            core.lookout.looked.set()
            replaying = changer.replay.follow(changer.turn, core.go_back)
            forever = (core.mend(), core.remake(), core.know_host(), replaying)
            tasks += [group.create_task(part) for part in forever]
            core.guard.start(group)
            await serve(core, server, listen(config))
            core.guard.stop()
            for task in tasks:
                task.cancel()
    finally:
        await parts.workshop.stop()
        await parts.responding.close()
        parts.kernel.close()
        pulse.remove()


async def adopt(core: Core, changer: Changer) -> None:
    """Bring the kernel to what the disk wants. A damaged store, or one that cannot be honoured, is said
    and the datapath is kept as it is."""
    try:
        await changer.load()
    except (ClocheError, OSError) as error:
        core.problems["store"] = str(error)
        log.error("the store cannot be taken up; the datapath is kept as it is", error=str(error))
        return
    await core.try_again("start")


async def serve(core: Core, server: Server, listener: socket.socket) -> None:
    """Answer on the socket until the agent is to end."""
    serving = asyncio.create_task(server.run_on(listener))
    ending = asyncio.create_task(core.ending.wait())
    gc.freeze()  # what is there by now stays: the collector need not walk it
    log.info("ready", pid=os.getpid())
    await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
    server.stop()
    await serving
    ending.cancel()


def main(config: Config) -> int:
    """Run the instance's agent in this process; its exit status. Logs to stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        check(config)
        faults.arm()
        hold_pid_file(config)
        asyncio.run(run(config))
    except (ClocheError, OSError) as error:
        sys.stderr.write(f"cloche agent: {error}\n")
        return error.status if isinstance(error, ClocheError) else 2
    return 0


def command() -> None:
    """``python -m cloche.agent --instance NAME``: run with the configuration that the instance has."""
    parser = argparse.ArgumentParser(prog="cloche agent")
    parser.add_argument("--instance", default=DEFAULT_INSTANCE)
    name = parser.parse_args().instance
    config = Config(instance=name)
    try:
        config = Disk(config).load_config() or config
    except DamagedError as error:
        sys.exit(f"cloche agent: {error}")
    sys.exit(main(config))

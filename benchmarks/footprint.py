"""``python -m benchmarks.footprint [--quick]``: memory of agent and maps, and how long a start takes.

A real agent with its defaults, 100 pods, 10 000 rules. Starts: the agent is killed, and the next one adopts
what is pinned; from its execution to its first answer. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import command, town
from benchmarks.figures import Figure, figure
from benchmarks.machine import Machine, describe
from benchmarks.sandbox import Sandbox, sandbox
from cloche.agent.client import Client, connect
from cloche.agent.messages import Mode
from cloche.agent.processes import has_ended
from cloche.datapath.bpf import Command, open_id
from cloche.datapath.maps import map_info
from cloche.datapath.pins import pin_directory, pinned_maps
from cloche.errors import NotRunningError

STARTS, QUICK_STARTS = 7, 2
POLL_SECONDS, LIMIT_SECONDS = 0.001, 120.0
SETTLE_SECONDS = 5.0
"""After the last change, before memory is looked at."""


class Process(msgspec.Struct, frozen=True):
    """One process: bytes of its own and of shared memory by its share, in RAM now, and at most so far."""

    name: str
    pss: int
    rss: int
    peak: int


class MapMemory(msgspec.Struct, frozen=True):
    """One map: bytes that it holds, as the kernel says (``memlock``). ``replay``: of the second instance."""

    name: str
    bytes: int
    replay: bool


class Report(msgspec.Struct, frozen=True):
    """A whole run. ``starts``: seconds from execution to the first answer."""

    version: int
    time: str
    machine: Machine
    pods: int
    rules: int
    processes: tuple[Process, ...]
    maps: tuple[MapMemory, ...]
    starts: Figure
    first_start: float


def field(text: str, name: str) -> int:
    """The number after ``name:`` in a file of /proc. Raises StopIteration when it is not there."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:"))


def process(name: str, pid: int) -> Process:
    """The memory of a process now. Raises OSError when it is gone."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    return Process(
        name, *(1024 * n for n in (field(rollup, "Pss"), field(rollup, "Rss"), field(status, "VmHWM")))
    )


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def maps(instance: Sandbox) -> list[MapMemory]:
    """The maps that the agent has open, each once: those that are pinned are the instance's, the others the
    second instance's, which replay uses."""
    pinned = pinned_maps(pin_directory(instance.config.instance))
    names = {handle.info.id: name for name, handle in pinned.items()}
    for handle in pinned.values():
        handle.close()
    found: dict[int, MapMemory] = {}
    for entry in Path(f"/proc/{instance.pid()}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError, StopIteration):
            text = entry.read_text()
            number, held = field(text, "map_id"), field(text, "memlock")
            if number not in found:
                found[number] = MapMemory(names.get(number) or _name(number), held, number not in names)
    return sorted(found.values(), key=lambda one: -one.bytes)


def _name(number: int) -> str:
    fd = open_id(Command.MAP_BY_ID, number)
    try:
        return map_info(fd).name
    finally:
        os.close(fd)


def kill(pid: int) -> None:
    """kill -9, and wait for the end."""
    os.kill(pid, signal.SIGKILL)
    while not has_ended(pid):
        time.sleep(POLL_SECONDS)


def start_seconds(instance: Sandbox) -> float:
    """From an agent's execution to its first answer, as it is started by the command line otherwise.

    Raises RuntimeError when it does not answer in time.
    """
    name = instance.config.instance

    def started() -> float:
        command = [sys.executable, "-m", "cloche.agent", "--instance", name]
        begin = time.monotonic()
        with instance.config.log.open("ab") as log:
            agent = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        while time.monotonic() < begin + LIMIT_SECONDS and agent.poll() is None:
            with contextlib.suppress(NotRunningError):
                connect(name).close()
                return time.monotonic() - begin
            time.sleep(POLL_SECONDS)
        raise RuntimeError("the agent did not answer")

    return instance.inside(started)


def measure(starts: int, console: Console) -> Report:
    """Bring it up, look at its memory, kill it and start it again. Raises ClocheError, RuntimeError."""
    machine = describe()
    with Progress(console=console, transient=True) as progress, sandbox() as instance:
        task = progress.add_task("bringing up the pods", total=1 + starts)
        begin = time.monotonic()
        client = instance.start()
        first = time.monotonic() - begin
        client.apply(town.manifests(), Mode.REPLACE)
        time.sleep(SETTLE_SECONDS)
        processes, held = _processes(instance, client), maps(instance)
        client.close()
        progress.advance(task)
        taken = []
        for _ in range(starts):
            progress.update(task, description="starting again")
            kill(instance.pid())
            taken.append(start_seconds(instance))
            progress.advance(task)
    return Report(
        version=1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        pods=town.PODS,
        rules=town.PODS * town.POLICIES_EACH * town.RULES_EACH,
        processes=tuple(processes),
        maps=tuple(held),
        starts=figure(taken),
        first_start=first,
    )


def _processes(instance: Sandbox, client: Client) -> list[Process]:
    status = client.status()
    (worker,) = (pid for pid in children(status.pid) if "cloche.agent.worker" in _command(pid))
    pids = {"agent": status.pid, "worker": worker, "responder": status.responder_pid}
    return [process(name, pid) for name, pid in pids.items()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def show(made: Report, console: Console) -> None:
    """Print the run."""
    table = Table(title=f"memory at {made.pods} pods and {made.rules:,} rules, MB")
    for title in ("what", "own share", "in RAM", "at most"):
        table.add_column(title, justify="right")
    for one in made.processes:
        table.add_row(one.name, *(f"{size / 1e6:.0f}" for size in (one.pss, one.rss, one.peak)))
    for replay, name in ((False, "maps"), (True, "maps of replay")):
        total = sum(one.bytes for one in made.maps if one.replay is replay)
        table.add_row(name, f"{total / 1e6:.0f}", "", "")
    console.print(table)
    largest = ", ".join(f"{one.name} {one.bytes / 1e6:.1f}" for one in made.maps[:8])
    console.print(f"largest maps: {largest}", highlight=False)
    found = made.starts
    console.print(
        f"start with {made.pods} pinned endpoints: {found.median:.2f} s ({found.low:.2f}..{found.high:.2f}); "
        f"of a new instance: {made.first_start:.2f} s",
        highlight=False,
    )


def main() -> int:
    """Measure, print, keep; 2 when this machine cannot."""
    options = command.parser("footprint", __doc__, "few starts").parse_args()
    starts = QUICK_STARTS if options.quick else STARTS
    return command.run("footprint", options, lambda console: measure(starts, console), show)


if __name__ == "__main__":
    sys.exit(main())

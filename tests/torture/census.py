"""Whatever an instance has in kernel and on disk, counted: after a fault as much as without one."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cloche.agent.processes import has_ended
from cloche.datapath import bpf, devices, hooks, namespaces, ownership
from cloche.datapath.bpf import Command
from cloche.datapath.pins import pin_directory
from e2e.agent_lab import Instance

SETTLED_SECONDS = 0.15
FDS = ("map_id", "prog_id", "link_id")
_MAP_IDS_AT = 52
"""``nr_map_ids`` and ``map_ids`` in ``struct bpf_prog_info`` (linux/bpf.h)."""


def census(instance: Instance) -> Counter[str]:
    """Of each kind of thing how many there are: pins, programs, links, devices, namespaces, files, what
    processes hold."""
    return census_of_kernel(instance) + Counter((*files(instance), *processes(instance)))


def settled(instance: Instance) -> Counter[str]:
    """The census once it is the same twice: programs that are run for a moment are not in it."""
    last = census(instance)
    while True:
        time.sleep(SETTLED_SECONDS)
        now = census(instance)
        if now == last:
            return now
        last = now


def left_over(instance: Instance, undisturbed: Counter[str], seconds: float = 3.0) -> dict[str, int]:
    """What there is more or less of than without a fault, and still is after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := leaked(census(instance), undisturbed)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def census_of_kernel(instance: Instance) -> Counter[str]:
    """The same without files and processes: also while no agent runs."""
    network = namespaces.call_in(instance.host, lambda: list(in_network(instance)))
    return Counter((*pins(instance), *programs(instance), *network))


def kind(name: str) -> str:
    """A name without what differs between two times: numbers of endpoints, devices, generations."""
    name = re.sub(r"^endpoint-[0-9a-f]+", "endpoint-N", name)
    return re.sub(r"uplink-\d+|\d{2,}|-\d+|(?<=:)\d+(?=:)", "N", name)


def pins(instance: Instance) -> Iterator[str]:
    """Everything below the pin directory."""
    top = pin_directory(instance.config.instance)
    for folder, folders, names in os.walk(top):
        where = Path(folder).relative_to(top)
        for name in (*folders, *names):
            yield f"pin {where}/{'namespace' if str(where) == 'namespaces' else kind(name)}"


def programs(instance: Instance) -> Iterator[str]:
    """Every program of the kernel that uses a map of the instance, pinned or not, and each such map."""
    own = {map_id(pin) for pin in (pin_directory(instance.config.instance) / "maps").iterdir()}
    for number in list(bpf.ids(Command.PROG_NEXT_ID)):
        with suppress(FileNotFoundError):
            fd = bpf.open_id(Command.PROG_BY_ID, number)
            try:
                used = maps_of(fd)
                if used & own:
                    yield f"program {bpf.program_info(fd).name}"
            finally:
                os.close(fd)


def map_id(pin: Path) -> int:
    """The kernel's number of a pinned map."""
    fd = bpf.get_pinned(str(pin))
    try:
        return int(struct.unpack_from("<I", bpf.info_bytes(fd), 4)[0])
    finally:
        os.close(fd)


def maps_of(program: int) -> set[int]:
    """The numbers of the maps that a program uses."""
    numbers = ctypes.create_string_buffer(4 * 64)
    info = ctypes.create_string_buffer(256)
    struct.pack_into("<I", info, _MAP_IDS_AT, 64)
    struct.pack_into("<Q", info, _MAP_IDS_AT + 4, bpf.address_of(numbers))
    bpf.call(Command.OBJ_INFO, bpf.Attr("<IIQ", program, 256, bpf.address_of(info)))
    (count,) = struct.unpack_from("<I", info, _MAP_IDS_AT)
    return set(struct.unpack_from(f"<{min(count, 64)}I", numbers))


def in_network(instance: Instance) -> Iterator[str]:
    """Devices, hooks and routes of the host, namespaces of pods."""
    name = instance.config.instance
    for device in ownership.own_devices(name):
        yield "device of an endpoint" if re.search(r"-[0-9a-f]+$", device.name) else f"device {device.name}"
    for there in hooks.placed(name):
        yield f"hook {kind(there.name)} {'placed' if there.ifindex else 'without a device'}"
    for route in devices.routes():
        if route.device.startswith(name):
            yield f"route by {kind(route.device)}"
    for _space in namespaces.names_of(name):
        yield "namespace"
    for folder in ownership.ETC.glob(f"{name}.*"):
        yield f"etc {len(list(folder.iterdir()))} file"


def files(instance: Instance) -> Iterator[str]:
    """Files of the store and the run folder."""
    for folder in (instance.config.state, instance.config.run):
        for path in folder.iterdir():
            if not path.name.startswith("policies-"):
                yield f"file {path.name}"


def processes(instance: Instance) -> Iterator[str]:
    """The agent with its worker and the responder, and the maps, programs and links that the agent holds."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if instance.config.instance.encode() in words and not has_ended(int(entry.name)):
                yield f"process {words[2].decode()}"
    agent = instance.pid()
    for child in children(agent):
        with suppress(OSError):
            yield f"child {Path(f'/proc/{child}/cmdline').read_bytes().split(bytes(1))[2].decode()}"
    for fd in Path(f"/proc/{agent}/fdinfo").iterdir():
        with suppress(OSError):
            for line in fd.read_text().splitlines():
                if line.split(":")[0] in FDS:
                    yield f"held {line.split(':')[0]}"


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are there."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def leaked(now: Counter[str], undisturbed: Counter[str]) -> dict[str, int]:
    """What there is more or less of than without a fault."""
    return {
        what: now[what] - undisturbed[what]
        for what in now.keys() | undisturbed.keys()
        if now[what] != undisturbed[what]
    }

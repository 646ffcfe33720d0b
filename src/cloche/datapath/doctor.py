"""What this machine can do, found by doing it: everything is tried on maps that vanish and in a network
namespace of its own, so nothing of the machine changes.

``TABLE`` is the one list of what needs which kernel: ``cloche doctor`` asks it, docs/kernels.md shows it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from cloche.config import DEFAULT_POD_RANGES, DEFAULT_SERVICE_RANGES
from cloche.datapath import bpf, devices, host, loader, machine, namespaces, nft, removal
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.machine import Answer, Feature, Found
from cloche.datapath.maps import F_MMAPABLE, MapInfo, MapType, create_map
from cloche.datapath.testrun import SMALL, Engine
from cloche.errors import ClocheError, InputError
from cloche.model.address import Block
from cloche.tables.schema import Capacity

_PER_ENTRY = 48
"""Bytes that the kernel adds to each entry of a hash, about."""
_MIB = 1 << 20
_SCTP = 132
_INDEX = 4
"""Bytes of an array's key."""


def _alone(probe: Callable[[], object]) -> object:
    """The probe's result, on a thread in a new network namespace."""
    results: list[object] = []

    def run() -> None:
        try:
            with namespaces.private_namespace():
                results.append(probe())
        except (OSError, ClocheError) as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def _tried(probe: Callable[[], object], hint: str) -> Found:
    """Present when the probe, run in a namespace of its own, raises nothing."""
    if os.geteuid() != 0:
        return Found(None, "only root may try")
    result = _alone(probe)
    return (
        Found(False, str(result), hint) if isinstance(result, Exception) else Found(True, str(result or ""))
    )


def _program() -> Found:
    def load() -> str:
        engine = Engine(SMALL)
        try:
            frame = b"\x02" + bytes(11) + b"\x08\x00" + bytes(46)
            reason = engine.run("from_endpoint", frame, socket.if_nametoindex("lo")).reason
            return f"loads and runs; without a generation it says {reason.shown}"
        finally:
            engine.close()

    return _tried(
        load, "the verifier's words are in the detail; please report them with the kernel's release"
    )


def _map(kind: MapType, key: int, value: int, entries: int, flags: int = 0) -> Callable[[], Found]:
    def make() -> None:
        create_map(MapInfo(int(kind), 0, key, value, entries, flags, "probe")).close()

    return lambda: _tried(make, "CONFIG_BPF_SYSCALL=y is needed")


def _batch() -> Found:
    def write() -> None:
        made = create_map(MapInfo(int(MapType.HASH), 0, 4, 4, 8, 0, "probe"))
        made.put_many([bytes(4)], [bytes(4)])
        made.close()

    return _tried(write, "a newer kernel is needed")


def _grace() -> Found:
    return _tried(bpf.wait_grace, "CONFIG_MEMBARRIER=y is needed")


def _jit() -> Found:
    try:
        on = devices.get_sysctl("net/core/bpf_jit_enable") != "0"
    except OSError as error:
        return Found(None, str(error))
    return Found(on, "", "sysctl net.core.bpf_jit_enable=1")


def _veth() -> Found:
    return _tried(lambda: devices.create_pair("a", "b"), "CONFIG_VETH is needed (modprobe veth)")


def _clsact() -> Found:
    def add() -> None:
        with devices.netlink() as route:
            route.tc("add", "clsact", socket.if_nametoindex("lo"))

    return _tried(add, "CONFIG_NET_SCH_INGRESS is needed (modprobe sch_ingress)")


def _nftables() -> Found:
    return _tried(
        lambda: nft.masquerade("probe"), "Debian: apt-get install nftables; CONFIG_NFT_MASQ is needed"
    )


def _sctp() -> Found:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _SCTP).close()
    except OSError as error:
        return Found(False, str(error), "CONFIG_IP_SCTP (modprobe sctp)")
    return Found(True)


def _memory() -> Found:
    try:
        needed = map_bytes(Capacity()) // _MIB
    except (OSError, ClocheError) as error:
        return Found(None, str(error))
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024
    return Found(free > needed, f"about {needed} MiB for maps, {free} MiB available", "free some memory")


def map_bytes(capacity: Capacity) -> int:
    """About how much memory the maps of an instance take, in bytes. Raises MachineError, OSError."""
    with ObjectFile(loader.OBJECT) as opened:
        return sum(
            entries * (sum(opened.shape(name)) + _PER_ENTRY * (opened.shape(name)[0] > _INDEX))
            for name, entries in loader.sizes(capacity).items()
            if name != "events"
        )


def _forwarding() -> Found:
    names = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
    values = {name: devices.get_sysctl(name) for name in names}
    off = [name.replace("/", ".") for name, value in values.items() if value != "1"]
    return Found(not off, "", f"up sets {' and '.join(off)} to 1")


def _reverse_path() -> Found:
    strict = devices.get_sysctl("net/ipv4/conf/all/rp_filter") == "1"
    return Found(not strict, "", "nothing to do: the instance's own device is set to loose")


def _no_drops() -> Found:
    if os.geteuid() != 0:
        return Found(None, "only root may ask")
    try:
        chains = nft.forward_drops()
    except ClocheError as error:
        return Found(None, str(error))
    return Found(not chains, ", ".join(chains), "let what comes from pods through there")


def _free_ranges(blocks: Sequence[Block] = (*DEFAULT_POD_RANGES, *DEFAULT_SERVICE_RANGES)) -> Found:
    own = removal.instances()
    try:
        host.check_overlap(own[0] if len(own) == 1 else "", blocks)
    except InputError as error:
        return Found(
            False, "; ".join(f"{f.field} {f.message}" for f in error.findings), "--pod-cidr, --service-cidr"
        )
    return Found(True, ", ".join(map(str, blocks)))


def _alone_here() -> Found:
    try:
        names = removal.instances()
    except PermissionError:
        return Found(None, "only root may look")
    return Found(
        not names, f"running or left: {', '.join(names)}" if names else "", "each has its own --instance"
    )


TABLE: tuple[Feature, ...] = (
    *machine.TABLE,
    Feature(
        "arrays mapped into memory",
        "5.5",
        True,
        "a generation cannot be flipped by one store",
        _map(MapType.ARRAY, 4, 8, 1, F_MMAPABLE),
    ),
    Feature("batched map writes", "5.6", True, "generations cannot be written", _batch),
    Feature("ring buffer", "5.8", True, "no events", _map(MapType.RINGBUF, 0, 0, 4096)),
    Feature("grace periods (membarrier)", "4.3", True, "numbers cannot be used again", _grace),
    Feature("the program", "6.1", True, "nothing is judged: the kernel refuses it", _program),
    Feature("JIT", "any", False, "packets are judged several times more slowly", _jit),
    Feature("veth", "any", True, "endpoints have no devices", _veth),
    Feature("clsact qdisc", "4.5", False, "nothing, where there are TCX links", _clsact),
    Feature(
        "nftables with masquerade",
        "5.2",
        True,
        "what leaves the machine keeps addresses that nobody can answer",
        _nftables,
    ),
    Feature(
        "forwarding",
        "any",
        False,
        "nothing: it is enabled when an instance starts, and stays so",
        _forwarding,
    ),
    Feature("loose reverse-path check", "any", False, "nothing", _reverse_path),
    Feature("no chain drops what is forwarded", "any", False, "pods reach nothing outside", _no_drops),
    Feature("default ranges free", "any", False, "an instance needs ranges of its own", _free_ranges),
    Feature("no other instance", "any", False, "nothing: instances do not touch each other", _alone_here),
    Feature("memory for maps", "any", True, "the maps cannot be made", _memory),
    Feature("SCTP sockets", "any", False, "SCTP is judged, but matrix --live and probe cannot try it", _sctp),
)


def examine() -> list[Answer]:
    """Every feature, asked of this machine now. Changes nothing."""
    return list(machine.ask(TABLE))


def is_fit(answers: Sequence[Answer]) -> bool:
    """True when nothing that Cloche needs is missing: programs get on devices one way or the other."""
    hooks = [a.present for a in answers if a.name in ("TCX links", "clsact qdisc")]
    return not any(answer.missing for answer in answers) and any(present is not False for present in hooks)

"""What Cloche's programs take of a path's time, by the kernel's own statistics of programs.

Statistics cost time themselves, so they are taken in rounds of their own. The time that the kernel gives a
run contains reading the clock; what an empty program seems to take is subtracted.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from benchmarks.building import HERE, bpf_object
from benchmarks.figures import Figure, figure
from benchmarks.paths import Way
from benchmarks.rounds import UNITS, Measure, Traffic
from cloche.datapath.bpf import Attr, Command, Runner, SkbContext, call, get_pinned, info_bytes
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.pins import pin_directory

ROUNDS, EMPTY_RUNS = 7, 1_000_000
RUN_TIME = 0
"""``BPF_STATS_RUN_TIME`` of include/uapi/linux/bpf.h."""

_RUN_TIME_AT = 192
"""Where ``run_time_ns`` and ``run_cnt`` are in ``struct bpf_prog_info``."""

_LOOPBACK = 1
_FRAME = bytes(64)


class Runs(NamedTuple):
    """How long a program ran, in ns, and how often."""

    ns: int
    times: int


class HookCost(msgspec.Struct, frozen=True):
    """One program on one way: how often it ran for one unit of the traffic, and the ns of a run."""

    way: str
    traffic: Traffic
    program: str
    runs: Figure
    ns: Figure

    @property
    def each(self) -> float:
        """ns of the program's own time for one unit of the traffic."""
        return self.runs.median * self.ns.median


@contextmanager
def statistics() -> Iterator[None]:
    """The kernel keeps statistics of programs meanwhile. Raises OSError."""
    fd = call(Command.ENABLE_STATS, Attr("<I", RUN_TIME))
    try:
        yield
    finally:
        os.close(fd)


def _runs(fd: int) -> Runs:
    return Runs(*struct.unpack_from("<QQ", info_bytes(fd), _RUN_TIME_AT))


def _pinned(instance: str) -> dict[str, Runs]:
    """What each pinned program of an instance has run so far."""
    found = {}
    for pin in sorted((pin_directory(instance) / "programs").iterdir()):
        fd = get_pinned(str(pin))
        try:
            found[pin.name] = _runs(fd)
        finally:
            os.close(fd)
    return found


def empty_ns() -> float:
    """What a run of a program that does nothing takes by the statistics, in ns. Raises OSError."""
    with ObjectFile(bpf_object(HERE / "empty.bpf.c", [])) as opened:
        opened.load()
        (fd,) = opened.programs(("empty",)).values()
    try:
        before = _runs(fd)
        Runner(fd).run(_FRAME, SkbContext(_LOOPBACK), EMPTY_RUNS)
        after = _runs(fd)
    finally:
        os.close(fd)
    return (after.ns - before.ns) / (after.times - before.times)


def _round(way: Way, traffic: Traffic, seconds: float, measure: Measure) -> dict[str, tuple[float, float]]:
    """Runs for each unit, and ns of each run, of every program that ran."""
    before = _pinned(way.instance)
    units = measure(way, traffic) * seconds / UNITS[traffic].size
    spent = {}
    for name, after in _pinned(way.instance).items():
        count = after.times - before[name].times
        if count:
            spent[name] = (count / units, (after.ns - before[name].ns) / count)
    return spent


def hook_costs(
    ways: Sequence[Way], kinds: Sequence[Traffic], seconds: float, measure: Measure, tick: Callable[[], None]
) -> tuple[HookCost, ...]:
    """What the programs of these ways take, with every kind of traffic. Raises OSError."""
    taken: dict[tuple[str, Traffic, str], list[tuple[float, float]]] = {}
    with statistics():
        own = empty_ns()
        for _ in range(ROUNDS):
            for traffic in kinds:
                for way in ways:
                    for name, spent in _round(way, traffic, seconds, measure).items():
                        taken.setdefault((way.name, traffic, name), []).append(spent)
                    tick()
    return tuple(
        HookCost(
            way,
            traffic,
            name,
            figure([runs for runs, _ in all_of]),
            figure([max(ns - own, 0.0) for _, ns in all_of]),
        )
        for (way, traffic, name), all_of in taken.items()
    )

"""The parts of a run, each on a machine of its own."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cloche.config import Loader
from e2e.agent_lab import Machine
from e2e.altered_devices import remove_filter
from other_layout import other_layout
from torture.altered import EVERYTHING, Alteration, Alterations
from torture.clock import Clock, Jumps
from torture.crowd import CROWDED, Crowd
from torture.deaths import Deaths
from torture.full import AT_QUOTA, RING, TABLE_FULL, at_quota, ring_full, table_full
from torture.killing import Killing
from torture.moments import Moments
from torture.outcome import Altered, Outcome
from torture.points import AT_BIRTH, OFTEN, Fault, Points, born, schedule
from torture.running import ROOMY
from torture.store import ALL, Damaged, DiskFull, small_disk
from torture.swaps import Rollbacks, Upgrades, another_object
from torture.too_big import FEW_CELLS, TooBig
from torture.wire import Totals

KILLS, SWAPS, PODS, FLOOD, DAMAGES = 16, 2, 500, 20000, 4
Tick = Callable[[], None]


class Step(NamedTuple):
    """One part of the run, which ticks about ``ticks`` times."""

    name: str
    ticks: int
    run: Callable[[Machine, Tick], list[Outcome] | list[Altered]]


def told(outcomes: list[Outcome], totals: Totals) -> list[Outcome]:
    """With what the traffic had to say, where something went wrong."""
    bad = [one for one in outcomes if not one.fine]
    if totals.wrong and not bad:
        bad = outcomes[:1]
    for one in bad[:1]:
        one.wrong += totals.wrong
    return outcomes


def at_points(rounds: int, loader: Loader) -> Step:
    """Every fault point so many times."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        killing = Killing(host.instance(capacity=ROOMY, loader=loader))
        points = Points(killing)
        totals = killing.run(points.rounds(schedule(rounds, random.Random())), tick)
        outcomes = sorted(points.outcomes.values(), key=lambda one: one.fault)
        for one in outcomes:
            one.fault = f"killed at {one.fault}{', clsact' * (loader is Loader.CLSACT)}"
        return told(outcomes, totals)

    return Step(f"fault points, {loader}", rounds * (len(OFTEN) + 25), run)


def at_birth(rounds: int) -> Step:
    """An instance killed while it is made."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        faults = [
            Fault(point, number)
            for point in AT_BIRTH
            for number in random.sample(range(1, OFTEN[point] + 1), min(rounds, OFTEN[point]))
        ]
        outcomes = list(born(host.instance(), faults))
        for one in outcomes:
            one.fault = f"killed at {one.fault}"
            tick()
        return outcomes

    return Step("an instance that is made", len(AT_BIRTH), run)


def at_moments(count: int) -> Step:
    """Killed at random."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        killing = Killing(host.instance(capacity=ROOMY))
        moments = Moments(killing, random.Random())
        totals = killing.run(moments.rounds(count), tick)
        return told([moments.outcome], totals)

    return Step("random moments", count, run)


def swapped(count: int) -> Step:
    """Upgrades and roll-backs."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            (Path(folder) / "other").mkdir()
            killing = Killing(host.instance(capacity=ROOMY))
            ways = [
                Upgrades(killing, "the same layout", another_object(Path(folder))),
                Upgrades(killing, "another layout", other_layout(Path(folder) / "other")),
                Rollbacks(killing),
            ]
            rounds = [one for way in ways for one in way.rounds(count)]
            totals = killing.run(rounds, tick)
        return told([way.outcome for way in ways], totals)

    return Step("upgrades and roll-backs", 3 * count, run)


def crowded(count: int) -> Step:
    """Pods in crowds."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        crowd = Crowd(host.instance(capacity=CROWDED), count)
        totals = crowd.run(tick)
        return told([crowd.outcome], totals)

    return Step(f"{count} pods", count // 10 + 3, run)


def filled(rounds: int) -> Step:
    """Full tables."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        found: dict[str, Outcome] = {}
        for _ in range(rounds):
            for make, capacity in ((at_quota, AT_QUOTA), (table_full, TABLE_FULL), (ring_full, RING)):
                instance = host.instance(capacity=capacity)
                one = make(instance, FLOOD) if make is at_quota else make(instance)
                found[one.fault] = added(found.get(one.fault), one)
                instance.clean()
                tick()
        return list(found.values())

    return Step("full tables", 3 * rounds, run)


def added(before: Outcome | None, one: Outcome) -> Outcome:
    """Two outcomes of the same fault as one."""
    if before is None:
        return one
    sums = {
        name: getattr(before, name) + getattr(one, name)
        for name in Outcome.__struct_fields__
        if name != "fault"
    }
    return Outcome(fault=one.fault, **sums)


def too_big(rounds: int) -> Step:
    """Changes that do not fit."""

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        found = []
        for what, capacity in (("classes", ROOMY), ("cells", FEW_CELLS)):
            killing = Killing(host.instance(capacity=capacity))
            part = TooBig(killing, what)
            totals = killing.run(part.rounds(rounds), tick)
            found += told([part.outcome], totals)
            killing.instance.clean()
        return found

    return Step("what does not fit", 2 * rounds, run)


def beneath(rounds: int) -> Step:
    """What an agent stands on: its disk, its store, the clock, the processes that work for it."""
    damages = min(DAMAGES * rounds, len(ALL))

    def run(host: Machine, tick: Tick) -> list[Outcome]:
        killing = Killing(host.instance(capacity=ROOMY))
        with (
            tempfile.TemporaryDirectory(prefix="torture-") as disk,
            tempfile.TemporaryDirectory(prefix="torture-") as site,
            small_disk(killing.instance, Path(disk)),
        ):
            full, damaged = DiskFull(killing, Path(disk)), Damaged(killing)
            jumps, deaths = Jumps(killing, Clock(Path(site))), Deaths(killing, random.Random())
            parts = (full.rounds(rounds), damaged.rounds(random.sample(ALL, damages)))
            rest = (jumps.rounds(rounds), deaths.rounds(rounds))
            totals = killing.run([one for part in (*parts, *rest) for one in part], tick)
        outcomes = [full.outcome, damaged.outcome, jumps.outcome, deaths.worker, deaths.responder]
        return told(outcomes, totals)

    return Step("disk, clock and processes", 4 * rounds + damages, run)


def altered(rounds: int, loader: Loader, alterations: tuple[Alteration, ...]) -> Step:
    """Kernel state altered from outside, looked after as often as an instance is that nobody configured."""

    def run(host: Machine, tick: Tick) -> list[Altered]:
        instance = host.instance(capacity=ROOMY, loader=loader)
        return Alterations(host, instance).run(alterations * rounds, tick)

    return Step(f"altered from outside, {loader}", len(alterations) * rounds, run)


def steps(rounds: int) -> Iterator[Step]:
    """All parts of a run."""
    yield at_points(rounds, Loader.AUTO)
    if rounds > 1:
        yield at_points(rounds // 2, Loader.CLSACT)
    yield at_birth(2 * rounds)
    yield at_moments(KILLS * rounds)
    yield swapped(SWAPS * rounds)
    yield crowded(PODS if rounds > 1 else PODS // 10)
    yield filled(max(1, rounds // 2))
    yield too_big(rounds)
    yield beneath(rounds)
    often = max(1, rounds // 4)
    yield altered(often, Loader.AUTO, EVERYTHING)
    yield altered(often, Loader.CLSACT, (remove_filter,))

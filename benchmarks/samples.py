"""Where a path's time goes in the kernel: what the processor was in, sampled by perf, against the bare pair.

Software sampling by the clock: it works without counters of the hardware, and puts what runs with interrupts
off to where they are on again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

import msgspec

from benchmarks.paths import SkippedError, Way
from benchmarks.rounds import UNITS, Plan, Traffic, measure

ROUNDS, SECONDS, PER_SECOND = 5, 1.5, 1999
SHOWN, SURE = 12, 2.0
"""Functions kept of each kind of traffic, and by how many standard errors they have to differ."""

_PROGRAM = re.compile(r"bpf_prog_[0-9a-f]+_(\w+)")


class Function(msgspec.Struct, frozen=True):
    """A function of the kernel: its ns in one unit of traffic on both ways; the difference's error."""

    name: str
    reference_ns: float
    ns: float
    error_ns: float

    @property
    def more(self) -> float:
        """ns that the way takes longer in it than the reference."""
        return self.ns - self.reference_ns


class Sampled(msgspec.Struct, frozen=True):
    """One way against the reference: the whole ns of a unit while sampling, and where they differ most."""

    way: str
    reference: str
    traffic: Traffic
    samples: int
    reference_ns: float
    ns: float
    functions: tuple[Function, ...]


class Tally:
    """Samples by function, and how long a unit took, over some rounds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times: list[float] = []

    @property
    def ns(self) -> float:
        """How long a unit took while sampling."""
        return mean(self.times)

    def of(self, name: str) -> tuple[float, float]:
        """ns of a unit spent in a function, and that number's standard error."""
        each = self.ns / max(self.counts.total(), 1)
        return self.counts[name] * each, max(self.counts[name], 1) ** 0.5 * each


def read_line(line: str) -> tuple[str, int]:
    """A function of perf's report, all of user space as one, and its samples. ValueError for other lines."""
    count, kind, symbol = line.split(None, 2)
    if kind == "[.]":
        return "the client and the server themselves", int(count)
    program = _PROGRAM.fullmatch(symbol)
    return f"program {program[1]}" if program else re.sub(r"\.(isra|constprop|part)\..*", "", symbol), int(
        count
    )


def _sample(way: Way, traffic: Traffic, plan: Plan, program: Path, tally: Tally) -> None:
    """One measurement, sampled. Raises SkippedError when perf cannot."""
    with tempfile.NamedTemporaryFile(prefix="cloche-perf-") as kept:
        record = ("perf", "record", "-q", "-e", "cpu-clock", "-F", str(PER_SECOND))
        try:
            rate = measure(
                way, traffic, plan, program, (*record, "-C", str(plan.server_cpu), "-o", kept.name, "--")
            )
        except subprocess.CalledProcessError as error:
            raise SkippedError(f"perf record: {error.stderr.strip().splitlines()[0]}") from None
        report = ("perf", "report", "-i", kept.name, "--stdio", "-q", "--no-children", "-F", "sample,sym")
        told = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    tally.times.append(1e9 * UNITS[traffic].size / rate)
    for line in told.splitlines():
        if line.strip():
            name, count = read_line(line)
            tally.counts[name] += count


def differences(reference: Tally, tally: Tally) -> tuple[Function, ...]:
    """The functions in which the ways surely differ, the greatest difference first."""
    found = []
    for name in reference.counts.keys() | tally.counts.keys():
        (before, error), (after, other) = reference.of(name), tally.of(name)
        function = Function(name, before, after, (error**2 + other**2) ** 0.5)
        if abs(function.more) > SURE * function.error_ns:
            found.append(function)
    return tuple(sorted(found, key=lambda function: -abs(function.more))[:SHOWN])


def sampled(
    both: tuple[Way, Way], kinds: Sequence[Traffic], plan: Plan, program: Path, tick: Callable[[], None]
) -> tuple[Sampled, ...]:
    """The reference and a way in turns, with every kind of traffic.

    Raises SkippedError with the reason when perf cannot.
    """
    reference, way = both
    if shutil.which("perf") is None:
        raise SkippedError("perf is not installed (Debian: linux-perf)")
    plan = plan._replace(seconds=SECONDS)
    tallies = {(one.name, kind): Tally() for one in both for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            for one in both:
                _sample(one, kind, plan, program, tallies[one.name, kind])
                tick()
    made = []
    for kind in kinds:
        before, after = tallies[reference.name, kind], tallies[way.name, kind]
        samples = before.counts.total() + after.counts.total()
        found = differences(before, after)
        made.append(Sampled(way.name, reference.name, kind, samples, before.ns, after.ns, found))
    return tuple(made)

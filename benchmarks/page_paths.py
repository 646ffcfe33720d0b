"""The part of docs/results.md about paths: ratios, goals, Cloche against each peer, and where time goes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import goals, pictures, report
from benchmarks.figures import Conclusion, Figure
from benchmarks.goals import REFERENCE, Goal
from benchmarks.pictures import OTHERS, OURS, Bar, Parts
from benchmarks.redirecting import REDIRECT
from benchmarks.report import TITLES, Report
from benchmarks.rounds import UNITS, Traffic
from benchmarks.samples import Sampled

TYPICAL = goals.name(goals.GOAL_RULES)
REST = "#f9ab00"


def spread(found: Figure, digits: int = 2) -> str:
    """A median and its interval."""
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}..{found.high:.{digits}f})"


def section(made: Report, measured_on: str) -> Iterator[str]:
    """All of it; ``measured_on``: the machine and the file, in words."""
    yield "## Between two endpoints on one host\n"
    yield f"{measured_on} {made.rounds} rounds of {made.seconds:g} s for each way and traffic, in turns.\n"
    yield "![Rates as ratios to a bare veth pair](results.svg)\n"
    yield from (f"- {words}" for words in made.conditions)
    yield from (f"- left out: {words}" for words in made.skipped)
    yield "\n### Goals\n"
    yield from _goals(made)
    yield "\n### Rates\n"
    yield from _rates(made)
    yield "\n### Cloche against each peer\n"
    yield from _against(made)
    yield "\n### Where the time goes\n"
    yield from _spent(made)


def _short_by(goal: Goal) -> str:
    if goal.conclusion is not Conclusion.MISSED:
        return ""
    return f"{abs(goal.goal - goal.found.median):.3f}"


def _goals(made: Report) -> Iterator[str]:
    yield "| Goal | Traffic | Found | 95 % | Conclusion | By |\n|---|---|---|---|---|---|"
    for goal in made.goals:
        yield (
            f"| {goal.what}: {'≥' if goal.least else '≤'} {goal.goal} | {TITLES[goal.traffic]} "
            f"| {goal.found.median:.3f} | {goal.found.low:.3f}..{goal.found.high:.3f} "
            f"| {goal.conclusion} | {_short_by(goal)} |"
        )


def _rates(made: Report) -> Iterator[str]:
    yield "| Traffic | Way | Rate | Ratio to veth | 95 % |\n|---|---|---|---|---|"
    for line in made.lines:
        unit, name = report.UNITS[line.traffic]
        yield (
            f"| {TITLES[line.traffic]} | {line.way} | {line.rate.median / unit:.2f} {name} "
            f"| {line.ratio.median:.3f} | {line.ratio.low:.3f}..{line.ratio.high:.3f} |"
        )


def _against(made: Report) -> Iterator[str]:
    """Cloche's rate by each peer's: above 1, Cloche is the faster."""
    ours = [way for way in made.ways() if goals.is_ours(way)]
    peers = [way for way in made.ways() if not goals.is_ours(way)]
    found = {(one.way, one.other, one.traffic): one.ratio for one in made.comparisons}
    yield "Cloche's rate by the peer's, median and 95 % interval; above 1 Cloche is the faster.\n"
    yield f"| Traffic | Way | {' | '.join(peers)} |\n|---|---|{'---|' * len(peers)}"
    for kind in Traffic:
        for way in ours:
            cells = " | ".join(spread(found[way, peer, kind]) for peer in peers)
            yield f"| {TITLES[kind]} | {way} | {cells} |"


def _ns(made: Report, way: str, kind: Traffic) -> float:
    """How long one unit of the traffic takes, in ns."""
    return 1e9 * UNITS[kind].size / made.line(way, kind).rate.median


def _own(made: Report, kind: Traffic) -> float:
    """The programs' own ns in one unit of the traffic."""
    hooks = made.spent.hooks
    return sum(hook.each for hook in hooks if (hook.way, hook.traffic) == (TYPICAL, kind))


def _spent(made: Report) -> Iterator[str]:
    if not any(hook.way == TYPICAL for hook in made.spent.hooks):
        yield "Not measured in this run."
        return
    yield (
        f"`{TYPICAL}` against the bare pair, ns for one unit of traffic. A program's own time is by the "
        "kernel's statistics of programs, in rounds of their own, less what an empty program seems to take. "
        "The rest of what is longer is the kernel's work around them: running a hook, redirecting, passing "
        f"another device; `{REDIRECT}` has that and nothing else. Allowed is what may be longer at "
        f"{goals.GOAL}; a run may take what that leaves if as much is longer around it as on `{REDIRECT}`.\n"
    )
    yield "![What one unit of traffic takes](results-time.svg)\n"
    yield "| For | Bare | Redirect | Cloche | Longer | Allowed | Programs | Rest | Runs | Each | May take |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for kind in Traffic:
        yield _time_row(made, kind)
    yield "\nEvery program that ran:\n"
    yield "| Way | Traffic | Program | Runs for one unit | ns each |\n|---|---|---|---|---|"
    for hook in made.spent.hooks:
        yield (
            f"| {hook.way} | one {UNITS[hook.traffic].name} | {hook.program} | {spread(hook.runs)} "
            f"| {spread(hook.ns, 0)} |"
        )
    if made.spent.sampled:
        yield (
            "\nBy function of the kernel, sampled by the processor's clock, which takes time itself. Of each "
            "traffic those that surely differ, the greatest difference first, with twice its standard error. "
            "What runs with interrupts off is counted where they are on again."
        )
    for one in made.spent.sampled:
        yield from _functions(one)


def _time_row(made: Report, kind: Traffic) -> str:
    bare, ours, own = _ns(made, REFERENCE, kind), _ns(made, TYPICAL, kind), _own(made, kind)
    hooks = [hook for hook in made.spent.hooks if (hook.way, hook.traffic) == (TYPICAL, kind)]
    runs, allowed = sum(hook.runs.median for hook in hooks), bare / goals.GOAL - bare
    redirect = _ns(made, REDIRECT, kind) if REDIRECT in made.ways() else None
    each = f"{runs:.2f} | {own / runs:.0f}" if runs else " | "
    may = f"{max(allowed - (redirect - bare), 0) / runs:.0f}" if redirect and runs else ""
    alone = f"{redirect:,.0f}" if redirect else ""
    return (
        f"| one {UNITS[kind].name} | {bare:,.0f} | {alone} | {ours:,.0f} | {ours - bare:,.0f} "
        f"| {allowed:,.0f} | {own:,.0f} | {ours - bare - own:,.0f} | {each} | {may} |"
    )


def _functions(one: Sampled) -> Iterator[str]:
    yield (
        f"\nOne {UNITS[one.traffic].name}, {one.reference_ns:,.0f} ns on {one.reference} and {one.ns:,.0f} "
        f"on {one.way} while sampled, {one.samples:,} samples:\n"
    )
    yield f"| Function | {one.reference} | {one.way} | Longer |\n|---|---|---|---|"
    for function in one.functions:
        yield (
            f"| `{function.name}` | {function.reference_ns:.0f} | {function.ns:.0f} "
            f"| {function.more:+.0f} ± {2 * function.error_ns:.0f} |"
        )


def ratios_picture(made: Report) -> str:
    """Every way's ratio to the bare pair, one group for each kind of traffic."""
    groups = [
        (TITLES[kind], [Bar(line.way, line.ratio, goals.is_ours(line.way)) for line in made.lines_of(kind)])
        for kind in Traffic
    ]
    return pictures.bars(groups, goals.GOAL)


def time_picture(made: Report) -> str:
    """What a unit takes on the bare pair, what the programs take, and what else Cloche's way is longer by."""
    rows = []
    for kind in Traffic:
        bare, ours, own = _ns(made, REFERENCE, kind), _ns(made, TYPICAL, kind), _own(made, kind)
        parts = ((bare, OTHERS), (own, OURS), (max(ours - bare - own, 0.0), REST))
        rows.append(Parts(f"one {UNITS[kind].name}", parts, f"{ours:,.0f} ns"))
    legend = (
        ("bare veth pair", OTHERS),
        ("programs", OURS),
        ("the kernel's work around them", REST),
    )
    return pictures.stacked(rows, legend)

"""What a run of paths leaves: goals, ratios against each peer, the page's words and its pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from benchmarks import goals, page_paths, pictures, report, samples
from benchmarks.figures import Conclusion, Figure, figure
from benchmarks.goals import at_most
from benchmarks.machine import Machine
from benchmarks.redirecting import REDIRECT
from benchmarks.report import Notes, Report, Spent
from benchmarks.rounds import Plan, Rates, Traffic
from benchmarks.runtime import HookCost

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = Machine("6.18", "x86_64", "a processor", 2, 4096, True, 0.0, True, {})
SPEEDS = {
    "veth": 10_000.0,
    "bridge": 9000.0,
    REDIRECT: 9800.0,
    "cloche 1": 9600.0,
    "cloche 1000": 9400.0,
    "cloche 10000": 9500.0,
}


def rates(speeds: dict[str, float], rounds: int = 9) -> Rates:
    """Every way as fast as said in every round, with rounds that are slow for all."""
    return {
        (way, kind): [speed * (1 - number / 20) for number in range(rounds)]
        for kind in Traffic
        for way, speed in speeds.items()
    }


def run(speeds: dict[str, float], spent: Spent | None = None) -> Report:
    """The report of such rates."""
    plan = Plan(9, 0.5, 1, 1)
    notes = Notes(MACHINE, ("a condition",), ("iptables-nft: not installed",))
    return report.report(notes, plan, rates(speeds), spent or Spent())


COSTS = [
    (1.00, 1.015, Conclusion.MET),
    (0.98, 0.99, Conclusion.MET),
    (1.03, 1.04, Conclusion.MISSED),
    (1.01, 1.025, Conclusion.UNDECIDED),
    (0.90, 0.95, Conclusion.UNDECIDED),
    (1.03, 1.06, Conclusion.UNDECIDED),
]


@pytest.mark.parametrize(("low", "high", "expected"), COSTS)
def test_a_cost_is_met_by_the_whole_interval(low: float, high: float, expected: Conclusion) -> None:
    """At or below the goal it is met, above it missed; around it or wider than the margin, undecided."""
    assert at_most(Figure((low + high) / 2, low, high, 10)) is expected


def test_a_few_rounds_decide_nothing() -> None:
    """However narrow, an interval of five rounds meets and misses no goal."""
    assert at_most(Figure(1.0, 1.0, 1.0, 5)) is Conclusion.UNDECIDED
    assert Figure(1.0, 1.0, 1.0, 5).against(0.95) is Conclusion.UNDECIDED


def test_goals_are_those_of_1000_rules_and_of_10000_against_1() -> None:
    """Each traffic has both goals: 0.94 of the bare pair misses 0.95, and 9600 / 9500 meets 1.02."""
    found = {(goal.traffic, goal.least): goal for goal in goals.goals(rates(SPEEDS))}
    assert len(found) == 2 * len(Traffic)
    for kind in Traffic:
        rate, cost = found[kind, True], found[kind, False]
        assert (rate.conclusion, cost.conclusion) == (Conclusion.MISSED, Conclusion.MET)
        assert rate.found.median == pytest.approx(0.94)
        assert cost.found.median == pytest.approx(9600 / 9500)


def test_a_goal_whose_ways_were_not_measured_is_not_concluded() -> None:
    """Without one rule and ten thousand only the first goal is there."""
    some = {way: SPEEDS[way] for way in ("veth", "cloche 1000")}
    assert {goal.least for goal in goals.goals(rates(some))} == {True}


def test_cloche_is_set_against_every_peer() -> None:
    """Each way of Cloche has a ratio to each way that is not, with each traffic; above 1 Cloche is faster."""
    made = goals.comparisons(rates(SPEEDS))
    assert Counter((one.way, one.other) for one in made) == {
        (way, other): len(Traffic)
        for way in SPEEDS
        if "cloche" in way
        for other in ("veth", "bridge", REDIRECT)
    }
    (bridge,) = {one.ratio.median for one in made if (one.way, one.other) == ("cloche 1000", "bridge")}
    assert bridge == pytest.approx(9400 / 9000)


def hook(way: str, runs: float, ns: float) -> HookCost:
    """What one program takes of a connection."""
    return HookCost(way, Traffic.CRR, "from_endpoint", figure([runs]), figure([ns]))


def test_the_page_says_what_was_lost_and_where() -> None:
    """A missed goal has its distance; the loss is parted into the program's own time and the rest."""
    spent = Spent((hook("cloche 1000", 10, 300), hook("cloche 1", 10, 99)))
    page = "\n".join(page_paths.section(run(SPEEDS, spent), "Measured."))
    assert "| missed | 0.010 |" in page
    bare, redirect, ours = 1e9 / 8000, 1e9 / 7840, 1e9 / 7520  # the median round is a fifth slower
    allowed = bare / 0.95 - bare
    may = (allowed - (redirect - bare)) / 10
    row = f"| one connection | {bare:,.0f} | {redirect:,.0f} | {ours:,.0f} | {ours - bare:,.0f} "
    assert row + f"| {allowed:,.0f} | 3,000 | {ours - bare - 3000:,.0f} | 10.00 | 300 | {may:.0f} |" in page
    assert "left out: iptables-nft: not installed" in page


def test_a_run_without_a_profile_says_so() -> None:
    """Where the time was not measured, the page does not invent it."""
    page = "\n".join(page_paths.section(run(SPEEDS), "Measured."))
    assert "Not measured in this run." in page and "from_endpoint" not in page


def test_all_words_of_the_pictures_are_inside() -> None:
    """Both pictures are XML, every word and bar begins inside, and every way of every traffic has its bar."""
    spent = Spent((hook("cloche 1000", 10, 300),))
    wide = run({**SPEEDS, "cloche 1000": 15_000.0}, spent)
    for picture in (page_paths.ratios_picture(wide), page_paths.time_picture(wide)):
        root = ElementTree.fromstring(picture)
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for found in (*root.iter(f"{SVG}text"), *root.iter(f"{SVG}rect")):
            length = 6.5 * len(found.text or "") + float(found.attrib.get("width", 0))
            centred = found.attrib.get("text-anchor") == "middle"
            assert float(found.attrib.get("x", 0)) + (length / 2 if centred else length) <= width
            assert 0 <= float(found.attrib.get("y", 0)) <= height
    bars = ElementTree.fromstring(page_paths.ratios_picture(wide)).iter(f"{SVG}rect")
    assert sum(float(bar.attrib["height"]) == pictures.BAR for bar in bars) == len(SPEEDS) * len(Traffic)


def test_functions_that_do_not_surely_differ_are_left_out() -> None:
    """Counts that chance explains are not told; what is new, and what is gone, is."""
    before, after = samples.Tally(), samples.Tally()
    before.counts.update({"same": 500, "near": 400, "gone": 100})
    after.counts.update({"same": 500, "near": 420, "new": 80})
    before.times, after.times = [1000.0], [1000.0]
    found = samples.differences(before, after)
    assert [function.name for function in found] == ["gone", "new"]
    assert found[0].more == -100 and found[1].more == 80


LINES = [
    ("  339  [k] bpf_prog_b59747061df0f6e5_from_endpoint", ("program from_endpoint", 339)),
    ("  173  [k] __netif_receive_skb_core.constprop.0", ("__netif_receive_skb_core", 173)),
    ("  468  [.] read", ("the client and the server themselves", 468)),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_perf_s_lines_are_read(line: str, expected: tuple[str, int]) -> None:
    """Programs are told by their names, functions without what the compiler added, user space as one."""
    assert samples.read_line(line) == expected

"""The parts of docs/results.md about changes, services, the profile of the path, memory and starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.effect.__main__ import Report as Effect
from benchmarks.effect.__main__ import Stage
from benchmarks.figures import Conclusion, Figure
from benchmarks.footprint import Report as Footprint
from benchmarks.kept import load
from benchmarks.machine import Machine
from benchmarks.profile.__main__ import Report as Profile
from benchmarks.quantiles import shown
from benchmarks.scale import at_most
from benchmarks.services import Report as Services

On = Callable[[Machine, str, str], str]
"""What a run was measured on, in a sentence: of its machine, file and time."""


def verdict(found: Figure, goal: float, unit: str) -> str:
    """Whether a goal is met, and by how much it is missed."""
    conclusion = at_most(found, goal)
    text = f"goal {goal:g}{unit}: {conclusion}"
    return text if conclusion is not Conclusion.MISSED else f"{text} by {found.median - goal:.3g}{unit}"


def effect(on: On) -> Iterator[str]:
    """From a change of policy to the first packet judged by it."""
    made, file = load("effect", Effect)
    yield "\n## From a change of policy to the first packet judged by it\n"
    yield (
        f"{on(made.machine, file, made.time)} A real agent with its defaults (replay on), "
        f"{made.pods} pods, "
        f"{made.rules:,} rules; a packet every 0.5 ms on each of eight pairs, by UDP and on TCP "
        "connections that "
        "are open; the change is asked for on the agent's socket. ms from the request to the first "
        "packet that "
        "is judged by it; for what is forbidden that is the first packet of a live flow that is cut.\n"
    )
    yield f"**p99 {shown(made.all.p99, 1)} ms; {verdict(made.all.p99, made.goal_ms, ' ms')}.**\n"
    yield (
        f"p50 {shown(made.all.p50, 1)} ms over {made.changes} changes; flows cut: p50 "
        f"{shown(made.cut.p50, 1)}, p99 {shown(made.cut.p99, 1)} ms. The agent answers later, when all is on "
        f"disk: the first packet is {-made.after_answer.p50.median:.0f} ms before the answer. Packets judged "
        f"by the old policy after one by the new: {made.wrong}. Lost of pairs that stayed allowed: "
        f"{made.lost} of {made.steady:,}. No step of the agent's loop took longer than "
        f"{made.loop_longest_block_ms:.0f} ms, its start included.\n"
    )
    yield "| What was changed | Packets | | Count | p50 | p99 |\n|---|---|---|---|---|---|"
    for line in made.lines:
        way = "forbidden, live" if line.forbids else "allowed"
        p50, p99 = shown(line.ms.p50, 1), shown(line.ms.p99, 1)
        yield f"| {line.what} | {line.kind} | {way} | {line.count} | {p50} | {p99} |"
    yield "\nWhere the time goes, ms; stages as the agent tells them:\n"
    yield "| Stage | p50 | p99 |\n|---|---|---|"
    yield from (f"| {_stage(stage)} | {stage.p50:.1f} | {stage.p99:.1f} |" for stage in made.stages)
    yield (
        "\nOnly the changed policy is read anew, and what is the very same as before is not compared. Replay "
        "asks for 10 ms before the flip (`--replay-ms`), from when the change is compiled; the grace period "
        "is waited for behind the flip. A port that no rule had before cuts the ports anew: rows get a cell "
        "for it beside what counts (thousands of writes when there are more atoms than ever, else hardly "
        "any), and the worker brings what it knows of them to the new cut when the change is in force."
    )


STAGES = {
    "build": "reading manifests, finding what differs",
    "attach": "attaching endpoints",
    "compile": "compiling, and telling the agent",
    "write": "writing beside what counts",
    "replay": "replay beyond that, and the flip",
}


def _stage(stage: Stage) -> str:
    return STAGES.get(stage.name, stage.name)


def services(on: On) -> Iterator[str]:
    """A service's first packet."""
    made, file = load("services", Services)
    goal = made.lines[1]
    yield "\n## A service's first packet, with 1 and 30 000 services\n"
    yield (
        f"{on(made.machine, file, made.time)} The whole program by test run, {made.rules:,} rules on "
        "both ends, "
        f"each packet the first of its flow; all in one process, in turns, {made.rounds} rounds of "
        f"{made.packets:,} packets, each round on new hosts. ns, the test run itself included.\n"
    )
    yield f"**p99 {shown(goal.p99_ratio, 3)}; {verdict(goal.p99_ratio, made.goal, '')}.**\n"
    yield "| Services | Asked for | p50 | p99 | p50 ratio | p99 ratio |\n|---|---|---|---|---|---|"
    for line in made.lines:
        asked = "one of them" if line.only_one else "each as often as any other"
        ratios = f"{shown(line.p50_ratio, 3)} | {shown(line.p99_ratio, 3)}"
        yield f"| {line.services:,} | {asked} | {shown(line.p50)} | {shown(line.p99)} | {ratios} |"
    yield (
        "\nThe instructions are the same; with 30 000 services of which one is asked for, so is the "
        "time. The rest is waiting for memory that is in no cache: the service's front, one place of "
        "128 bytes with its entry and its first backends, and the page table's entry for it "
        "([how](design/fronts.md)). It is waited for together with the look-up of the flow, which misses "
        "the caches with one service too; asking for the front before the flow made no difference. The "
        "kernel keeps an array on pages of 4 KiB, some 4,000 for the fronts. Needed would be fewer: by a "
        "front of one line, or by huge pages; neither was tried."
    )


def profile(on: On) -> Iterator[str]:
    """What each kind of packet costs."""
    made, file = load("profile", Profile)
    yield "\n## Profile of the path\n"
    yield (
        f"{on(made.machine, file, made.time)} Test runs with the tables of {made.rules:,} rules and "
        f"{made.services} services. Instructions are those of the object, helpers not looked into, "
        "counted by a "
        "build in which the compiler counts basic blocks (at least and at most: what it adds late "
        "has no counter). "
        "Look-ups are counted by a build with counters before the helpers; those of arrays cost next "
        "to nothing. "
        f"ns of the program as it ships, less {made.empty_ns:.0f} of a run of one that does nothing, over "
        f"{made.packets:,} packets, one at a time from Python, which leaves caches colder than "
        "traffic does.\n"
    )
    yield (
        "| Hook | Packet | Instructions | Look-ups | In hashes and tries | Entries written | ns p50 "
        "| p99 |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for line in made.lines:
        least, most = line.instructions
        named = ", ".join(f"{name} {number}" for name, number in line.hashes.items())
        yield (
            f"| `{line.hook}` | {line.kind} | {least:,}..{most:,} | {line.lookups} | {named} | "
            f"{line.writes} "
            f"| {line.ns.p50.median:.0f} | {line.ns.p99.median:.0f} |"
        )


def footprint(on: On) -> Iterator[str]:
    """Memory, and starts."""
    made, file = load("footprint", Footprint)
    yield "\n## Memory and starts\n"
    yield f"{on(made.machine, file, made.time)} {made.pods} pods, {made.rules:,} rules, default sizes.\n"
    yield "| What | MB, shared memory by its share | In RAM | At most so far |\n|---|---|---|---|"
    for one in made.processes:
        sizes = " | ".join(f"{size / 1e6:.0f}" for size in (one.pss, one.rss, one.peak))
        yield f"| {one.name} | {sizes} |"
    ours = [one for one in made.maps if not one.replay]
    yield f"| maps, as the kernel counts them | {sum(one.bytes for one in ours) / 1e6:.0f} | | |"
    replay = sum(one.bytes for one in made.maps if one.replay)
    yield f"| maps of replay's own | {replay / 1e6:.1f} | | |"
    largest = ", ".join(f"{one.name} {one.bytes / 1e6:.1f}" for one in ours[:6])
    yield f"\nThe largest maps: {largest} MB; their sizes are fixed when an instance is made.\n"
    yield (
        f"A start with {made.pods} pinned endpoints, from execution to the first answer: "
        f"**{shown(made.starts, 1)} s** ({made.starts.rounds} starts; a new instance: "
        f"{made.first_start:.1f} s). The "
        "datapath works meanwhile. The time goes into the worker: it reads the maps back, takes them "
        "over and compiles the whole world again to compare; each set has a row for each class, in Python."
    )


def sections(on: On) -> Iterator[str]:
    """All of them, in order."""
    for section in (effect, services, profile, footprint):
        yield from section(on)

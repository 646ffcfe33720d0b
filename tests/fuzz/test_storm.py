"""The program in storms: frames varied many times over by C, each answer held against what no frame may do.

Invariant: whatever is sent, verdict, reason, delivery and return value fit together; what is denied is
dropped unchanged or answered to its sender; what passes has its sender's MAC and address, holds what may
pass, and reaches whom it is addressed to, with checksums right that were right before. ``CLOCHE_STORM`` sets
how many are sent, and ``CLOCHE_SEED`` the seed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_pool import Outcome, Share, attack, one_share, report, sites
from attack_site import Send, Storm
from attack_steps import Room, play, unpacked

from cloche.model.flow import Delivery, Entry

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/mutation"), str(ROOT / "tools")]

from program_mutants import MUTANTS  # noqa: E402

from build_bpf import SOURCES, build  # noqa: E402

PACKETS = int(os.environ.get("CLOCHE_STORM", "5000000"))
SEED = int(os.environ.get("CLOCHE_SEED", "1"))
TOLD = {
    "the MAC checked is the destination's": "passed from a spoofed MAC",
    "IPv6 source routes pass": "passed with a source route",
    "ND passes with any hop limit": "passed as neighbour discovery that is none",
}
"""Wrong programs, and what a storm says of each."""
FEW = 200_000


@pytest.fixture(scope="module")
def outcome(bpf_machine: None) -> Outcome:
    """What came of all the packets, sent once."""
    return attack(PACKETS, SEED, storms=True)


@pytest.fixture(params=TOLD)
def wrong_room(
    bpf_machine: None, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Room]]:
    """What is wrong with a program, and an engine of it."""
    (mutant,) = (one for one in MUTANTS if one.fact == request.param)
    sources = tmp_path / "bpf"
    shutil.copytree(SOURCES, sources)
    path = tmp_path / mutant.file
    assert mutant.applies(tmp_path)
    path.write_text(path.read_text().replace(mutant.before, mutant.after))
    build(tmp_path / "wrong.bpf.o", sources)
    with sites(tmp_path / "wrong.bpf.o") as room:
        yield request.param, room


def test_no_frame_of_a_storm_does_what_none_may(outcome: Outcome) -> None:
    """Variations of random, mutated and crafted frames are dropped, answered or delivered as any must be."""
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.sent == PACKETS
    assert outcome.untried < PACKETS // 5, report(outcome)


@pytest.mark.skipif(PACKETS < 500_000, reason="too few packets to come upon every delivery")
def test_storms_reach_every_delivery_and_entry(outcome: Outcome) -> None:
    """Variations were dropped, delivered, handed to the stack, answered and passed on, from every entry."""
    assert {delivery for _, delivery, _ in outcome.seen} == set(Delivery), report(outcome)
    assert {entry for _, _, entry in outcome.seen} == set(Entry), report(outcome)


def test_a_wrong_program_is_told_by_a_storm_in_steps_that_show_it(wrong_room: tuple[str, Room]) -> None:
    """What a wrong program does is found in a short storm, and single frames show it again."""
    fact, room = wrong_room
    found = one_share(room, Share(SEED, FEW, storms=True))
    assert found.failures and TOLD[fact] in found.failures[0], report(found)
    steps = unpacked(found.failures[0][found.failures[0].index("\n[") :])
    assert isinstance(steps[-1], Send) and not any(isinstance(one, Storm) for one in steps)
    assert play(room, steps).wrong
    with sites() as right:
        assert not play(right, steps).wrong

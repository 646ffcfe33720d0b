"""The parser and the flow tracker under attack, by test run, judged by the oracle.

Invariant: no frame, whatever it holds and whatever came before it, gets another answer from the program than
from the oracle, or does what no frame may do (``storm/judging.c``). ``CLOCHE_PACKETS`` sets how many are
sent, and ``CLOCHE_SEED`` the seed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from attack_pool import Outcome, attack, report
from attack_steps import Room, play, unpacked
from program_lab import SERVICE4, WEB, Lab, allows, inside, make_devices

from cloche.datapath.testrun import Engine
from cloche.model.flow import Delivery, Entry
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.tables.schema import Put, settled
from frames import TCP, Flow, IpOptions, ip, tcp

PACKETS = int(os.environ.get("CLOCHE_PACKETS", "1000000"))
SEED = int(os.environ.get("CLOCHE_SEED", "1"))
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
SOURCES = Path(__file__).parents[2] / "bpf"
BY_STATE_ALONE = (
    Reason.NO_GENERATION,
    Reason.FRAGMENT_TABLE_FULL,
    Reason.FLOW_TABLE_FULL,
    Reason.UNKNOWN_CLASS,
)
"""Reasons that no frame brings about while the tables are whole and have room."""
NEVER = (Reason.INTERNAL,)
"""A helper of the kernel failed."""


@pytest.fixture(scope="module")
def outcome(bpf_machine: None) -> Outcome:
    """What came of all the packets, sent once."""
    return attack(PACKETS, SEED)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_once_told_a_wrong_program_is_right_today(site_room: Room, path: Path) -> None:
    """The steps that once showed a difference show none."""
    assert not play(site_room, unpacked(path.read_text())).wrong


def test_program_and_oracle_agree_on_every_attack(outcome: Outcome) -> None:
    """Random, mutated and crafted frames get from the program what the oracle says, and nothing else."""
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.sent == PACKETS
    assert outcome.judged + outcome.untried == PACKETS


@pytest.mark.skipif(PACKETS < 200_000, reason="too few packets to come upon every reason")
def test_attacks_reach_every_reason_that_a_frame_can_bring_about(outcome: Outcome) -> None:
    """Each reason that the program's source names was given to some frame, those of state alone excepted."""
    seen = {reason for reason, _, _ in outcome.seen}
    assert not given() - seen - set(BY_STATE_ALONE) - set(NEVER), report(outcome)


@pytest.mark.skipif(PACKETS < 20_000, reason="too few packets to come upon every delivery")
def test_attacks_reach_every_delivery_and_entry(outcome: Outcome) -> None:
    """Frames were dropped, delivered, handed to the stack, answered and passed on, from every entry."""
    assert {delivery for _, delivery, _ in outcome.seen} == set(Delivery)
    assert {entry for _, _, entry in outcome.seen} == set(Entry)


def given() -> set[Reason]:
    """The reasons that the program's source gives somewhere."""
    text = "".join(path.read_text() for path in SOURCES.iterdir() if path.name != "reasons.h")
    return {Reason[name] for name in re.findall(r"\bREASON_([A-Z_]+)", text) if name != "COUNT"}


def test_reasons_of_state_are_reached(bpf_machine: None) -> None:
    """Without a generation, without room, and with tables that do not know a class, each reason is given."""
    engine = Engine()
    namespace, devices = make_devices(6)
    try:
        with inside(namespace):
            assert {reach(engine, devices) for reach in (_none, _full, _flows, _unknown)} == {
                reason.shown for reason in BY_STATE_ALONE
            }
    finally:
        engine.close()
        os.close(namespace)


def _lab(engine: Engine, devices: list[int]) -> Lab:
    engine.reset()
    return Lab(engine, devices)


def _none(engine: Engine, devices: list[int]) -> str:
    lab = _lab(engine, devices)
    engine.reset()
    return lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four)))


def _full(engine: Engine, devices: list[int]) -> str:
    lab = _lab(engine, devices)
    words = [
        lab.word_of(lab.a, ip(lab.a.four, lab.b.four, TCP, bytes(24), IpOptions(id=number, more=True)))
        for number in range(engine.capacity.fragments + 1)
    ]
    return words[-1]


def _flows(engine: Engine, devices: list[int]) -> str:
    lab = _lab(engine, devices)
    lab.serve(WEB, TCP, [(lab.b.four, WEB)])
    lab.put_endpoint(lab.a, quota=0)
    return lab.word_of(lab.a, tcp(Flow(lab.a.four, SERVICE4)))


def _unknown(engine: Engine, devices: list[int]) -> str:
    lab = _lab(engine, devices)
    number = lab.isolate(lab.b, Direction.INGRESS, allows((1, 1)))
    engine.write([Put("rows", (number, 1), settled(0))])
    return lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four)))

"""The oracle's answers beside the program's: cases run on the second instance; what differs, as a report."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from cloche.agent.narrate import port_text
from cloche.analysis.replay import Case
from cloche.datapath.frames import make_frame
from cloche.datapath.second import Second
from cloche.datapath.testrun import Result
from cloche.model.address import format_address
from cloche.model.flow import Delivery, Entry, Packet, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason


class Said(msgspec.Struct, frozen=True):
    """One answer. ``rule``: the oracle's names the policy, the program's its numbers."""

    verdict: str
    reason: str
    rule: str


class Difference(msgspec.Struct, frozen=True):
    """What two answers were about, and how to ask again.

    ``explain``: the oracle, by command; ``frame`` (hexadecimal) into ``program`` on ``ifindex``, by test run:
    the program's answer by ``generation``, with ``mark`` as the packet's.
    """

    generation: int
    active: bool
    explain: str
    source: str
    destination: str
    port: str
    source_address: str
    destination_address: str
    oracle: Said
    datapath: Said
    program: str
    ifindex: int
    mark: int
    frame: str

    def __str__(self) -> str:
        when = "active" if self.active else "not yet active"
        asked = f"{self.source} to {self.destination} {self.port}"
        return (
            f"generation {self.generation} ({when}) differs from its policies: {asked}: the oracle says "
            f"{_words(self.oracle)}, the program {_words(self.datapath)}"
        )


class Compared(NamedTuple):
    """How many cases were run, in how many ms, and what differed."""

    asked: int
    ms: float
    differences: tuple[Difference, ...]


class Run(NamedTuple):
    """By which generation to judge (0: the active one), whether it is active, how long to go on at most."""

    generation: int
    active: bool
    seconds: float


def compare(second: Second, cases: Iterable[Case], run: Run) -> Compared:
    """Run the cases until one differs or the time is over; on the kernel thread. Raises OSError."""
    begin = time.perf_counter()
    run = run._replace(generation=second.judge_by(run.generation))
    asked, found = 0, []
    for case in cases:
        if time.perf_counter() - begin > run.seconds:
            break
        program, frame, ifindex, mark = _entrance(second, case)
        try:
            result = second.run(program, frame, ifindex, mark)
        except OSError:
            if case.link is None:
                raise
            continue  # its device was taken away by others: nothing can come from there
        asked += 1
        if not agrees(case, result):
            found.append(_difference(case, result, run, (program, ifindex, mark, frame.hex())))
            break
    return Compared(asked, (time.perf_counter() - begin) * 1000, tuple(found))


def _entrance(second: Second, case: Case) -> tuple[str, bytes, int, int]:
    """Where the packet comes in, as what frame, with which mark."""
    link = case.link
    if link is not None:
        return "from_endpoint", make_frame(case.packet, link.mac, link.gateway_mac), link.ifindex, 0
    mark = second.host_mark if case.packet.entry is Entry.HOST else 0
    return "from_stack", make_frame(case.packet), LOOPBACK, mark


LOOPBACK = 1
"""The one device that every network namespace has: ``from_stack`` does not look at it."""


def agrees(case: Case, result: Result) -> bool:
    """True when the program's answer is the oracle's.

    The oracle speaks of policy alone. What policy allows may still have nowhere to go: to an endpoint that
    is opened by the flip, or to an address that is no endpoint's of this host.
    """
    decision = case.decision
    if decision.verdict is not Verdict.ALLOW:
        same = result.verdict is Verdict.DENY and result.reason is decision.reason
        return same and result.direction is decision.deciding
    if case.opening:
        return result.reason is Reason.CLOSED
    if case.receiver:
        delivered = result.verdict is Verdict.ALLOW and result.delivery is Delivery.ENDPOINT
        return delivered and result.endpoint == case.receiver
    return result.reason in (Reason.NONE, Reason.UNKNOWN_DESTINATION)


def _difference(case: Case, result: Result, run: Run, entrance: tuple[str, int, int, str]) -> Difference:
    packet, decision = case.packet, case.decision
    rule = decision.egress_rule if decision.deciding is Direction.EGRESS else decision.ingress_rule
    program, ifindex, mark, frame = entrance
    port = _port(packet)
    return Difference(
        generation=run.generation,
        active=run.active,
        explain=f"cloche explain {case.names[0]} {case.names[1]} {port}",
        source=case.names[0],
        destination=case.names[1],
        port=port,
        source_address=format_address(packet.source),
        destination_address=format_address(packet.destination),
        oracle=Said(
            decision.verdict.name.lower(),
            _reason(decision.reason),
            f"{rule.policy} {rule.direction.name.lower()} {rule.index}" if rule is not None else "",
        ),
        datapath=Said(
            result.verdict.name.lower(),
            _reason(result.reason),
            f"set {result.set} class {result.class_} atom {result.atom} rule {result.rule}",
        ),
        program=program,
        ifindex=ifindex,
        mark=mark,
        frame=frame,
    )


def _port(packet: Packet) -> str:
    return port_text(packet.protocol, packet.icmp if packet.is_icmp else packet.destination_port)


def _reason(reason: Reason) -> str:
    return "" if reason is Reason.NONE else reason.shown


def _words(said: Said) -> str:
    return f"{said.verdict} {said.reason}".strip()

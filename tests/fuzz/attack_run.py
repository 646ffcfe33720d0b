"""Throws frames at the program and compares every answer with the oracle's.

Invariant: whatever a frame holds, the program's verdict, reason, delivery and new addresses are the oracle's;
and it does nothing that no frame may do (``storm/judging.c``). ``attack_pool`` does it many times.
"""

from __future__ import annotations

from random import Random

from attack_frames import Attacker
from attack_site import KEYS, UPLINK, Change, Forget, Send, Site, Step, Storm, Wait
from attack_storm import Sender
from frame_reading import read, read_uplink

from cloche.datapath.testrun import Engine, Result
from cloche.model.flow import Decision, Delivery, Packet, Verdict
from cloche.model.reasons import Reason
from cloche.model.tracker import Tracker, step
from frames import SCTP, TCP, UDP, packet_of, split

PASSED_ON = 0xFFFFFFFF
STRETCH = 1500
"""Packets between two emptyings of the flow table: the reference tracker copies itself for each."""
BASES, VARIATIONS = 128, 256
"""Frames between two emptyings where each is followed by a storm, and packets in that."""
WAITS = (
    1,
    1_000_000,
    1_000_000_000,
    5_000_000_000,
    29_000_000_000,
    31_000_000_000,
    61_000_000_000,
    601_000_000_000,
)


class Difference(AssertionError):  # noqa: N818 - what is looked for
    """The program did what it should not."""


class Run:
    """Steps on one site. ``sent``: packets; ``judged``: by the oracle; ``untried``: too short to be run."""

    def __init__(self, engine: Engine, devices: list[int], ask_oracle: bool = True) -> None:
        self.site = Site(engine, devices)
        self.sender = Sender(self.site)
        self.tracker = Tracker()
        self.result: Result | None = None
        self.sent = self.untried = self.judged = 0
        self.ask_oracle = ask_oracle

    def do(self, one: Step) -> None:
        """One step; Difference when the program and the oracle do not agree."""
        match one:
            case Change(seed):
                self.site.change(seed)
                self.sender.learn()
            case Wait(ns):
                self.site.wait(ns)
            case Forget():
                self.site.engine.forget("flows", "fragments", "affinity")
                self.tracker = Tracker()
            case Send(by, frame):
                self._send(by, frame)
            case Storm():
                self._storm(one)

    def _storm(self, one: Storm) -> None:
        blown = self.sender.storm(*one)
        self.site.now = self.site.engine.config().clock_ns
        self.sent += blown.sent
        self.untried += blown.untried
        if blown.wrong:
            raise Difference(blown.wrong)

    def _send(self, by: str, frame: bytes) -> None:
        site, origin = self.site, self.site.origin(by)
        self.result, outlaw = self.sender.send(by, frame)
        self.sent += 1
        if self.result is None:
            self.untried += 1
            return
        result = _passed_on(self.result) if by == UPLINK else self.result
        if not self.ask_oracle:
            if outlaw:
                raise Difference(f"{outlaw}\nprogram {result}")
            return
        self.judged += 1
        said = read_uplink(site.world, frame) if by == UPLINK else read(site.world, frame, origin)
        packet = said if isinstance(said, Packet) else None
        if isinstance(said, Packet):
            decision, self.tracker = step(site.world, self.tracker, said, site.now)
        else:
            decision = said
        wrong = compare(decision, result, packet) or outlaw
        if wrong:
            raise Difference(f"{wrong}\npacket {packet}\noracle {decision}\nprogram {result}")


def _passed_on(result: Result) -> Result:
    """What is no IP goes on to the stack at once, with no answer left."""
    if result.retval != PASSED_ON or result.verdict is not Verdict.UNSET:
        return result
    return result._replace(verdict=Verdict.ALLOW, delivery=Delivery.PASS, direction=None)


def compare(decision: Decision, result: Result, packet: Packet | None) -> str:
    """What the two answers differ in, "" when in nothing."""
    if (decision.verdict, decision.reason) != (result.verdict, result.reason):
        return f"{decision.reason.shown} against the program's {result.reason.shown}"
    if decision.delivery != result.delivery:
        return f"{decision.delivery!r} against the program's {result.delivery!r}"
    if decision.reason is not Reason.UNKNOWN_CLASS and decision.deciding != result.direction:
        return f"{decision.deciding!r} against the program's {result.direction!r}"
    if packet is None or decision.verdict is not Verdict.ALLOW or decision.delivery not in (1, 2):
        return ""
    if decision.endpoint != (KEYS[result.endpoint - 1] if result.endpoint else ""):
        return f"{decision.endpoint} against the program's {result.endpoint}"
    source, destination, protocol, upper = split(packet_of(result.frame))
    if (source, destination) != (decision.source, decision.destination):
        return f"leaves from {source.hex()} to {destination.hex()}"
    if protocol in (TCP, UDP, SCTP) and (packet.fragment is None or packet.fragment.offset == 0):
        ports = int.from_bytes(upper[:2], "big"), int.from_bytes(upper[2:4], "big")
        if ports != (decision.source_port, decision.destination_port):
            return f"leaves with ports {ports}"
    return ""


class Script:
    """The steps of one seed, each drawn when the one before is done, as answers depend on what passed.

    The oracle is asked about every packet, or, with ``storms``, each is followed by its variations and the
    oracle is not asked.
    """

    def __init__(self, one: Run, seed: int, storms: bool = False) -> None:
        self.run, self.draw, self.storms = one, Random(seed), storms
        self.run.ask_oracle = not storms
        self.attacker = Attacker(self.draw)
        self.steps: list[Step] = []

    def go(self, count: int) -> None:
        """Send ``count`` frames; Difference at the first that is not as it should be."""
        stretch, changes = (BASES * (1 + VARIATIONS), 0.03) if self.storms else (STRETCH, 0.004)
        until = 0
        while self.run.sent < count:
            if self.run.sent >= until:
                until += stretch
                self._do(Forget())
                self.attacker.forget()
            chance = self.draw.random()
            if chance < changes or len(self.steps) == 1:
                self._do(Change(self.draw.getrandbits(32)))
            elif chance < changes + 0.046:
                self._do(Wait(self.draw.choice(WAITS)))
            by, frame = self.attacker.next()
            self._do(Send(by, frame))
            self._hear(self.run.result)
            if self.storms and self.run.sent < count:
                most = min(VARIATIONS, count - self.run.sent)
                self._do(Storm(by, frame, self.draw.getrandbits(48), most))

    def _do(self, one: Step) -> None:
        self.steps.append(one)
        self.run.do(one)

    def _hear(self, result: Result | None) -> None:
        if result is None or result.verdict is not Verdict.ALLOW:
            return
        packet = packet_of(result.frame)
        if result.delivery is Delivery.ENDPOINT:
            self.attacker.passed(KEYS[result.endpoint - 1], packet)
        elif result.delivery is Delivery.STACK:
            self.attacker.passed("stack", packet)

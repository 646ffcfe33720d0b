"""Throws frames at the program and compares every answer with the oracle's.

Invariant: whatever a frame holds, the program's verdict, reason, delivery and new addresses are the
oracle's; a denied frame is dropped with its reason and unchanged; what an endpoint gets was sent by who its
source address says, and MACs are its own. ``attack_pool`` does it many times.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from attack_frames import Attacker
from attack_site import CAPACITY, KEYS, UPLINK, Change, Forget, Send, Site, Step, Wait, addresses, mac
from frame_reading import Origin, read, read_uplink

from cloche.datapath.settings import HOST_MARK
from cloche.datapath.testrun import Engine, Result
from cloche.model.address import Address
from cloche.model.flow import Decision, Delivery, Entry, Packet, Verdict
from cloche.model.reasons import Reason
from cloche.model.tracker import Tracker, step
from frames import SCTP, TCP, UDP, checksum_errors, packet_of, split

SHOT, REDIRECTED, PASSED_ON = 2, 7, 0xFFFFFFFF
SHORTEST = {b"\x08\x00": 34, b"\x86\xdd": 54}
"""With fewer bytes of IP header the kernel refuses the test run, and no device would hand them on."""
STRETCH = 1500
"""Packets between two emptyings of the flow table: the reference tracker copies itself for each."""
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
    """Steps on one site; ``seen`` counts what became of packets: reason, delivery, entry."""

    def __init__(self, engine: Engine, devices: list[int]) -> None:
        self.site = Site(engine, devices)
        self.tracker = Tracker()
        self.seen: Counter[tuple[Reason, Delivery, Entry]] = Counter()
        self.result: Result | None = None
        self.untried = self.judged = 0
        self.ask_oracle = True

    def do(self, one: Step) -> None:
        """One step; Difference when the program and the oracle do not agree."""
        match one:
            case Change(seed):
                self.site.change(seed)
            case Wait(ns):
                self.site.wait(ns)
            case Forget():
                self.site.engine.forget("flows", "fragments", "affinity")
                self.tracker = Tracker()
            case Send(by, frame):
                self._send(by, frame)

    def _send(self, by: str, frame: bytes) -> None:
        site, origin = self.site, self.site.origin(by)
        result = self.result = run(site, by, frame)
        if result is None:
            self.untried += 1
            return
        self.seen[result.reason, result.delivery, origin.entry] += 1
        if not self.ask_oracle:
            wrong = outlaw(frame, origin, result)
            if wrong:
                raise Difference(f"{wrong}\nprogram {result}")
            return
        self.judged += 1
        said = read_uplink(site.world, frame) if by == UPLINK else read(site.world, frame, origin)
        packet = said if isinstance(said, Packet) else None
        if isinstance(said, Packet):
            decision, self.tracker = step(site.world, self.tracker, said, site.now)
        else:
            decision = said
        wrong = compare(decision, result, packet) or outlaw(frame, origin, result)
        if wrong:
            raise Difference(f"{wrong}\npacket {packet}\noracle {decision}\nprogram {result}")


def run(site: Site, by: str, frame: bytes) -> Result | None:
    """The real program on the frame; None where the kernel's test run takes no frame so short."""
    number = KEYS.index(by) + 1 if by in KEYS else 5
    try:
        if by == UPLINK:
            return _passed_on(site.engine.run("from_uplink", frame, site.devices[0]))
        if by in ("host", "stack"):
            return site.engine.run("from_stack", frame, site.devices[0], HOST_MARK if by == "host" else 0)
        return site.engine.run("from_endpoint", frame, site.devices[number])
    except OSError:
        if len(frame) < SHORTEST.get(frame[12:14], 14):
            return None
        raise


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


def outlaw(frame: bytes, origin: Origin, result: Result) -> str:
    """What no frame may do, whatever the oracle says of it."""
    if result.verdict is Verdict.ALLOW:
        expected = PASSED_ON if result.delivery is Delivery.PASS else REDIRECTED
        if result.reason is not Reason.NONE or result.retval != expected:
            return f"allowed with {result.reason.shown}, returns {result.retval}"
    elif result.verdict is not Verdict.DENY or result.reason is Reason.NONE:
        return "dropped without a reason"
    if result.verdict is Verdict.DENY and result.delivery is not Delivery.BACK:
        if result.retval != SHOT or result.delivery is not Delivery.NOWHERE:
            return f"denied, but returns {result.retval}"
        return "" if result.frame == frame else "denied, but changed"
    if origin.entry is Entry.ENDPOINT and result.delivery is not Delivery.BACK:
        return _spoofed(frame, origin)
    if result.delivery is Delivery.ENDPOINT:
        gateway = bytes([2, 0, 0, 0, 2, result.endpoint])
        if result.frame[:12] != mac(result.endpoint) + gateway:
            return "delivered with somebody else's MACs"
    return _checksums(frame, result) if result.frame[14:] != frame[14:] else ""


def _spoofed(frame: bytes, origin: Origin) -> str:
    """An endpoint's frame passed: it has the endpoint's own MAC and one of its addresses."""
    six = frame[12:14] == b"\x86\xdd"
    source = Address(frame[22:38]) if six else Address(bytes(10) + b"\xff\xff" + frame[26:30])
    if frame[6:12] != origin.mac or source not in addresses(KEYS.index(origin.sender) + 1):
        return "passed from a spoofed source"
    return ""


def _checksums(frame: bytes, result: Result) -> str:
    """A rewritten packet has no checksum wrong that was right before."""
    if result.delivery is Delivery.BACK:
        return ""
    before, after = (set(checksum_errors(packet_of(one))) for one in (frame, result.frame))
    return f"spoils checksums: {after - before}" if after - before else ""


class Script:
    """The steps of one seed, each drawn when the one before is done, as answers depend on what passed.

    The oracle is asked in one stretch of ``sample``; invariants hold in all.
    """

    def __init__(self, one: Run, seed: int, sample: int = 1) -> None:
        self.sample = sample
        self.run, self.seed, self.draw = one, seed, Random(seed)
        self.attacker = Attacker(self.draw)
        self.steps: list[Step] = []
        self.packets = 0

    def go(self, count: int) -> None:
        """Send ``count`` frames; Difference at the first that is not as it should be."""
        while self.packets < count:
            if self.packets % STRETCH == 0:
                self.run.ask_oracle = self.packets // STRETCH % self.sample == self.seed % self.sample
                self._do(Forget())
                self.attacker.forget()
            chance = self.draw.random()
            if chance < 0.004 or not self.steps:
                self._do(Change(self.draw.getrandbits(32)))
            elif chance < 0.05:
                self._do(Wait(self.draw.choice(WAITS)))
            by, frame = self.attacker.next()
            self._do(Send(by, frame))
            self.packets += 1
            self._hear(self.run.result)

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


def new_engine() -> Engine:
    """A second instance of the program, with room for a stretch of packets."""
    return Engine(CAPACITY)

"""Sends frames by the C of ``storm/``: one at a time, or one varied many times; every answer is held against
what no frame may do, whatever the oracle says of it.

The structs are those of ``storm/storm.h``.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

from attack_ends import ODD, OTHERS, PODS
from attack_site import FRONTS, KEYS, PEER_MAC, RANGES, STACK, STRANGER, UPLINK, Site, addresses, mac
from benchmarks.building import library

from cloche.datapath import bpf
from cloche.datapath.layout import CONFIG_OFFSETS
from cloche.datapath.settings import HOST_MARK
from cloche.datapath.testrun import Result, decode
from cloche.model.flow import Delivery, Entry
from cloche.model.reasons import Reason

STORM = Path(__file__).parent / "storm"
SENDERS = (STRANGER, *KEYS, "host", "stack", UPLINK)
"""By their numbers in C."""
ENTRIES = (Entry.ENDPOINT, Entry.HOST, Entry.STACK)
FINE, UNTRIED = 0, 1
POOL, ROOM_IN, ROOM_OUT = 40, 2048, 4096
Seen = Counter[tuple[Reason, Delivery, Entry]]


class _Party(ctypes.Structure):
    _fields_ = (
        ("ifindex", ctypes.c_uint32),
        ("open", ctypes.c_uint32),
        ("mac", ctypes.c_uint8 * 6),
        ("gateway_mac", ctypes.c_uint8 * 6),
        ("addresses", ctypes.c_uint8 * 16 * 2),
    )


class _Range(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint8 * 16), ("bits", ctypes.c_uint32))


class _Site(ctypes.Structure):
    _fields_ = (
        ("clock", ctypes.c_void_p),
        ("parties", _Party * (1 + len(KEYS))),
        ("ranges", _Range * 2),
        ("stack_mac", ctypes.c_uint8 * 6),
        ("peer_mac", ctypes.c_uint8 * 6),
        ("stack_ifindex", ctypes.c_uint32),
        ("host_mark", ctypes.c_uint32),
        ("programs", ctypes.c_int32 * 3),
        ("pool_sizes", ctypes.c_uint32 * 2),
        ("pool", ctypes.c_uint8 * 16 * POOL * 2),
        ("seen", ctypes.c_uint64 * len(ENTRIES) * len(Delivery) * len(Reason)),
    )


class _Sent(ctypes.Structure):
    _fields_ = (
        ("wait_ns", ctypes.c_uint64),
        ("by", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("frame", ctypes.c_uint8 * ROOM_IN),
    )


class _Answer(ctypes.Structure):
    _fields_ = (
        ("wrong", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("cb", ctypes.c_uint32 * 5),
        ("length", ctypes.c_uint32),
        ("frame", ctypes.c_uint8 * ROOM_OUT),
    )


class Variation(NamedTuple):
    """What one seed makes of a frame: time that passes first, who sends, and what."""

    wait_ns: int
    by: str
    frame: bytes


class Blown(NamedTuple):
    """What came of a storm: ``sent`` were as they should be, those too short for a test run (``untried``)
    included; then came ``wrong``, if anything, which says what, of which frame, with what answer."""

    sent: int
    untried: int
    wrong: str


@cache
def compiled() -> ctypes.CDLL:
    """The compiled C. Raises CalledProcessError when it does not compile."""
    sources = sorted(STORM.glob("*.c"))
    headers = [*STORM.glob("*.h"), STORM.parents[2] / "bpf/types.h", STORM.parents[2] / "bpf/reasons.h"]
    made = ctypes.CDLL(str(library(sources, headers)))
    made.storm.restype = ctypes.c_uint64
    made.words.restype = ctypes.c_char_p
    made.vary.restype = None
    made.struct_sizes.restype = ctypes.c_uint64
    sizes = tuple(made.struct_sizes(number) for number in range(3))
    assert sizes == tuple(map(ctypes.sizeof, (_Site, _Sent, _Answer))), sizes
    return made


class Sender:
    """The C, with what it must know of one site."""

    def __init__(self, site: Site) -> None:
        self._c, self._site = compiled(), site
        self._base, self._sent, self._answer = _Sent(), _Sent(), _Answer()
        self._known = _Site()
        self._known.clock = _clock_of(site)
        programs = site.engine.loaded.programs
        self._known.programs[:] = (programs.from_endpoint, programs.from_stack, programs.from_uplink)
        self._know_network()
        self.learn()

    def _know_network(self) -> None:
        known, devices = self._known, self._site.devices
        known.stack_mac[:], known.peer_mac[:] = STACK.mac, PEER_MAC
        known.stack_ifindex, known.host_mark = devices[0], HOST_MARK
        known.parties[0].ifindex = devices[5]
        for number in range(1, len(KEYS) + 1):
            party = known.parties[number]
            party.ifindex = devices[number]
            party.mac[:], party.gateway_mac[:] = mac(number), bytes([2, 0, 0, 0, 2, number])
            for six, address in enumerate(addresses(number)):
                party.addresses[six][:] = address
        for six in range(2):
            known.ranges[six].address[:], known.ranges[six].bits = RANGES[six].address, RANGES[six].length
            pool = (*PODS[six], FRONTS[six], *OTHERS[six], *PODS[six], FRONTS[six], *ODD[six])
            known.pool_sizes[six] = len(pool)
            for index, address in enumerate(pool):
                known.pool[six][index][:] = address

    def learn(self) -> None:
        """Which endpoints are open now."""
        for number, key in enumerate(KEYS, 1):
            self._known.parties[number].open = key in self._site.up

    def send(self, by: str, frame: bytes) -> tuple[Result | None, str]:
        """The answer to a frame, and what is wrong with it, "": nothing. None: too short for a test run."""
        self._load(by, frame)
        wrong = self._c.send_frame(*map(ctypes.byref, (self._known, self._base, self._answer)))
        if wrong == UNTRIED:
            return None, ""
        return self._result(), self._word() if wrong else ""

    def storm(self, by: str, frame: bytes, seed: int, count: int) -> Blown:
        """Send ``count`` variations of a frame, with time passing now and then."""
        self._load(by, frame)
        untried = ctypes.c_uint32()
        told = map(ctypes.byref, (self._sent, self._answer, untried))
        known, base = ctypes.byref(self._known), ctypes.byref(self._base)
        sent = self._c.storm(known, base, ctypes.c_uint64(seed), ctypes.c_uint64(count), *told)
        if sent == count:
            return Blown(sent, untried.value, "")
        wrong = f"{self._word()}\nvariation {seed + sent}: {_taken(self._sent)}\nprogram {self._result()}"
        return Blown(sent, untried.value, wrong)

    def variation(self, by: str, frame: bytes, seed: int) -> Variation:
        """What a storm sends for one seed."""
        self._load(by, frame)
        known, base, sent = map(ctypes.byref, (self._known, self._base, self._sent))
        self._c.vary(known, base, ctypes.c_uint64(seed), sent)
        return _taken(self._sent)

    def seen(self) -> Seen:
        """What became of all that was sent: reason, delivery, entry."""
        found: Seen = Counter()
        for reason in Reason:
            for delivery in Delivery:
                for entry, count in zip(ENTRIES, self._known.seen[reason][delivery], strict=True):
                    found[reason, delivery, entry] += count
        return +found

    def _load(self, by: str, frame: bytes) -> None:
        self._base.by, self._base.length = SENDERS.index(by), len(frame)
        ctypes.memmove(self._base.frame, frame, len(frame))

    def _word(self) -> str:
        return str(self._c.words(self._answer.wrong).decode())

    def _result(self) -> Result:
        answer = self._answer
        context = bpf.SkbContext(0, answer.mark, tuple(answer.cb))
        return decode(bpf.TestRun(answer.retval, ctypes.string_at(answer.frame, answer.length), context, 0))


def _clock_of(site: Site) -> int:
    """Where the program reads the time."""
    memory = site.engine.loaded.maps.config.mapped()
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) + CONFIG_OFFSETS["clock_ns"]


def _taken(sent: _Sent) -> Variation:
    return Variation(sent.wait_ns, SENDERS[sent.by], ctypes.string_at(sent.frame, sent.length))

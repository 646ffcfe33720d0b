"""The real program on crafted frames: a second instance with its own maps, for tests and replay.

What a test run does not do is delivery; where a packet would have gone stands in ``Result.delivery``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cloche.datapath import bpf
from cloche.datapath.events import EventReader
from cloche.datapath.layout import CONFIG_OFFSETS, CONFIG_QUICK_OFF, CONFIG_SIZE, Config
from cloche.datapath.loader import OBJECT, load_unpinned
from cloche.datapath.maps import F_MMAPABLE, Map
from cloche.datapath.readback import read_back
from cloche.datapath.reconcile import Step, Writer
from cloche.datapath.settings import NO_DEVICE, Settings, StackDevice, make_config
from cloche.model.flow import Delivery, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.tables.schema import Capacity, Tables, Write

SMALL = Capacity(
    endpoints=64,
    addresses=4096,
    prefixes=4096,
    sets=128,
    classes=256,
    cells=256 * 1024,
    services=1024,
    backends=4096,
    flows=16384,
    flow_slots=64 * 1024,
    fragments=128,
    affinity=1024,
    counters=4096,
    names=64,
    ring_bytes=64 * 1024,
)
_CLOCK_AT = CONFIG_OFFSETS["clock_ns"] // 8
_DEFAULTS = Settings()
_KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)

_WRITTEN = ("names", "affinity", "flows", "fragments")


class Result(NamedTuple):
    """What the program did with a frame: its return value, the frame after it, and what it left in cb.

    ``direction`` is the one that decided, None when neither did; numbers are local to this host;
    ``backend`` is an index in backends, None when no service was named.
    """

    retval: int
    frame: bytes
    verdict: Verdict
    reason: Reason
    delivery: Delivery
    direction: Direction | None
    set: int
    atom: int
    class_: int
    endpoint: int
    rule: int
    backend: int | None
    mark: int
    duration_ns: int


class Engine:
    """Maps and programs that are attached to nothing and vanish on ``close``."""

    def __init__(self, capacity: Capacity = SMALL, path: Path = OBJECT) -> None:
        self.loaded = load_unpinned(capacity, path)
        self.capacity = capacity
        self._writer = Writer(self.loaded.maps)
        self._runners = {name: bpf.Runner(fd) for name, fd in self.loaded.programs._asdict().items()}
        self._config = self.loaded.maps.config.mapped()
        self._flags = 0
        self._store(make_config(_DEFAULTS, NO_DEVICE, _KEY))

    def take_long_way(self, always: bool = True) -> None:
        """Whether packets that could go the short way take the long one, from now on and until ``reset``."""
        self._flags = CONFIG_QUICK_OFF if always else 0
        self._store(self.config()._replace(flags=self.config().flags & ~CONFIG_QUICK_OFF))

    def write(self, writes: Iterable[Write]) -> None:
        """Apply writes in order; a Grace is waited for."""
        for _ in self._writer.apply(writes):
            pass

    def steps(self, writes: Iterable[Write]) -> Iterator[Step]:
        """Apply writes one by one, yielding after each."""
        return self._writer.apply(writes, chunk=1)

    def tables(self) -> Tables:
        """What the maps hold."""
        return read_back(self.loaded.maps)

    def configure(self, settings: Settings = _DEFAULTS, stack: StackDevice = NO_DEVICE) -> None:
        """Write the configuration entry; generation, clock and hash key stay as they are."""
        old = self.config()
        self._store(make_config(settings, stack, old.hash_key, old.generation, old.clock_ns))

    def config(self) -> Config:
        """The configuration entry."""
        return Config.unpack(bytes(self._config[:CONFIG_SIZE]))

    def _store(self, config: Config) -> None:
        self._config[:CONFIG_SIZE] = config._replace(flags=config.flags | self._flags).pack()

    def set_clock(self, ns: int) -> None:
        """The time the program sees from now on; 0: the machine's."""
        self._config.cast("Q")[_CLOCK_AT] = ns

    def forget(self, *names: str) -> None:
        """Empty these hash maps (flows, fragments, affinity, ...)."""
        for name in names:
            table = getattr(self.loaded.maps, name)
            for key, _ in list(table.items()):
                table.remove(key)

    def reset(self) -> None:
        """As new: every map empty, the configuration the default one. Much quicker than a new engine."""
        maps = self.loaded.maps
        flowed = next(maps.flows.items(), None) is not None
        self.forget("links", "addresses", "services", "members", *_WRITTEN)
        for table in maps:
            if table.info.flags & F_MMAPABLE and table is not maps.config:
                memory = table.mapped()
                memory[:] = bytes(len(memory))
        self._writer = Writer(maps)
        _zero(maps.owners)
        _zero(maps.counters)
        _zero(maps.reasons)
        if flowed:
            _zero(maps.flow_slots)
        _zero(maps.flow_words)
        _zero(maps.fragment_slots)
        _zero(maps.hints)
        EventReader(maps.events.fd).discard()
        self._flags = 0
        self._store(make_config(_DEFAULTS, NO_DEVICE, _KEY))

    def run(self, program: str, frame: bytes, ifindex: int, mark: int = 0, segment: int = 0) -> Result:
        """Run a program (a field of ``pins.Programs``) on a frame that came in on a device.

        ``segment``: as if it were to be cut into that many bytes of payload each, 0: as it is.
        OSError when the kernel refuses the frame (under 14 bytes, over about 3500) or the device.
        """
        done = self._runners[program].run(frame, bpf.SkbContext(ifindex, mark, segment=segment))
        return decode(done)

    def close(self) -> None:
        """Let everything go."""
        self.loaded.maps.close()
        self.loaded.programs.close()


def _zero(table: Map) -> None:
    """Make every entry of an array zero."""
    used = [(key, bytes(len(value))) for key, value in table.items() if any(value)]
    for key, empty in used:
        table.put(key, empty)


def decode(done: bpf.TestRun) -> Result:
    """A test run's result in words; the layout of cb is in ``bpf/types.h``."""
    first, second, third, rule, backend = done.context.cb
    direction = first >> 24 & 0xFF
    return Result(
        retval=done.retval,
        frame=done.frame,
        verdict=Verdict(first & 0xFF),
        reason=Reason(first >> 8 & 0xFF),
        delivery=Delivery(first >> 16 & 0xFF),
        direction=Direction(direction) if direction < 2 else None,
        set=second & 0xFFFF,
        atom=second >> 16,
        class_=third & 0xFFFF,
        endpoint=third >> 16,
        rule=rule,
        backend=backend - 1 if backend else None,
        mark=done.context.mark,
        duration_ns=done.duration_ns,
    )

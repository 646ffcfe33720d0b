"""A compiler, the maps it writes and the second instance that replays them: what tests of replay share."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cloche.agent.comparing import Compared, Run, compare
from cloche.analysis.replay import Case, Replay
from cloche.compiler import Compiler
from cloche.datapath import namespaces
from cloche.datapath.devices import netlink
from cloche.datapath.second import Second
from cloche.datapath.settings import Settings, StackDevice
from cloche.datapath.testrun import SMALL, Engine
from cloche.model.state import Event
from cloche.tables.schema import Flip, Write
from worlds import HERE, NAMES

STACK = StackDevice(77, bytes.fromhex("020000007777"))
LONG = 60.0


def make_links() -> int:
    """A namespace with the devices that ``worlds.attachment`` names; an open descriptor that keeps it."""
    with namespaces.private_namespace():
        with netlink() as route:
            for number in range(101, 101 + len(NAMES)):
                peer = {"ifname": f"peer{number}"}
                route.link("add", ifname=f"link{number}", kind="veth", index=number, peer=peer)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def flip_of(writes: Sequence[Write]) -> int:
    """Where the flip stands, or how many there are without one."""
    return next((n for n, write in enumerate(writes) if isinstance(write, Flip)), len(writes))


class Rehearsed:
    """One host whose every change is replayed, before its flip and after it."""

    def __init__(self, engine: Engine, second: Second, seed: int = 0) -> None:
        engine.reset()
        engine.configure(Settings(), STACK)
        self.engine, self.second = engine, second
        self.compiler = Compiler(HERE, SMALL)
        self.replay = Replay(HERE, seed)
        self.last: Sequence[Write] = ()

    def prepare(self, events: Sequence[Event]) -> int:
        """Compile a change and write it up to its flip; the generation it will be."""
        change = self.compiler.update(events)
        self.replay.learn(events, change.writes, self.compiler.tables)
        self.last = change.writes
        self.engine.write(self.last[: flip_of(self.last)])
        return change.generation

    def finish(self) -> None:
        """The flip and what follows it."""
        self.engine.write(self.last[flip_of(self.last) :])
        self.replay.flipped()

    def ask(self, generation: int, most: int, *, active: bool) -> Compared:
        """Ask the next packets by a generation."""
        return compare(self.second, self.cases(most), Run(generation, active, LONG))

    def cases(self, most: int) -> list[Case]:
        """The next packets and the oracle's decisions."""
        return self.replay.take(LONG, most)

    def change(self, events: Sequence[Event], before: int = 40, after: int = 120) -> list[Compared]:
        """A whole change, replayed before and after its flip."""
        generation = self.prepare(events)
        early = self.ask(generation, before, active=False)
        self.finish()
        return [early, self.ask(generation, after, active=True)]

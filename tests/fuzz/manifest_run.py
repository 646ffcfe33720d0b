"""Reads spoilt manifests, compiles what is left of them, and compares the verdicts with the oracle's.

Invariant: any bytes give findings that say what is wrong, or a world; no other exception; and a world's
verdicts are the same by the compiled tables and by the oracle.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

from manifest_mutations import document

import worlds
from cloche.compiler import Compiler
from cloche.errors import Finding, InputError, Severity, TooBigError
from cloche.model.evaluate import evaluate
from cloche.model.policy import Direction
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Attachment, Endpoint, Host
from cloche.orchestrators.sandbox import World, build, check, difference, read
from cloche.tables.lookup import judge
from cloche.tables.schema import Capacity

ROOM = Capacity(endpoints=32, addresses=512, prefixes=512, sets=64, classes=256, cells=64 * 1024, atoms=256)
PACKETS = 12
"""Packets asked about in each world."""


class Outcome(NamedTuple):
    """``said``: how many documents were what; ``failures``: what reproduces each failure."""

    said: Counter[str]
    failures: tuple[str, ...]


class Reader:
    """One compiler that is told of world after world, so that what goes is gone."""

    def __init__(self) -> None:
        self.compiler = Compiler(worlds.HERE, ROOM)
        self.compiler.update([Put(Host(worlds.HERE))])
        self.world = World()
        self.incarnation = 0

    def take(self, path: Path, draw: Random) -> str:
        """What a file's document is: ``refused``, ``too big`` or ``world``. AssertionError: it is wrong."""
        found = check([str(path)])
        assert all(well_said(finding, path) for finding in found), found
        refused = any(finding.severity is Severity.ERROR for finding in found)
        try:
            world = build(read([str(path)]))
        except InputError:
            assert refused, "refused without an error found by check"
            return "refused"
        assert not refused, found
        try:
            self._become(world)
        except TooBigError:
            return "too big"
        state = self.compiler.state
        for packet in (
            worlds.packets(state, draw, PACKETS) if any(map(worlds.is_here, state.endpoints.values())) else ()
        ):
            expected, decided = evaluate(state, packet), judge(self.compiler.tables, packet)
            same = (decided.verdict, decided.reason, decided.deciding, decided.egress_rule)
            assert same == (expected.verdict, expected.reason, expected.deciding, expected.egress_rule), (
                packet
            )
            if expected.deciding is not Direction.EGRESS:
                assert decided.ingress_rule == expected.ingress_rule, packet
        return "world"

    def _become(self, world: World) -> None:
        events: list[Event] = list(difference(self.world, world))
        wanted = {one.key for one in world.objects if isinstance(one, Endpoint) and not one.host_network}
        attached = self.compiler.state.attachments
        events += [Delete("Attachment", key) for key in sorted(attached.keys() - wanted)]
        numbers = sorted(set(range(1, ROOM.endpoints)) - {one.number for one in attached.values()})
        fresh = sorted(wanted - attached.keys())
        if len(fresh) > len(numbers):
            raise TooBigError("endpoints", len(fresh), len(numbers), [])
        for key, number in zip(fresh, numbers, strict=False):
            self.incarnation += 1
            mac = bytes((2, 0, 0, 0, 0, number))
            events.append(Put(Attachment(key, number, self.incarnation, 100 + number, mac, mac)))
        self.compiler.update(events)
        self.world = world


def well_said(finding: Finding, path: Path) -> bool:
    """True when a finding says where, and something."""
    return finding.file in ("", str(path)) and bool(finding.message) and len(finding.message) < 2000


def attack(count: int, seed: int) -> Outcome:
    """Take ``count`` documents, on every processor."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(_work, [range(seed + n, seed + count, workers) for n in range(workers)]))
    said: Counter[str] = Counter()
    for outcome in outcomes:
        said.update(outcome.said)
    return Outcome(said, tuple(text for outcome in outcomes for text in outcome.failures))


def _work(seeds: range) -> Outcome:
    reader, said, failures = Reader(), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "document.yaml"
        for seed in seeds:
            draw = Random(seed)
            content = document(draw)
            path.unlink(missing_ok=True)  # a file cut to nothing and written anew waits for the disk
            path.write_bytes(content)
            try:
                said[reader.take(path, draw)] += 1
            except Exception as problem:
                failures.append(f"seed {seed}: {type(problem).__name__}: {problem}\n{content!r}")
                reader = Reader()
                if len(failures) > 3:
                    break
    return Outcome(said, tuple(failures))

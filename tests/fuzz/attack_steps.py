"""Steps to keep: a difference made small, and written as JSON for ``tests/fuzz/corpus/``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

from attack_run import Difference, Run
from attack_site import Change, Forget, Send, Step, Storm, Wait

from cloche.datapath.testrun import Engine

REPLAYS = int(os.environ.get("CLOCHE_REPLAYS", "60"))
"""How often a difference is tried with fewer steps."""
KINDS = {kind.__name__.lower(): kind for kind in (Change, Wait, Send, Forget, Storm)}


class Room(NamedTuple):
    """An engine, and the devices that a site needs in the namespace that the thread is in."""

    engine: Engine
    devices: list[int]


class Played(NamedTuple):
    """What playing steps came to: the first that made a difference, and which; "" and the last: none did."""

    at: int
    wrong: str


def packed(steps: list[Step]) -> str:
    """Steps as JSON, one a line."""
    rows = []
    for one in steps:
        values = [value.hex() if isinstance(value, bytes) else value for value in one]
        rows.append(json.dumps([type(one).__name__.lower(), *values]))
    return "[\n" + ",\n".join(rows) + "\n]"


def unpacked(text: str) -> list[Step]:
    """The steps of ``packed``."""
    steps: list[Step] = []
    for kind, *values in json.loads(text):
        if kind in ("send", "storm"):
            values[1] = bytes.fromhex(values[1])
        steps.append(KINDS[kind](*values))  # type: ignore[arg-type]
    return steps


def play(room: Room, steps: list[Step]) -> Played:
    """Play steps on a new site. The oracle is asked where nothing storms: it evicts nothing."""
    run = Run(*room, ask_oracle=not any(isinstance(one, Storm) for one in steps))
    for at, one in enumerate(steps):
        try:
            run.do(one)
        except Difference as found:
            return Played(at, str(found))
    return Played(len(steps) - 1, "")


def smallest(room: Room, steps: list[Step]) -> list[Step]:
    """Fewer steps with a difference still; without storms, if what they send makes it one by one too."""
    best = shrink(room, steps)
    if not any(isinstance(one, Storm) for one in best):
        return best
    single = list(_unrolled(room, best))
    played = play(room, single)
    return shrink(room, single[: played.at + 1]) if played.wrong else best


def _unrolled(room: Room, steps: list[Step]) -> Iterator[Step]:
    """The steps with each storm as what it sends."""
    sender = Run(*room).sender
    for one in steps:
        if not isinstance(one, Storm):
            yield one
            continue
        for number in range(one.count):
            made = sender.variation(one.by, one.frame, one.seed + number)
            if made.wait_ns:
                yield Wait(made.wait_ns)
            yield Send(made.by, made.frame)


def shrink(room: Room, steps: list[Step]) -> list[Step]:
    """Fewer steps with a difference still, by leaving out ever smaller runs of them."""
    begin = max((n for n, one in enumerate(steps) if isinstance(one, Forget)), default=0)
    best = [one for one in steps[:begin] if isinstance(one, Change | Wait)] + steps[begin:]
    if not play(room, best).wrong:
        return steps
    size, tries = len(best) // 2, 0
    while size and tries < REPLAYS:
        at = 0
        while at < len(best) - 1 and tries < REPLAYS:
            fewer = best[:at] + best[min(at + size, len(best) - 1) :]
            tries += 1
            if play(room, fewer).wrong:
                best = fewer
            else:
                at += size
        size //= 2
    return best

"""The process that attests: reads the kernel's maps, compiles the model from nothing, compares the two.

It shares nothing with the worker but the compiler itself: no state, no numbers. It writes nothing.
"""

from __future__ import annotations

import socket
import sys
import time

from cloche.agent.disk import Disk
from cloche.agent.pipe import EndedError, Pipe
from cloche.agent.refusals import as_refusal
from cloche.agent.statement import Attested, Read, Snapshot
from cloche.agent.wanted import effective, read_kept
from cloche.compiler import Compiler, digest
from cloche.compiler.comparing import compare
from cloche.config import Config
from cloche.datapath.pins import opened_maps, pin_directory
from cloche.datapath.readback import read_back
from cloche.errors import ClocheError, MachineError
from cloche.model.state import Put
from cloche.tables.schema import Tables

NAMED = 100
"""Differences that are told; the rest are counted."""


def read(config: Config) -> Tables:
    """What the kernel holds, with what its numbers stand for. Raises ClocheError, OSError."""
    maps = opened_maps(pin_directory(config.instance))
    if maps is None:
        raise MachineError(f"nothing is pinned for instance {config.instance}")
    try:
        tables = read_back(maps)
    finally:
        maps.close()
    tables.rules = Disk(config).load_rules()
    return tables


def compile_anew(snapshot: Snapshot) -> Tables:
    """The tables that the model asks for, from nothing. Raises TooBigError."""
    kept = read_kept(snapshot.kept)
    world = kept.active or effective(kept.world, kept.hold)
    compiler = Compiler(snapshot.host.name, snapshot.config.capacity)
    attached = (one.attachment for one in snapshot.attached)
    compiler.update(Put(value) for value in (snapshot.host, *attached, *world.objects))
    return compiler.tables


def judge(snapshot: Snapshot, have: Tables, read_ms: float) -> Attested:
    """What there is to say. Raises TooBigError."""
    begin = time.perf_counter()
    want = compile_anew(snapshot)
    compile_ms = (time.perf_counter() - begin) * 1000
    names = {one.attachment.number: one.attachment.endpoint for one in snapshot.attached}
    found = list(compare(have, want, lambda number: names.get(number, f"number {number}")))
    kernel, model = digest(have), digest(want)
    if have.generation != snapshot.generation:
        found.insert(0, f"generation {have.generation} is active, should be {snapshot.generation}")
    if kernel != model and not found:
        found.append(f"the hashes differ: {kernel} in the kernel, {model} of the model")
    return Attested(
        exact=not found,
        generation=snapshot.generation,
        kernel=kernel,
        model=model,
        differences=tuple(found[:NAMED]),
        count=len(found),
        read_ms=round(read_ms, 3),
        compile_ms=round(compile_ms, 3),
    )


def work(pipe: Pipe) -> None:
    """Attest once: read until nothing was written meanwhile, then judge."""
    try:
        asked = pipe.receive()
        while isinstance(asked, Snapshot):
            snapshot = asked
            begin = time.perf_counter()
            have = read(snapshot.config)
            read_ms = (time.perf_counter() - begin) * 1000
            pipe.send(Read())
            asked = pipe.receive()
        pipe.send(judge(snapshot, have, read_ms))
    except (ClocheError, OSError) as error:
        pipe.send(as_refusal(error if isinstance(error, ClocheError) else ClocheError(str(error))))
    except EndedError:
        return


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        work(Pipe(connection))

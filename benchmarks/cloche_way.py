"""Cloche as a way between two namespaces: the compiler's tables and the real datapath on a host of its own.

The host is a network namespace; there is no agent, but what the agent does for packets is done: events are on
and read, counters count, both directions are judged, services are there.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import world
from benchmarks.paths import Way, namespaces, tune
from benchmarks.rounds import PORT
from cloche.compiler import Compiler
from cloche.datapath import Datapath, Settings, remove_instance
from cloche.datapath.events import EventReader
from cloche.datapath.namespaces import call_in
from cloche.model.address import format_address
from cloche.model.state import Put
from cloche.model.topology import Attachment, Endpoint
from cloche.tables.schema import Capacity

READ_SECONDS = 0.05
_numbers = itertools.count()


def _build(instance: str, rules: int) -> tuple[Datapath, list[str]]:
    """Make the instance here, with a client and a server and their policies; both namespaces' names."""
    datapath = Datapath.open(instance, Capacity())
    datapath.prepare_host(world.RANGES)
    datapath.configure(Settings())
    client = world.endpoint("client", 1, world.HOST)
    server = world.endpoint("server", 2, world.HOST)
    attached = [_attach(datapath, made, number) for number, made in enumerate((client, server), 1)]
    compiler = Compiler(world.HOST, datapath.capacity)
    events = [*world.events(client, server, rules, PORT), *(Put(made) for made in attached)]
    change = compiler.update(events)
    for _ in datapath.write(change.writes):
        pass
    return datapath, [datapath.netns_path(made.key).name for made in (client, server)]


def _attach(datapath: Datapath, endpoint: Endpoint, number: int) -> Attachment:
    return datapath.attach_endpoint(endpoint.key, number, number, endpoint.addresses)


@contextmanager
def _reading(reader: EventReader) -> Iterator[None]:
    """Take events from the ring buffer as an agent would, so that the program finds room for new ones."""
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(READ_SECONDS):
            while reader.read():
                pass

    thread = threading.Thread(target=read, name="events")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _check(datapath: Datapath, rules: int) -> None:
    """Raises RuntimeError unless a rule on either end (of one rule: it alone) counted connections."""
    allowed = [counter.allowed for counter in datapath.counters().values() if counter.allowed]
    if len(allowed) < min(rules, 2):
        raise RuntimeError(f"not judged on both ends: the counters of allowing rules are {allowed}")


@contextmanager
def cloche(rules: int) -> Iterator[Way]:
    """Two endpoints on one host, half of ``rules`` on either of them, an odd one on the server; needs root.

    Raises MachineError.
    """
    instance = f"b{os.getpid() & 0xFFFFF:x}{next(_numbers)}"
    with namespaces("host") as (host,):
        inside = Path("/run/netns", host)
        try:
            datapath, (client, server) = call_in(inside, lambda: _build(instance, rules))
            for space in (client, server):
                tune(space)
            with _reading(datapath.events()):
                address = format_address(world.addresses(2)[0])
                yield Way(f"cloche {rules}", client, server, address, instance)
            _check(datapath, rules)
            datapath.close()
        finally:
            call_in(inside, lambda: remove_instance(instance))

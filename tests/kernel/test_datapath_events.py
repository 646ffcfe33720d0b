"""Events, counters and reasons as user space reads them."""

from __future__ import annotations

import select
import struct

from cloche.datapath.events import EventReader, read_counters, read_reasons
from cloche.datapath.maps import MapInfo, MapType, create_map, possible_cpus
from cloche.datapath.testrun import Engine
from cloche.model.reasons import Reason

FRAME = bytes(12) + b"\x08\x00" + bytes(60)


def test_counters_are_summed_over_the_cpus() -> None:
    """A counter is the sum of every CPU's, and those that are zero are left out."""
    counters = create_map(MapInfo(int(MapType.PERCPU_ARRAY), 0, 4, 16, 50, 0, "counters"))
    cpus = possible_cpus()
    counters.put(struct.pack("<I", 7), struct.pack("<QQ", 3, 5) * cpus)
    assert read_counters(counters) == {7: (3 * cpus, 5 * cpus)}
    counters.close()


def test_reasons_count_every_packet(engine: Engine) -> None:
    """Each judged packet is counted once under its reason."""
    for _ in range(20):
        engine.run("from_endpoint", FRAME, 1)
    counted = read_reasons(engine.loaded.maps.reasons)
    assert sum(counted.values()) == 20
    assert set(counted) == set(Reason)
    assert counted[Reason.NO_GENERATION] == 20


def test_an_empty_ring_buffer_is_not_readable(engine: Engine) -> None:
    """Nothing happened: the descriptor is not readable and reading gives nothing."""
    reader = EventReader(engine.loaded.maps.events.fd)
    assert reader.read() == []
    assert select.select([reader], [], [], 0) == ([], [], [])
    reader.close()

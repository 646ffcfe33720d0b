"""Maps by bpf(2): what is written is what is read, one by one, in batches and through memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from cloche.datapath import bpf
from cloche.datapath.maps import F_MMAPABLE, Map, MapInfo, MapType, create_map, possible_cpus


def make(kind: MapType, key: int, value: int, entries: int, flags: int = 0) -> Map:
    return create_map(MapInfo(int(kind), 0, key, value, entries, flags, "cloche_test"))


@pytest.fixture
def table() -> Iterator[Map]:
    made = make(MapType.HASH, 4, 8, 5000)
    yield made
    made.close()


def word(number: int) -> bytes:
    return struct.pack("<I", number)


def long(number: int) -> bytes:
    return struct.pack("<Q", number)


def test_one_entry_is_written_read_and_removed(table: Map) -> None:
    """An entry is there after put, gone after remove, and removing it again says so."""
    assert table.get(word(1)) is None
    table.put(word(1), long(2**63))
    assert table.get(word(1)) == long(2**63)
    assert table.remove(word(1))
    assert table.get(word(1)) is None
    assert not table.remove(word(1))


def test_batches_hold_every_entry(table: Map) -> None:
    """Thousands of entries written in batches are all read back, each once."""
    wanted = {word(i): long(i * i) for i in range(5000)}
    table.put_many(list(wanted), list(wanted.values()))
    seen = list(table.items())
    assert len(seen) == 5000
    assert dict(seen) == wanted


def test_a_full_map_names_itself(table: Map) -> None:
    """Writing past the end is an OSError that names operation and map."""
    with pytest.raises(OSError, match="map_update_batch cloche_test"):
        table.put_many([word(i) for i in range(5001)], [long(i) for i in range(5001)])


def test_memory_and_system_call_see_the_same_array() -> None:
    """A store through the mapped memory is what the system call reads, and the other way round."""
    array = make(MapType.ARRAY, 4, 8, 10, F_MMAPABLE)
    words = array.mapped().cast("Q")
    words[3] = 0x1122334455667788
    assert array.get(word(3)) == long(0x1122334455667788)
    array.put(word(4), long(7))
    assert words[4] == 7
    words.release()
    array.close()


def test_a_per_cpu_entry_has_a_value_for_each_cpu() -> None:
    """A per-CPU entry comes as one value after another, padded to 8 bytes each."""
    array = make(MapType.PERCPU_ARRAY, 4, 4, 2)
    value = b"".join(struct.pack("<II", i + 1, 0) for i in range(possible_cpus()))
    array.put(word(1), value)
    assert array.get(word(1)) == value
    array.close()


def test_wrong_sizes_never_reach_the_kernel(table: Map) -> None:
    """A key or value of another size is refused before the call."""
    with pytest.raises(ValueError, match="cloche_test"):
        table.put(b"\0" * 5, long(1))
    with pytest.raises(ValueError, match="cloche_test"):
        table.put(word(1), b"\0")


def test_ids_lead_to_maps(table: Map) -> None:
    """A map is among the kernel's ids, and opening its id gives the same map."""
    assert table.info.id in set(bpf.ids(bpf.Command.MAP_NEXT_ID))
    again = Map(bpf.open_id(bpf.Command.MAP_BY_ID, table.info.id))
    assert again.info == table.info
    again.close()


def test_a_grace_period_ends() -> None:
    """Waiting for a grace period returns."""
    bpf.wait_grace()

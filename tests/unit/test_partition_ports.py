"""How ports are cut, against sets of single ports counted one by one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from cloche.model.policy import PortMatch
from cloche.model.topology import ICMP, SCTP, TCP, UDP
from cloche.partition.ports import cut, merged, port_index, port_set, single
from cloche.tables.schema import ATOMS_SIZE

ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: (min(ends), max(ends))))


def indexes(ports: tuple[tuple[int, int], ...]) -> set[int]:
    """Every index in the ranges."""
    return {index for first, last in ports for index in range(first, last + 1)}


@given(ranges)
@example([(0, 1), (2, 3), (5, 6)])
def test_merged_ranges_hold_the_same_and_do_not_touch(found: list[tuple[int, int]]) -> None:
    """Nothing is lost or added; what overlaps or touches is one range, in order."""
    whole = merged(found)
    assert indexes(whole) == indexes(tuple(found))
    assert all(first[1] + 1 < second[0] for first, second in pairwise(whole))


@given(st.lists(ranges, max_size=4))
def test_a_cut_has_each_port_in_exactly_its_sets(found: list[list[tuple[int, int]]]) -> None:
    """The intervals cover every index once, in order, and a mask has the bits of the sets that hold it."""
    made = cut(merged(ports) for ports in found)
    assert made.intervals[0][0] == 0
    assert made.intervals[-1][1] == ATOMS_SIZE - 1
    for before, after in pairwise(made.intervals):
        assert before[1] + 1 == after[0]
    for first, last, mask in made.intervals:
        for index in {first, last, min(last, 41)}:
            assert mask == sum(1 << n for n, ports in enumerate(made.sets) if index in indexes(ports))


def test_protocols_have_ports_of_their_own() -> None:
    """The same port of two protocols is two indexes; ports of one protocol are neighbours."""
    assert len({port_index(protocol, 80) for protocol in (TCP, UDP, SCTP, ICMP)}) == 4
    assert port_index(TCP, 81) == port_index(TCP, 80) + 1
    assert port_set([PortMatch(UDP, 53, 54), PortMatch(UDP, name="http")]) == (
        (port_index(UDP, 53), port_index(UDP, 54)),
    )
    assert single(TCP, 80) == port_set([PortMatch(TCP, 80, 80)])

"""Full tables while packets pass: judged rightly, fair to others, and said."""

from __future__ import annotations

from e2e.agent_lab import Machine
from torture.full import AT_QUOTA, RING, TABLE_FULL, at_quota, ring_full, table_full
from torture.outcome import complaints


def test_endpoint_at_its_quota(host: Machine) -> None:
    """It loses none of its open connections to its own new flows, and others lose nothing."""
    outcome = at_quota(host.instance(capacity=AT_QUOTA), 4000)
    assert complaints([outcome]) == []
    assert min(outcome.tried, outcome.forbidden) > 50


def test_whole_table_full(host: Machine) -> None:
    """New flows are judged rightly without an entry; who needs one is refused, which is counted."""
    outcome = table_full(host.instance(capacity=TABLE_FULL))
    assert complaints([outcome]) == []
    assert min(outcome.tried, outcome.forbidden) > 20


def test_ring_buffer_full(host: Machine) -> None:
    """Events that found no room are counted and said, to the last one."""
    assert complaints([ring_full(host.instance(capacity=RING))]) == []

"""Many pods created and deleted as fast as it goes while policies change."""

from __future__ import annotations

from e2e.agent_lab import Machine
from torture.crowd import CROWDED, Crowd
from torture.outcome import complaints

PODS = 40


def test_pods_come_and_go(host: Machine) -> None:
    """Not a packet before a pod's isolating policy counts; what may be heard is; nothing is left of them, and
    the tables are those of a fresh compile."""
    crowd = Crowd(host.instance(capacity=CROWDED), PODS)
    totals = crowd.run(lambda: None)
    assert complaints([crowd.outcome], totals.wrong) == []
    assert crowd.outcome.rounds == PODS
    assert crowd.policy_changes > 3
    assert min(crowd.outcome.tried, crowd.outcome.forbidden) > 200

"""What the benchmarks of changes, services and the path make of what they measure; and their town."""

from __future__ import annotations

import pytest
from benchmarks import town
from benchmarks.effect.judged import Asked, Judged, judged, lost, messages
from benchmarks.profile.assembly import blocks
from benchmarks.profile.counting import LOOKUP
from benchmarks.quantiles import quantile, quantile_figure, spread
from hypothesis import given
from hypothesis import strategies as st

from cloche.model.policy import Policy
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import build

VALUES = st.lists(st.floats(0, 1000, allow_nan=False), min_size=1, max_size=60)
SENT = (*range(10, 110, 10), 0, 0)
FORBID, ALLOW = Asked(True, 35, 60, 95), Asked(False, 35, 60, 95)


@given(VALUES, st.floats(0.01, 1))
def test_a_quantile_is_the_least_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    """At least that share of the values is at or below it, and less than that share below any smaller one."""
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert all(
        sum(value <= less for value in values) < share * len(values) for less in values if less < found
    )


@given(VALUES)
def test_quantiles_lie_in_their_intervals(values: list[float]) -> None:
    """Median and 99th percentile lie in their intervals, in order, within what was measured; each time so."""
    found = spread(values)
    for figure in (found.p50, found.p99):
        assert min(values) <= figure.low <= figure.median <= figure.high <= max(values)
    assert found.p50.median <= found.p99.median
    assert quantile_figure(values, 0.99) == found.p99


def test_no_values_have_no_quantile() -> None:
    """Nothing measured is an error, not a zero."""
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def arrived(*numbers: int) -> tuple[int, ...]:
    """When messages arrived: these ones 1 after they were sent, the others never."""
    return tuple(at + 1 if number in numbers else 0 for number, at in enumerate(SENT))


def test_the_first_that_does_not_arrive_was_forbidden() -> None:
    """Of what is sent after the request the first that does not arrive is told, and later ones that do."""
    assert judged(SENT, arrived(0, 1, 2, 3, 4), FORBID) == Judged(at=60, gap=10, wrong=0)
    assert judged(SENT, arrived(0, 1, 2, 3, 4, 7), FORBID) == Judged(at=60, gap=10, wrong=1)


def test_what_is_sent_again_later_was_stopped() -> None:
    """A message that arrives only once the change holds no more counts as stopped by it."""
    late = (*arrived(0, 1, 2, 3)[:4], *(100 for _ in range(6)), 0, 0)
    assert judged(SENT, late, FORBID) == Judged(at=50, gap=10, wrong=0)


def test_the_first_that_arrives_was_allowed() -> None:
    """Of what is sent after the request the first that arrives is told, and later ones that are lost."""
    assert judged(SENT, arrived(5, 6, 7, 8, 9), ALLOW) == Judged(at=60, gap=10, wrong=0)
    assert judged(SENT, arrived(5, 7, 8), ALLOW) == Judged(at=60, gap=10, wrong=1)


@pytest.mark.parametrize(("change", "got"), [(FORBID, arrived(*range(10))), (ALLOW, arrived())])
def test_a_change_that_no_packet_saw_is_an_error(change: Asked, got: tuple[int, ...]) -> None:
    """Where all packets were judged as before, nothing is reported in its place."""
    with pytest.raises(ValueError, match="no packet"):
        judged(SENT, got, change)


def test_messages_and_losses_are_counted_in_their_time() -> None:
    """What was not sent is no loss, nor what was sent before or after the time that is looked at."""
    assert messages(SENT) == 10
    assert lost(SENT, arrived(0, 1, 4), 20, 70) == 3


ASSEMBLY = """
judge:                                  # @judge
# %bb.0:
\tr7 = __sancov_gen_.2 ll
\tw1 = *(u8 *)(r7 + 0)
\tw1 += 1
\t*(u8 *)(r7 + 0) = w1
\t.loc\t0 12 3
\tr1 = atoms ll
\tcall 1                                # looks up
\tif r0 == 0 goto LBB0_2
# %bb.1:
\tw2 = 5
LBB0_2:
\tif r0 != 0 goto LBB0_4
# %bb.3:
\tw3 = *(u8 *)(r7 + 1)
\tw3 += 1
\t*(u8 *)(r7 + 1) = w3
\tw0 = 0
\tr0 += 1
\tr0 += 1
LBB0_4:
\texit
.Lfunc_end0:
"""


def test_blocks_are_read_with_their_counters() -> None:
    """Each block has its function's counter, its instructions but those of counters, and its calls. Where two
    ways meet that begin at one block, what follows runs as often as that one; a way between does not."""
    zero, one = ("__sancov_gen_.2", 0), ("__sancov_gen_.2", 1)
    found = blocks(ASSEMBLY)
    assert [block.counter for block in found] == [zero, None, zero, one, zero]
    assert [block.instructions for block in found] == [3, 1, 1, 3, 1]
    assert [block.calls[LOOKUP] for block in found] == [1, 0, 0, 0, 0]


def test_the_town_has_the_pods_and_rules_it_says() -> None:
    """As many pods and rules as it says, half of them on either direction, and a gate before each server."""
    pods = 12
    world = build(town.manifests(pods))
    policies = [found for found in world.objects if isinstance(found, Policy)]
    own = [policy for policy in policies if not policy.name.startswith("gate-")]
    assert sum(isinstance(found, Endpoint) for found in world.objects) == pods
    for side in (lambda policy: policy.egress, lambda policy: policy.ingress):
        counted = sum(len(side(policy) or ()) for policy in own)
        assert counted == pods * town.POLICIES_EACH * town.RULES_EACH // 2
    assert {p.name for p in policies if p not in own} == {pair.gate for pair in town.pairs(pods)}
    assert not world.findings

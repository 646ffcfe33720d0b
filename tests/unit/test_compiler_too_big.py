"""What does not fit is refused whole, whatever it is that ran out, and leaves everything as it was."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compiler_oracle import SMALL, expected
from test_compiler_steps import copied

from cloche.compiler import Compiler, compile_full, digest
from cloche.errors import TooBigError
from cloche.model.state import Event, State
from cloche.tables.lookup import judge
from cloche.tables.schema import Capacity
from worlds import HERE, TIMES, histories, packets

tight = st.builds(
    lambda classes, sets, cells, atoms, counters, backends: msgspec.structs.replace(
        SMALL, classes=classes, sets=sets, cells=cells, atoms=atoms, counters=counters, backends=backends
    ),
    st.sampled_from((6, 8, 12, 20, 256)),
    st.sampled_from((2, 3, 4, 6, 64)),
    st.sampled_from((16, 64, 128, 256, 65536)),
    st.sampled_from((3, 5, 8, 4096)),
    st.sampled_from((2, 4, 8, 65536)),
    st.sampled_from((2, 4, 4096)),
)


@settings(max_examples=30 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(length=10), tight, st.integers(0, 2**32))
def test_a_refusal_changes_nothing(batches: list[list[Event]], capacity: Capacity, seed: int) -> None:
    """After a refusal the tables are the ones before; what fits later is as if nothing had been refused."""
    compiler, state, random = Compiler(HERE, capacity), State(), Random(seed)
    waiting: list[Event] = []
    for batch in batches:
        waiting += batch
        before = copied(compiler.tables)
        try:
            change = compiler.update(waiting)
        except TooBigError:
            assert vars(compiler.tables) == vars(before)
            continue
        for event in waiting:
            state.apply(event)
        waiting = []
        assert change.digest == digest(compile_full(state, HERE, SMALL))
        for packet in packets(state, random, 10):
            assert judge(compiler.tables, packet) == expected(state, packet)

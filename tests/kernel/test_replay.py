"""Replay: each generation against the oracle on a second instance, before it is active and after."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program_lab import inside
from replay_lab import Rehearsed, make_links

from cloche.datapath.second import Second
from cloche.datapath.testrun import Engine
from cloche.model.state import Event
from worlds import TIMES, histories

RELAXED = list(HealthCheck)


@pytest.fixture(scope="module")
def links(this_machine: None) -> Iterator[int]:
    """A namespace with the devices of the worlds' endpoints."""
    namespace = make_links()
    yield namespace
    os.close(namespace)


@pytest.fixture(scope="module")
def second(loaded_engine: Engine) -> Iterator[Second]:
    """A second instance on the engine's tables."""
    made = Second(loaded_engine.loaded.maps)
    yield made
    made.close()


@pytest.fixture
def rehearsed(loaded_engine: Engine, second: Second, links: int) -> Iterator[Rehearsed]:
    """A host without anything yet, whose changes are replayed."""
    with inside(links):
        yield Rehearsed(loaded_engine, second)


@settings(max_examples=15 * TIMES, deadline=None, suppress_health_check=RELAXED)
@given(batches=histories(), seed=st.integers(0, 2**32))
def test_a_right_program_and_compiler_raise_no_alarm(
    loaded_engine: Engine, second: Second, links: int, batches: list[list[Event]], seed: int
) -> None:
    """Whatever policies, endpoints, services, namespaces and hosts come, change and go, replay finds nothing
    before the flip and nothing after it."""
    with inside(links):
        rehearsed = Rehearsed(loaded_engine, second, seed)
        for batch in batches:
            for compared in rehearsed.change(batch):
                assert not compared.differences, str(compared.differences[0])

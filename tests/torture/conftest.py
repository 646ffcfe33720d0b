"""What tests of faults need of the machine, said once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from e2e.agent_lab import Machine, machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root nothing of this can run: skipped aloud, never passed."""
    if os.geteuid() != 0:
        for item in items:
            if "torture" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="needs root: namespaces and BPF"))


@pytest.fixture
def host() -> Iterator[Machine]:
    """A machine of the test's own."""
    with machine() as made:
        yield made


@pytest.fixture
def random_seed(request: pytest.FixtureRequest) -> int:
    """Another one in each run, told with the rest (``-p randomly``) when the test fails."""
    return int(request.config.getoption("randomly_seed", default=0))

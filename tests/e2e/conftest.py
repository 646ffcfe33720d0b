"""What tests of the running sandbox need of the machine, said once; and machines for the agent's tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from e2e.agent_lab import Machine, machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root nothing of this can run: skipped aloud, never passed."""
    if os.geteuid() != 0:
        for item in items:
            if "e2e" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="needs root: namespaces and BPF"))


@pytest.fixture(autouse=True, scope="session")
def signals_are_heard() -> None:
    """Whoever starts the suite in the background or below nohup has it ignore signals, and its children."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def host() -> Iterator[Machine]:
    """A machine of the test's own."""
    with machine() as made:
        yield made

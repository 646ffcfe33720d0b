"""What fuzzing needs: root and BTF, or the reason why not; and the labs of the kernel tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from attack_steps import Room

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))

BTF = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="session")
def bpf_machine() -> None:
    """Skip, with the reason that the machine shows, where it cannot run BPF."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    if not BTF.exists():
        pytest.skip(f"no BTF: {BTF} does not exist")


@pytest.fixture(scope="module")
def site_room(bpf_machine: None) -> Iterator[Room]:
    """An engine with room for attacks, and devices in a namespace that the test's thread is in."""
    from attack_pool import sites

    with sites() as found:
        yield found

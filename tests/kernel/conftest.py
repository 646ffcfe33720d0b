"""What kernel tests need: root and BTF, or the reason why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BTF = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(autouse=True, scope="session")
def machine() -> None:
    """Skip, with the reason that the machine shows, where it cannot run BPF."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    if not BTF.exists():
        pytest.skip(f"no BTF: {BTF} does not exist")

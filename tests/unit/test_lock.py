"""A lock that lags behind what is asked for is noticed."""

from __future__ import annotations

import pytest
from tools.check_lock import lags, pinned, wanted

PROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
[project]
dependencies = ["msgspec>=0.19", "ruamel_yaml>=1"]
[dependency-groups]
dev = ["pytest>=8.3"]
"""
LOCK = """
hatchling==1.27 \\
    --hash=sha256:0
msgspec==0.22.0 \\
    --hash=sha256:1
ruamel-yaml==1.2
pytest==8.10 ; python_version > '3'
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ""),
        (
            "msgspec==0.22.0",
            "msgspec==0.18.9",
            "msgspec>=0.19 is asked for, and requirements.lock holds 0.18.9",
        ),
        ("pytest==8.10", "pytest==8.2", "pytest>=8.3 is asked for"),
        ("ruamel-yaml==1.2", "", "ruamel_yaml>=1 is not in requirements.lock"),
        ("hatchling==1.27", "hatching==1.27", "hatchling>=1.27 is not in requirements.lock"),
    ],
)
def test_each_library_is_there_in_a_version_that_will_do(old: str, new: str, said: str) -> None:
    """Names in any spelling, versions as numbers; a missing one and one that is too old are told."""
    found = list(lags(wanted(PROJECT), pinned(LOCK.replace(old, new) if old else LOCK)))
    assert len(found) == bool(said)
    assert said in "".join(found)

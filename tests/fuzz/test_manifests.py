"""Manifests under attack: spoilt documents, and documents made to take all time and memory.

Invariant: a clear error, or a verdict that equals the oracle's; a document of up to 1 MB takes less than 5 s
of processor time and 512 MB. ``CLOCHE_DOCUMENTS`` sets how many spoilt ones are tried, and ``CLOCHE_SEED``
the seed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from manifest_bombs import BOMBS, SIZE
from manifest_run import Outcome, attack

DOCUMENTS = int(os.environ.get("CLOCHE_DOCUMENTS", "10000"))
SEED = int(os.environ.get("CLOCHE_SEED", "1"))
SECONDS, BYTES = 5, 512 << 20
TAKE = """
import sys
from pathlib import Path
from random import Random
sys.path[:0] = sys.argv[2:]
from manifest_run import Reader
print(Reader().take(Path(sys.argv[1]), Random(1)))
"""


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """What came of all spoilt documents, taken once."""
    return attack(DOCUMENTS, SEED)


def test_spoilt_documents_are_refused_or_judged_as_the_oracle_judges(outcome: Outcome) -> None:
    """No document raises anything but findings, and no world gets another verdict than the oracle's."""
    assert not outcome.failures, "\n\n".join(outcome.failures)
    assert sum(outcome.said.values()) == DOCUMENTS


def test_spoilt_documents_are_of_both_sorts(outcome: Outcome) -> None:
    """Enough of them are refused, and enough are worlds, for the fact above to mean something."""
    assert min(outcome.said["refused"], outcome.said["world"]) > DOCUMENTS // 10


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_goes_off_within_bounds(tmp_path: Path, name: str) -> None:
    """It is read, checked and compiled, or refused, in a process that may not use more time or memory."""
    content = BOMBS[name]()
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    assert len(raw) <= SIZE * 1.1
    path = tmp_path / "bomb.yaml"
    path.write_bytes(raw)
    tests = Path(__file__).parent

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    command = [sys.executable, "-c", TAKE, str(path), str(tests), str(tests.parent)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=bounded, check=False)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout.strip() in ("refused", "world", "too big")

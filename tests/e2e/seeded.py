"""A wrong compiler, seeded into a worker from outside: while a file exists, it means allow for deny.

The worker is another process, so the seed is a ``sitecustomize`` that Python imports at its start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SEED = """
import os
import sys

if any("cloche.agent" in word for word in sys.orig_argv):
    import msgspec

    from cloche.compiler.compile import Compiler
    from cloche.tables.mirror import apply_write
    from cloche.tables.schema import Put

    right = Compiler.update

    def wrong(self, events, **more):
        change = right(self, events, **more)
        if not os.path.exists({path!r}):
            return change
        writes = tuple(
            Put(w.map, w.key, tuple(cell & ~3 | 1 if cell else 0 for cell in w.value))
            if isinstance(w, Put) and w.map == "cells" else w
            for w in change.writes
        )
        for write in writes:
            if isinstance(write, Put) and write.map == "cells":
                apply_write(self.tables, write)
        return msgspec.structs.replace(change, writes=writes)

    Compiler.update = wrong
"""


@contextmanager
def seeded(folder: Path) -> Iterator[Path]:
    """Agents that are started inside have a compiler that is wrong while the file returned exists."""
    switch = folder / "wrong"
    (folder / "sitecustomize.py").write_text(SEED.format(path=str(switch)))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else str(folder)
    try:
        yield switch
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

"""The steady senders, as a process beside: started, told to open connections anew, read while it runs."""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.building import HERE, program

RECORDS = 1 << 20
"""Messages of one pair at most."""

INTERVAL_US = 500


class Sender(NamedTuple):
    """One pair that sends: its namespaces, and where the server listens. ``kind`` is ``udp`` or ``tcp``."""

    kind: str
    client: Path
    server: Path
    address: str
    port: int


class Traffic:
    """What the senders sent and what arrived. Times are those of ``time.monotonic_ns``."""

    def __init__(self, process: subprocess.Popen[str], records: memoryview) -> None:
        self._process, self._records = process, records

    def line(self) -> str:
        """The next line that the process says. Raises RuntimeError when it has ended."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if not said:
            raise RuntimeError("the steady senders have ended")
        return said

    def reopen(self, pair: int) -> None:
        """A new connection for this pair. Raises RuntimeError when it cannot be made."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"reopen {pair}\n")
        self._process.stdin.flush()
        if self.line() != f"open {pair}":
            raise RuntimeError(f"pair {pair} has no new connection")

    def sent(self, pair: int) -> Sequence[int]:
        """When each message was sent, 0 for those that were not yet."""
        return self._of(pair)[::2]  # type: ignore[return-value]

    def got(self, pair: int) -> Sequence[int]:
        """When each message arrived, 0 for those that did not."""
        return self._of(pair)[1::2]  # type: ignore[return-value]

    def _of(self, pair: int) -> memoryview:
        return self._records[pair * RECORDS * 2 : (pair + 1) * RECORDS * 2]


@contextmanager
def traffic(senders: Sequence[Sender], folder: Path, cpu: int) -> Iterator[Traffic]:
    """Let these send until the end. Raises RuntimeError when they cannot all be opened."""
    words = [":".join(map(str, sender)) for sender in senders]
    file = folder / "steady"
    command = [program(HERE / "effect" / "steady.c"), file, RECORDS, INTERVAL_US, cpu, *words]
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the steady senders did not start")
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            records = memoryview(mapped).cast("Q")
            try:
                yield Traffic(process, records)
            finally:
                process.stdin.close()
                process.wait()
                records.release()
    os.unlink(file)

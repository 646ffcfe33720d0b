"""``up --watch``: applying manifests again whenever a file of theirs changes, beside what else goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cloche.agent.client import Client
from cloche.agent.messages import Mode
from cloche.cli import lines, render
from cloche.errors import ClocheError, TooBigError
from cloche.orchestrators.sandbox import read
from cloche.orchestrators.sandbox.manifests import files

LOOK_SECONDS = 0.5
"""How often it is looked whether a file has changed."""

Stamps = dict[str, tuple[int, int]]


def stamps(paths: Sequence[str]) -> Stamps:
    """When each file behind the paths was written (ns), and its size; files that are gone are left out."""
    found = {}
    for file in files(paths):
        try:
            stat = os.stat(file)
        except OSError:
            continue
        found[file] = (stat.st_mtime_ns, stat.st_size)
    return found


@contextmanager
def reapplied(client: Client, paths: Sequence[str]) -> Iterator[None]:
    """While this is entered, a change of any file puts the manifests into force again.

    A change that is refused is told and changes nothing; the next one is tried again.
    """
    stop = threading.Event()
    with Client(client.config) as own:
        thread = threading.Thread(target=_watch, args=(own, paths, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _watch(client: Client, paths: Sequence[str], stop: threading.Event) -> None:
    before = stamps(paths)
    while not stop.wait(LOOK_SECONDS):
        now = stamps(paths)
        if now == before:
            continue
        before = now
        try:
            applied = client.apply(read(paths), Mode.REPLACE)
        except ClocheError as error:
            render.failure(error)
            if not isinstance(error, TooBigError):
                render.aside("nothing was changed", render.dim)
        else:
            render.findings(applied.findings)
            render.show(lines.applied(applied))
            for line in lines.queued(applied):
                render.aside(line, "yellow")

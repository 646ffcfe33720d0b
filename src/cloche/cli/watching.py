"""``up --watch``: applying manifests again whenever a file of theirs changes, beside what else goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cloche.agent.client import Client
from cloche.agent.messages import Mode
from cloche.cli import lines, render
from cloche.errors import ClocheError, Finding, InputError, TooBigError
from cloche.orchestrators.sandbox import read_noting
from cloche.orchestrators.sandbox.manifests import files

LOOK_SECONDS = 0.5
"""How often it is looked whether a file has changed."""

Stamps = dict[str, tuple[int, int, int]]


def stamps(paths: Sequence[str]) -> Stamps:
    """When each file behind the paths was written (ns), its size, and which file it is; none for one gone."""
    found = {}
    for file in files(paths):
        try:
            stat = os.stat(file)
        except OSError:
            continue
        found[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def first_look(paths: Sequence[str]) -> Stamps:
    """The stamps to begin with. Raises InputError for standard input, which has none."""
    if "-" in paths:
        hint = "name files, or leave --watch out"
        raise InputError([Finding("-f -", 0, "", "standard input cannot be watched", hint)])
    return stamps(paths)


class Settling:
    """Tells when files that changed are still again: half a file, as while it is saved, is no manifest."""

    def __init__(self, seen: Stamps) -> None:
        """``seen``: the files as they were before what is in force was read from them."""
        self._seen = seen
        self._last: Stamps | None = None

    def look(self, now: Stamps) -> bool:
        """True when the files are other ones than were seen, and the same as at the look before."""
        still, self._last = now == self._last, now
        if now == self._seen or not still:
            return False
        self._seen = now
        return True


@contextmanager
def reapplied(client: Client, paths: Sequence[str], seen: Stamps) -> Iterator[None]:
    """While this is entered, a change of any file since ``seen`` puts the manifests into force again.

    A change that is refused is told and changes nothing; the next one is tried again.
    """
    stop = threading.Event()
    with Client(client.config) as own:
        thread = threading.Thread(target=_watch, args=(own, paths, Settling(seen), stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _watch(client: Client, paths: Sequence[str], settling: Settling, stop: threading.Event) -> None:
    while not stop.wait(LOOK_SECONDS):
        if not settling.look(stamps(paths)):
            continue
        try:
            manifests, notes = read_noting(paths)
            render.findings(notes)
            applied = client.apply(manifests, Mode.REPLACE)
        except ClocheError as error:
            render.failure(error)
            if not isinstance(error, TooBigError):
                render.aside("nothing was changed", render.dim)
        else:
            render.findings(applied.findings)
            render.show(lines.applied(applied))
            for line in lines.queued(applied):
                render.aside(line, "yellow")

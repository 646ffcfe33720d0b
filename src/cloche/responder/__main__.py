"""``python -m cloche.responder --instance NAME --socket PATH``: the responder's process.

With ``--detach`` it leaves its session and goes on by itself; the command returns once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cloche.responder.client import ALREADY_RUNNING
from cloche.responder.server import Server, listen


def _lock(path: Path) -> int | None:
    """Hold ``path`` as long as we live; None when another process does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # the one before us removed it between our two steps


async def _serve(instance: str, path: Path, ready: Callable[[], None]) -> None:
    server = Server(instance)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopping.set)
    listening = listen(path)
    ready()
    await server.run(listening)


def _run(instance: str, path: Path, ready: Callable[[], None]) -> int:
    lock = Path(f"{path}.lock")
    if _lock(lock) is None:
        return ALREADY_RUNNING
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(_serve(instance, path, ready))
    finally:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
    return 0


def _detached(instance: str, path: Path) -> int:
    """Run in a process of its own session; returns 0 when it listens, else its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        if os.read(reading, 1):
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or 1
    os.close(reading)
    os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def ready() -> None:
        os.write(writing, b"1")
        os.close(writing)

    return _run(instance, path, ready)


def main() -> int:
    """Parse the command line and run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cloche.responder", description=__doc__)
    parser.add_argument("--instance", required=True, help="whose responder this is")
    parser.add_argument("--socket", required=True, type=Path, help="where it listens for its agent")
    parser.add_argument(
        "--detach", action="store_true", help="go on in the background; return once it listens"
    )
    options = parser.parse_args()
    path = options.socket.absolute()
    if options.detach:
        return _detached(options.instance, path)
    return _run(options.instance, path, lambda: None)


if __name__ == "__main__":
    sys.exit(main())

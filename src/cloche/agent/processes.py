"""The agent's process as others see it: which it is, whether it has ended, how to end it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

from cloche.config import Config
from cloche.errors import ClocheError

END_SECONDS = 10.0


def hold_pid_file(config: Config) -> int:
    """Become the instance's one agent; the descriptor holds the lock for as long as this process lives.

    Raises ClocheError when another agent runs.
    """
    config.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(config.pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ClocheError(f"instance {config.instance} has an agent already ({config.pid_file})") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def agent_pid(config: Config) -> int:
    """The process that holds the instance's pid file, 0 when none does."""
    try:
        pid = int(config.pid_file.read_text() or "0")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if config.instance.encode() in command else 0


def end(pid: int) -> None:
    """Ask a process to end, and make it when it does not; returns once it is gone."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            if has_ended(pid):
                return
            time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """True when the process is gone, or only waits for its parent to take note."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"

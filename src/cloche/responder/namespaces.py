"""Sockets inside network namespaces: a thread steps into a namespace, opens there, and hands them over.

A socket belongs for life to the namespace it was made in, so the asyncio loop can use it from its own.
Only this module's one thread ever changes its namespace (setns(2) acts on the calling thread alone; Python
has ``os.setns`` since 3.12 only).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

CLONE_NEWNET = 0x40000000
OWN_NAMESPACE = ""

Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)


class Identity(NamedTuple):
    """Which namespace a path leads to: device and inode. No other has it while a socket keeps it alive."""

    device: int
    inode: int


def identify(path: str) -> Identity | None:
    """The namespace that ``path`` leads to now, None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Identity(status.st_dev, status.st_ino)


class Namespaces:
    """The one thread that opens sockets inside namespaces."""

    def __init__(self) -> None:
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="namespaces")

    async def run(self, path: str, work: Callable[[], Result]) -> Result:
        """Call ``work`` inside the namespace at ``path`` ("": our own) and return its result.

        Raises OSError when there is no such namespace, and whatever ``work`` raises.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._inside, path, work)

    def _inside(self, path: str, work: Callable[[], Result]) -> Result:
        if path == OWN_NAMESPACE:
            self._enter(self._own, "own namespace")
            return work()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._enter(descriptor, path)
        finally:
            os.close(descriptor)
        return work()

    @staticmethod
    def _enter(descriptor: int, path: str) -> None:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)

    def close(self) -> None:
        """End the thread; what it opened stays open."""
        self._thread.shutdown(wait=True)
        os.close(self._own)

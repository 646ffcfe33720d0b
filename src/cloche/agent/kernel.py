"""The one thread that touches the kernel: the loop asks, the thread does, in the order asked.

bpf(2) and netlink calls take milliseconds and sometimes wait for a grace period. On a thread of their own
they never hold up the loop, and since it is one thread no two of them ever meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class KernelThread:
    """Runs calls one after another on a thread of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result; its errors are raised here. A cancelled wait does not undo the call."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Let what runs finish and end the thread."""
        self._pool.shutdown(wait=True)

"""Named network namespaces: made, entered, listed and removed.

They stand in /run/netns as ``ip netns`` keeps them (ip-netns(8)), named ``<instance>.<namespace>.<pod>``.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cloche.datapath import faults
from cloche.datapath.faults import Point

RUN = Path("/run/netns")
_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 1 << 20
_MNT_DETACH = 2
_LONGEST = 255
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def netns_name(instance: str, endpoint: str) -> str:
    """The name for an endpoint's key (``namespace/name``); one that is too long ends in a hash."""
    name = f"{instance}.{endpoint.replace('/', '.', 1)}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST - 17]}-{digest}"


def netns_path(name: str) -> Path:
    """Where a named namespace is."""
    return RUN / name


def names_of(instance: str) -> list[str]:
    """The namespaces of one instance that exist, sorted."""
    if not RUN.is_dir():
        return []
    return sorted(entry.name for entry in RUN.iterdir() if entry.name.startswith(f"{instance}."))


def _check(result: int, operation: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}")


def _mount(source: str, target: Path, flags: int, operation: str) -> None:
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), b"none", flags, None), operation)


def _prepare_run() -> None:
    """Make /run/netns a shared mount, so that other mount namespaces see what comes and goes."""
    RUN.mkdir(parents=True, exist_ok=True)
    try:
        _mount("", RUN, _MS_SHARED | _MS_REC, "sharing")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(str(RUN), RUN, _MS_BIND | _MS_REC, f"mounting {RUN} on itself")
        _mount("", RUN, _MS_SHARED | _MS_REC, f"sharing {RUN}")


def create(name: str) -> None:
    """A new, empty namespace of that name. FileExistsError when there is one."""
    _prepare_run()
    path = netns_path(name)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
    faults.passing(Point.NAMESPACE_NAMED)

    def make() -> None:
        _check(_libc.unshare(_NEWNET), "unshare of the network namespace")
        _mount("/proc/thread-self/ns/net", path, _MS_BIND, f"mounting {path}")

    try:
        _in_thread(make)
    except OSError:
        path.unlink()
        raise


def remove(name: str) -> bool:
    """Remove the name; the namespace ends with its last user. False when there was none."""
    path = netns_path(name)
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        faults.passing(Point.NAMESPACE_UNMOUNTED)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def call_in(path: Path, function: Callable[[], T]) -> T:
    """The function's result, run on a thread that is inside the namespace at ``path``.

    OSError when it cannot be entered; the function's own errors are raised here.
    """

    def inside() -> T:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(descriptor)
        finally:
            os.close(descriptor)
        return function()

    return _in_thread(inside)


def enter(descriptor: int) -> None:
    """Put the calling thread into the namespace of an open descriptor (setns(2))."""
    _check(_libc.setns(descriptor, _NEWNET), "setns")


@contextmanager
def private_namespace() -> Iterator[None]:
    """The calling thread in a new, unnamed namespace; back in its old one afterwards."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_NEWNET), "unshare of the network namespace")
        try:
            yield
        finally:
            enter(before)
    finally:
        os.close(before)


def _in_thread(function: Callable[[], T]) -> T:
    """Run on a fresh thread, as a thread that has changed its namespace is used for nothing else."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]

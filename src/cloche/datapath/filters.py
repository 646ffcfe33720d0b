"""Programs on devices without TCX (kernels before 6.6): direct-action BPF filters on the clsact qdisc.

A filter's name is ``<instance>/<hook>/<program>``, so an instance finds, replaces and removes its own alone,
whoever else has filters on the device. Device indexes are those of the calling thread's network namespace.
A filter has no owner: deleting the qdisc takes it away, and nobody but a look at the device tells.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from cloche.datapath import bpf
from cloche.datapath.devices import netlink
from cloche.datapath.links import Hook

_PARENTS = {Hook.INGRESS: 0xFFFFFFF2, Hook.EGRESS: 0xFFFFFFF3}
_CLSACT = 0xFFFF0000
_DIRECT_ACTION = 1
_ALL_PROTOCOLS = 3
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
STAGED, SETTLED = 1, 2
"""Priorities: what is to take over stands before what is there, waiting for the one step of the switch."""


class Filter(NamedTuple):
    """A BPF filter on a device, with what its name says."""

    ifindex: int
    hook: Hook
    priority: int
    handle: int
    name: str

    @property
    def program(self) -> str:
        """The program's name."""
        return self.name.rpartition("/")[2]


def attach(name: str, program_fd: int, ifindex: int, hook: Hook, priority: int = SETTLED) -> None:
    """Put a program on a device; ``name`` without the program's. OSError when the kernel refuses."""
    with suppress_errno(errno.EEXIST), netlink() as route:
        route.tc("add", "clsact", ifindex)
    with netlink() as route:
        route.tc("add-filter", "bpf", **_request(name, program_fd, ifindex, hook), prio=priority)


def replace(there: Filter, program_fd: int) -> None:
    """Let the filter run another program of the same name, in one step."""
    name = there.name.rpartition("/")[0]
    with netlink() as route:
        request = _request(name, program_fd, there.ifindex, there.hook)
        route.tc("replace-filter", "bpf", **request, prio=there.priority, handle=there.handle)


def _request(name: str, program_fd: int, ifindex: int, hook: Hook) -> dict[str, object]:
    return {
        "index": ifindex,
        "fd": program_fd,
        "name": f"{name}/{bpf.program_info(program_fd).name}",
        "parent": _PARENTS[hook],
        "flags": _DIRECT_ACTION,
        "protocol": _ALL_PROTOCOLS,
    }


def find(name: str, ifindex: int, priority: int = SETTLED) -> Filter | None:
    """The filter of that name (without the program's) on the device; None also when there is no device."""
    ours = (f for f in on_device(ifindex) if f.name.rpartition("/")[0] == name and f.priority == priority)
    return next(ours, None)


def on_device(ifindex: int) -> list[Filter]:
    """Every BPF filter of the device that has a name; an empty list when there is no device."""
    found = []
    for hook, parent in _PARENTS.items():
        with suppress_errno(*_GONE), netlink() as route:
            messages = list(route.get_filters(index=ifindex, parent=parent))
            found += [one for message in messages for one in _read(message, ifindex, hook)]
    return found


def _read(message: Any, ifindex: int, hook: Hook) -> Iterator[Filter]:
    options = message.get_attr("TCA_OPTIONS")
    name = options.get_attr("TCA_BPF_NAME") if options and message.get_attr("TCA_KIND") == "bpf" else None
    if name and message["handle"]:
        yield Filter(ifindex, hook, message["info"] >> 16, message["handle"], name)


def detach(there: Filter) -> None:
    """Take the filter away, and the qdisc with its last filter; nothing when they are gone."""
    with suppress_errno(*_GONE), netlink() as route:
        place = {"index": there.ifindex, "parent": _PARENTS[there.hook], "handle": there.handle}
        route.tc("del-filter", "bpf", **place, prio=there.priority, protocol=_ALL_PROTOCOLS)
    if not _has_filters(there.ifindex):
        with suppress_errno(*_GONE), netlink() as route:
            route.tc("del", "clsact", there.ifindex)


def _has_filters(ifindex: int) -> bool:
    """True also for filters of other kinds."""
    with suppress_errno(*_GONE), netlink() as route:
        return any(list(route.get_filters(index=ifindex, parent=parent)) for parent in _PARENTS.values())
    return False


class suppress_errno(suppress):  # noqa: N801
    """As ``contextlib.suppress``, for OSErrors with one of these numbers."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(OSError)
        self._numbers = numbers

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        """True when the error is one of them."""
        return isinstance(error, OSError) and error.errno in self._numbers

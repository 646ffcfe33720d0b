"""Places where a process of an instance kills itself when told to, so that tests die where luck seldom does.

``CLOCHE_FAULT=POINT`` or ``POINT:N`` in the environment: the process that passes the point for the N-th
time (1 if left out) since ``arm`` ends there by SIGKILL, as the kernel would end it. Only the daemons arm
themselves; without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from enum import Enum

from cloche.errors import Finding, InputError

VARIABLE = "CLOCHE_FAULT"


class Point(Enum):
    """Every place: its name in the variable, and what has just happened there (``said``)."""

    def __init__(self, word: str, said: str) -> None:
        self.word, self.said = word, said

    MAP_PINNED = "map-pinned", "One map of a new instance is pinned."
    PROGRAM_PINNED = (
        "program-pinned",
        "One program is in its place and pinned; which object file they are of is not marked yet.",
    )
    ADOPTED = "adopted", "Maps and programs are there at a start."
    PREPARED = "prepared", "The instance's pair is up, with its routes."
    CONFIGURED = "configured", "Uplinks have their programs and the configuration entry is written."
    STORE_READ = "store-read", "The disk has been read, and strays are removed."
    WORKER_FED = "worker-fed", "The first worker knows what is wanted and what the kernel holds."
    ANSWER = "answer", "In the worker: one part of an answer is sent."
    COMPILED = "compiled", "The agent has a change's writes and has done nothing with them."
    READY = (
        "ready",
        "The disk knows the generation's number, its names, and who is attached anew; the kernel nothing.",
    )
    WRITE = "write", "One single write of a change is in its map."
    BEFORE_FLIP = "before-flip", "Everything is written beside the active generation."
    AFTER_FLIP = "after-flip", "The generation is active; nothing else has been done for it."
    WRITTEN = "written", "All writes are in the maps."
    WITHDRAWN = "withdrawn", "The responder answers no more for what goes."
    ANSWERED = (
        "answered",
        "What went is removed and the responder answers for what came; the disk does not know yet.",
    )
    KEPT = "kept", "The disk knows; who asked has no answer yet."
    NAMESPACE_MARKED = (
        "namespace-marked",
        "An endpoint's namespace is marked as the instance's own, and not there.",
    )
    NAMESPACE_NAMED = "namespace-named", "Its name is there, and nothing behind it."
    NAMESPACE_MADE = "namespace-made", "It is there, and empty."
    DEVICE_MADE = "device-made", "Its pair of devices is there, down, without a program."
    LINK_MADE = "link-made", "A program is on a device by a link that is not pinned, or by a filter."
    HOOKED = "hooked", "The endpoint's program is on its device for good."
    FURNISHED = "furnished", "The container's side has its addresses and is up."
    DEVICE_UP = "device-up", "The host's side is up; routes to addresses outside the ranges are missing."
    ATTACHED = "attached", "One endpoint is attached, and only this process knows it."
    UNROUTED = "unrouted", "Of an endpoint that goes, the routes are gone."
    DEVICE_DELETED = "device-deleted", "Its device too."
    UNHOOKED = "unhooked", "Its link or filter too."
    NAMESPACE_UNMOUNTED = "namespace-unmounted", "Its namespace too, not its name."
    NAMESPACE_REMOVED = "namespace-removed", "Its name too, not its mark."
    SAVING = "saving", "A file of the store is written beside the one that it is to replace."
    SAVED = "saved", "It has replaced it; the folder is not synced."


_armed: Point | None = None
_left = 0


def arm(environment: Mapping[str, str] = os.environ) -> None:
    """Do as the variable says from now on. Raises InputError for one that names no point."""
    global _armed, _left
    text = environment.get(VARIABLE, "")
    name, _colon, count = text.partition(":")
    known = {point.word: point for point in Point}
    if not text:
        _armed = None
    elif name not in known or not (count or "1").isdecimal() or int(count or 1) < 1:
        hint = f"POINT or POINT:N, one of {', '.join(known)}; or unset it"
        raise InputError([Finding("environment", 0, VARIABLE, f"{text!r} is no fault point", hint)])
    else:
        _armed, _left = known[name], int(count or 1)


def is_armed(point: Point) -> bool:
    """True when this process is to end at that point."""
    return point is _armed


def passing(point: Point) -> None:
    """Say that this is the place; does not return when it is the one to end at."""
    if point is _armed:
        _end()


def _end() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

"""From one world to the next as model events, and files watched as a source of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence

from cloche.errors import Finding, InputError
from cloche.model.state import Delete, Event, Object, Put, Synced
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox.manifests import MAX_BYTES, files, read
from cloche.orchestrators.sandbox.rest import Ranges
from cloche.orchestrators.sandbox.world import World, build

SOURCE = "sandbox"
"""The name by which this source says that it has synced."""
POLL_SECONDS = 0.5

_ORDER = ("Network", "Namespace", "Policy", "Endpoint", "Service")
"""Policies come before the endpoints they protect, and services after their backends."""


def _differing(
    old: Sequence[Object], new: Sequence[Object]
) -> tuple[dict[tuple[str, str], Object], dict[tuple[str, str], Object]]:
    """What is not the very same in both, by kind and key: a change leaves almost all as it was."""
    stays = set(map(id, old)) & set(map(id, new))
    return _keyed(old, stays), _keyed(new, stays)


def _keyed(objects: Sequence[Object], stays: set[int]) -> dict[tuple[str, str], Object]:
    return {(type(found).__name__, found.key): found for found in objects if id(found) not in stays}


def difference(old: World | None, new: World) -> tuple[Event, ...]:
    """What turns the old world into the new one: deletes (services first), then puts (policies first).

    An endpoint that comes back as another one, under the same name, is deleted first. An object whose
    lines moved is put again, for its origin has changed.
    """
    before, after = _differing(old.objects if old else (), new.objects)
    deletes = [key for key, was in before.items() if key not in after or _replaced(was, after[key])]
    puts = [key for key, now in after.items() if before.get(key) != now]
    deletes.sort(key=lambda key: (-_ORDER.index(key[0]), key[1]))
    puts.sort(key=lambda key: (_ORDER.index(key[0]), key[1]))
    return (*(Delete(*key) for key in deletes), *(Put(after[key]) for key in puts))


def _replaced(was: Object, now: Object) -> bool:
    """True for an endpoint that is not the same container any more: another UID or other addresses."""
    if not isinstance(was, Endpoint) or not isinstance(now, Endpoint):
        return False
    renewed = bool(was.uid and now.uid and was.uid != now.uid)
    return renewed or was.addresses != now.addresses or was.host_network != now.host_network


async def watch(
    paths: Sequence[str],
    report: Callable[[tuple[Finding, ...]], None],
    ranges: Ranges | None = None,
    interval: float = POLL_SECONDS,
) -> AsyncIterator[Event]:
    """The paths' objects as events, Synced after each whole reading, and again whenever a file changes.

    Each reading's findings go to ``report``; bad input yields nothing, and what was there before stays.
    Standard input is read once. ``interval`` is in seconds. A change is read
    when it has been still for one interval, so that a file half written is not; reading is done beside the
    event loop.
    """
    ranges = ranges or Ranges()
    world: World | None = None
    seen: tuple[object, ...] | None = None
    last: tuple[object, ...] | None = None
    stdin = await asyncio.to_thread(_read_stdin) if "-" in paths else None
    while True:
        state = await asyncio.to_thread(_fingerprint, paths)
        if seen is None or (state != seen and state == last):
            seen = state
            try:
                next_world = await asyncio.to_thread(_read_world, paths, stdin, ranges, world)
            except InputError as error:
                report(error.findings)
            else:
                report(next_world.findings)
                for event in difference(world, next_world):
                    yield event
                yield Synced(SOURCE)
                world = next_world
        last = state
        await asyncio.sleep(interval)


def _read_stdin() -> str:
    """All of standard input; bytes that are no UTF-8 become lone surrogates, which are refused later."""
    return sys.stdin.buffer.read(MAX_BYTES + 1).decode(errors="surrogateescape")


def _read_world(paths: Sequence[str], stdin: str | None, ranges: Ranges, previous: World | None) -> World:
    return build(read(paths, stdin), ranges.pods, ranges.services, previous)


def _fingerprint(paths: Sequence[str]) -> tuple[object, ...]:
    """What tells one state of the files from another: names, sizes, times and which file it is."""
    states: list[object] = []
    for file in files(paths):
        try:
            status = os.stat(file)
        except (OSError, ValueError):
            states.append(file)
        else:
            states.append((file, status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(states)

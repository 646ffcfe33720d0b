"""The history of flow events, and those who follow it."""

from __future__ import annotations

import asyncio

from cloche.agent.history import BEHIND, History
from cloche.agent.messages import FlowEvent


def numbered(first: int, count: int) -> list[FlowEvent]:
    return [FlowEvent(float(number), "new") for number in range(first, first + count)]


async def take(history: History, *, follow: bool, count: int) -> list[FlowEvent]:
    taken: list[FlowEvent] = []
    async for events in history.read(follow=follow):
        taken += events
        if follow and len(taken) >= count:
            break
    return taken


def test_history_keeps_the_newest_in_order() -> None:
    """A full history drops its oldest events and tells the rest in order."""
    history = History(5)
    history.add(numbered(0, 8))
    assert asyncio.run(take(history, follow=False, count=0)) == numbered(3, 5)


def test_follower_gets_the_past_then_the_future_once() -> None:
    """Who follows gets what was kept and then each new event, none twice."""

    async def follow() -> list[FlowEvent]:
        history = History(100)
        history.add(numbered(0, 3))
        reading = asyncio.create_task(take(history, follow=True, count=6))
        await asyncio.sleep(0)
        for first in (3, 4, 5):
            history.add(numbered(first, 1))
            await asyncio.sleep(0)
        return await reading

    assert asyncio.run(follow()) == numbered(0, 6)


def test_slow_follower_is_told_how_many_it_lost() -> None:
    """Events beyond what may wait are counted, and the count is the first thing it then hears."""

    async def follow() -> list[FlowEvent]:
        history = History(10)
        stream = history.read(follow=True)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        history.add(numbered(0, BEHIND + 7))
        return await waiting

    first = asyncio.run(follow())[0]
    assert (first.kind, first.suppressed) == ("lost", 7)


def test_what_came_after_a_mark() -> None:
    """A mark tells later events from earlier ones by their order, whatever their times say."""
    history = History(3)
    history.add([FlowEvent(9.0, "new"), FlowEvent(8.0, "new")])
    mark = history.mark()
    assert history.since(mark) == ()
    later = [FlowEvent(float(-time), "drop") for time in range(2)]
    history.add(later)
    assert history.since(mark) == tuple(later)
    history.add([FlowEvent(0.0, "closed")] * 3)
    assert [event.kind for event in history.since(mark)] == ["closed"] * 3

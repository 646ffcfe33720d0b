"""From one world to the next: events in a safe order, and files watched."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st
from manifest_builders import documents, pod_text, policy_text, world

from cloche.errors import Finding
from cloche.model.state import Delete, Event, Put, State, Synced
from cloche.orchestrators.sandbox import World, difference, watch

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: s, namespace: x}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def shown(events: tuple[Event, ...]) -> list[str]:
    """Events in a word each."""
    words = []
    for event in events:
        match event:
            case Put(value):
                words.append(f"+{type(value).__name__} {value.key}")
            case Delete(kind, key):
                words.append(f"-{kind} {key}")
            case Synced(source):
                words.append(source)
    return words


def test_a_first_world_is_all_puts_and_policies_come_before_endpoints() -> None:
    """So that an endpoint is never there before what protects it."""
    events = difference(None, world(SERVICE, pod_text("a"), policy_text("podSelector: {}")))
    assert shown(events) == [
        "+Network 1",
        "+Namespace x",
        "+Policy NetworkPolicy/x/p",
        "+Endpoint x/a",
        "+Service x/s",
    ]


def test_only_what_changed_is_told_and_deletes_come_first() -> None:
    """The same world again is no event at all."""
    old = world(pod_text("a"), pod_text("b"), policy_text("podSelector: {}"), SERVICE)
    assert difference(old, old) == ()
    new = world(pod_text("a"), pod_text("c"), policy_text("podSelector: {}\ningress: [{}]"), previous=old)
    assert shown(difference(old, new)) == [
        "-Service x/s",
        "-Endpoint x/b",
        "+Policy NetworkPolicy/x/p",
        "+Endpoint x/c",
    ]


def test_an_endpoint_that_is_another_under_the_same_name_is_deleted_first() -> None:
    """A new UID or another address is another container; a new label is the same one."""
    old = world(pod_text("a", "status: {podIP: 10.244.1.1}"))
    moved = world(pod_text("a", "status: {podIP: 10.244.1.2}"))
    assert shown(difference(old, moved)) == ["-Endpoint x/a", "+Endpoint x/a"]
    labelled = world(pod_text("a", "status: {podIP: 10.244.1.1}", labels="{b: c}"))
    assert shown(difference(old, labelled)) == ["+Endpoint x/a"]
    first, second = (
        world(pod_text("a").replace("name: a,", f"name: a, uid: {uid},", 1)) for uid in ("u1", "u2")
    )
    assert shown(difference(first, second)) == ["-Endpoint x/a", "+Endpoint x/a"]


PIECES = [pod_text(n, labels=f"{{app: {v}}}") for n in "ab" for v in ("web", "db")]
PIECES += [policy_text("podSelector: {}", "p"), policy_text("podSelector: {}", "q"), SERVICE]
NAMES = ["a", "a", "b", "b", "p", "q", "s"]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Some of a few objects, each at most once."""
    chosen = draw(st.lists(st.sampled_from(range(len(PIECES))), unique_by=NAMES.__getitem__))
    return world(*(PIECES[index] for index in sorted(chosen)))


@given(worlds(), worlds())
def test_the_difference_turns_the_one_world_into_the_other(old: World, new: World) -> None:
    """Folded over the old world's objects, the events leave exactly the new world's."""
    state = State(difference(None, old))
    for event in difference(old, new):
        state.apply(event)
    assert set(state.objects()) == set(new.objects)


async def _until_synced(events: AsyncIterator[Event]) -> list[str]:
    batch: list[Event] = []
    async for event in events:
        batch.append(event)
        if isinstance(event, Synced):
            break
    return shown(tuple(batch))


def test_a_changed_file_yields_its_changes_and_a_broken_one_nothing(tmp_path: pathlib.Path) -> None:
    """Bad input is reported, what was there stays, and the next good state is told (b has moved up)."""
    file = tmp_path / "a.yaml"
    file.write_text(documents(pod_text("a"), pod_text("b")))
    reports: list[tuple[Finding, ...]] = []

    async def run() -> list[list[str]]:
        events = watch([str(tmp_path)], reports.append, interval=0.01)
        told = [await _until_synced(events)]
        following = asyncio.create_task(_until_synced(events))
        file.write_text("kind: [")
        while len(reports) < 2:
            await asyncio.sleep(0.01)
        assert not following.done()
        other = tmp_path / "next"
        other.write_text(documents(pod_text("b"), pod_text("c")))
        os.replace(other, file)
        told.append(await asyncio.wait_for(following, 5))
        await events.aclose()
        return told

    first, second = asyncio.run(run())
    assert first == ["+Network 1", "+Namespace x", "+Endpoint x/a", "+Endpoint x/b", "sandbox"]
    assert second == ["-Endpoint x/a", "+Endpoint x/b", "+Endpoint x/c", "sandbox"]
    assert [[finding.severity.value for finding in found] for found in reports] == [[], ["error"], []]

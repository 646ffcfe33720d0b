"""A running agent replays each generation: what it finds, what it does then, and what it costs."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.agent.client import AgentError, Client
from cloche.datapath import bpf
from e2e.agent_lab import (
    Instance,
    addresses,
    endpoint,
    ingress_from,
    machine,
    objects,
    pod,
    replace,
    wait_for,
)
from e2e.seeded import seeded

WORLD = pod("web") + pod("friend") + pod("stranger")
LID = ingress_from("lid", "web", "friend")
OTHER, NARROWER = (
    text.replace("ingress: [{", "ingress: [{ports: [{port: 81}], ")
    for text in (ingress_from("other", "stranger", "friend"), LID)
)
"""Of ports that no other policy names, so that their cells are nobody else's."""


@contextmanager
def running(folder: Path, **changes: object) -> Iterator[tuple[Instance, Client, Path]]:
    """An instance whose compiler is wrong while the file exists."""
    with machine() as host, seeded(folder) as switch:
        instance = host.instance(**changes)
        with instance.start() as client:
            yield instance, client, switch


def test_a_generation_that_differs_is_refused_with_a_report(tmp_path: Path) -> None:
    """A compiler that writes allow for deny is found before activation: the change is refused, the policy
    before goes on holding, the report names a packet and both answers; and a right compiler then passes."""
    with running(tmp_path, replay_ms=500.0) as (instance, client, switch):
        replace(client, WORLD + LID)
        web, _ = addresses(client, "web")
        before = client.status()
        switch.touch()
        with pytest.raises(AgentError, match="differs from its policies"):
            client.apply(objects(OTHER))
        switch.unlink()
        status = client.status()
        assert status.generation == before.generation and status.replay.differences == 1
        assert any("differs from its policies" in problem for problem in status.problems)
        (path,) = instance.config.state.glob("replay-*.json")
        report = json.loads(path.read_text())
        assert report["destination"] == "default/stranger" and not report["active"]
        assert (report["oracle"]["verdict"], report["datapath"]["verdict"]) == ("deny", "allow")
        assert re.fullmatch(r"cloche explain \S+ default/stranger \S+", report["explain"])
        assert bytes.fromhex(report["frame"])[12:14] in (b"\x08\x00", b"\x86\xdd")
        assert any(event.kind == "differs" for event in client.flows())
        assert instance.reaches("friend", web) and not instance.reaches("stranger", web, timeout=0.5)
        wait_for(lambda: client.status().worker_starts > before.worker_starts)
        client.apply(objects(OTHER))
        client.apply(objects(pod("late")))
        assert not client.status().problems
        assert not instance.reaches("web", addresses(client, "stranger")[0], timeout=0.5)


def test_what_a_refused_generation_closed_is_opened_again(tmp_path: Path) -> None:
    """A pod that was to go with a generation that is refused stays, and is reached again soon after."""
    with running(tmp_path, replay_ms=500.0) as (instance, client, switch):
        replace(client, WORLD + LID)
        stranger, _ = addresses(client, "stranger")
        switch.touch()
        with pytest.raises(AgentError, match="differs from its policies"):
            replace(client, pod("web") + pod("friend") + NARROWER)
        switch.unlink()
        wait_for(lambda: instance.reaches("friend", stranger), 30)
        assert endpoint(client, "stranger").state == "open"


def test_what_is_found_once_active_is_rolled_back(tmp_path: Path) -> None:
    """With no time before activation a wrong generation becomes active, is found then, and what was in force
    before is again, for real packets, with a report and a problem that say so."""
    with running(tmp_path, replay_ms=0.0001) as (instance, client, switch):
        replace(client, WORLD + LID)
        web, _ = addresses(client, "web")
        wait_for(lambda: not client.status().replay.waiting)
        switch.touch()
        wrong = replace(client, WORLD + NARROWER)
        switch.unlink()
        wait_for(lambda: client.status().generation > wrong.generation)
        wait_for(lambda: any("rolled back" in problem for problem in client.status().problems))
        assert instance.reaches("friend", web) and not instance.reaches("stranger", web, timeout=0.5)
        reports = [json.loads(path.read_text()) for path in instance.config.state.glob("replay-*.json")]
        assert [report["active"] for report in reports] == [True]
        assert reports[0]["generation"] == wrong.generation


def test_its_cost_is_shown_and_it_comes_to_an_end(tmp_path: Path) -> None:
    """An ordinary life asks packets before and after each activation, finds nothing, stays near its time
    before, and ends; the loop is not held up."""
    with running(tmp_path) as (_, client, _switch):
        replace(client, WORLD + LID)
        client.apply(objects(pod("late")))
        client.apply(objects(OTHER))
        wait_for(lambda: not client.status().replay.waiting, 60)
        shown = client.status().replay
        assert shown.budget_ms == 10 and shown.generations >= 3
        assert shown.asked_before > 30 and shown.asked_after > 100 and not shown.differences
        assert shown.ms_before > 0 and shown.ms_after > 0


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """With no time at all nothing is asked and nothing is loaded beside the instance's own programs."""
    with running(tmp_path, replay_ms=0.0) as (instance, client, switch):
        switch.touch()
        replace(client, WORLD + LID)
        shown = client.status().replay
        assert (shown.asked_before, shown.asked_after, shown.generations, shown.waiting) == (0, 0, 0, False)
        assert not own_programs(instance)


def test_the_second_set_of_programs_goes_with_the_agent(tmp_path: Path) -> None:
    """Two instances on one machine each have a second set of their own, pinned nowhere; when an instance is
    cleaned away, its is gone from the kernel and the other's goes on."""
    with running(tmp_path) as (one, _, _switch), machine() as host:
        other = host.instance()
        with other.start() as client:
            replace(client, WORLD + LID)
            mine, theirs = own_programs(one), own_programs(other)
            assert mine and theirs and not mine & theirs
            one.clean()
            wait_for(lambda: not any(map(exists, mine)))
            assert all(map(exists, theirs))
            assert client.apply(objects(pod("late"))).generation
            assert client.status().replay.differences == 0


def own_programs(instance: Instance) -> set[int]:
    """The kernel's numbers of the programs that only the agent's process holds."""
    held: set[int] = set()
    for info in Path(f"/proc/{instance.pid()}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            held.update(map(int, re.findall(r"^prog_id:\s*(\d+)$", info.read_text(), re.MULTILINE)))
    pins = Path("/sys/fs/bpf/cloche", instance.config.instance, "programs")
    return held - {bpf.program_info(bpf.get_pinned(str(pin))).id for pin in pins.iterdir()}


def exists(number: int) -> bool:
    """True while the kernel has a program of this number."""
    return number in set(bpf.ids(bpf.Command.PROG_NEXT_ID))

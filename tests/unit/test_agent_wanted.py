"""What is wanted and what holds instead: roll-backs, what waits, and the policies kept on disk for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from policy_worlds import pod, pods, policy, rule

from cloche.agent.disk import Disk
from cloche.agent.kernel import KernelThread
from cloche.agent.versions import KEPT, Version, Versions, at
from cloche.agent.wanted import (
    Hold,
    Kept,
    Meanings,
    Waiting,
    changed,
    effective,
    missing,
    policies_of,
    read_kept,
    reduced,
)
from cloche.config import Config
from cloche.errors import ClocheError
from cloche.model.topology import Origin
from cloche.orchestrators.sandbox import World

OLD = policy("x/lid", pods(app="web"), ingress=[rule(pods(app="friend"))])
NEW = policy("x/lid", pods(app="web"), ingress=[])
OTHER = policy("x/other", pods(app="db"), egress=[])
WEB, DB = pod("x/web", 1, {"app": "web"}), pod("x/db", 2, {"app": "db"})


def test_a_roll_back_takes_policies_and_nothing_else() -> None:
    """The policies are the held ones, all else is as wanted; without a roll-back all is as wanted."""
    world = World((NEW, WEB, DB))
    held = effective(world, Hold(3, (OLD, OTHER)))
    assert policies_of(held) == (OLD, OTHER)
    assert {found.key for found in held.objects} == {OLD.key, OTHER.key, WEB.key, DB.key}
    assert effective(world, None) is world


def test_what_waits_is_new_changed_or_gone() -> None:
    """Each policy that differs in meaning is named once; where it was written does not count."""
    moved = msgspec.structs.replace(OTHER, origin=Origin("elsewhere.yaml", 7))
    assert changed((OLD, OTHER), (NEW, moved)) == (Waiting(OLD.key, "changed"),)
    assert changed((OLD,), (OTHER,)) == (Waiting(OLD.key, "gone"), Waiting(OTHER.key, "new"))
    meanings = Meanings()
    assert meanings.of((OTHER,)) == meanings.of((moved,)) != meanings.of((OLD,))


def test_remembered_meanings_are_those_of_a_first_look() -> None:
    """Whatever was asked about before, policies mean what they mean to one who was never asked."""
    meanings = Meanings()
    for asked in ((OLD, OTHER), (NEW, OTHER), (NEW,), (), (OLD, OTHER)):
        assert meanings.of(asked) == Meanings().of(asked)


def test_what_goes_and_what_is_missing() -> None:
    """Endpoints are taken out of a world by key; those it has otherwise than wanted are missing from it."""
    world = World((OLD, WEB, DB))
    active = reduced(world, [WEB.key])
    assert active.objects == (OLD, DB)
    assert missing(world, active) == (WEB,)
    assert missing(world, world) == ()


def test_kept_of_another_version_is_an_error() -> None:
    """What an agent kept comes back as it was; what is not of its kind is refused by words."""
    kept = Kept((), World((OLD, WEB)), Hold(4, (NEW,)), World((OLD,)))
    assert read_kept(msgspec.msgpack.encode(kept)) == kept
    with pytest.raises(ClocheError, match="another version"):
        read_kept(b"\x93\x01\x02\x03")


@pytest.mark.parametrize(("asked", "first"), [(3, 3), (4, 3), (7, 7), (9, 7)], ids=lambda number: str(number))
def test_a_generation_has_the_policies_in_force_then(asked: int, first: int) -> None:
    """A version counts from its first generation up to the next version's."""
    assert at([3, 7], asked, newest=9) == first


@pytest.mark.parametrize(("asked", "said"), [(2, "oldest kept is 3"), (10, "no generation 10")])
def test_what_is_not_kept_is_refused(asked: int, said: str) -> None:
    """Before the oldest version and after the active generation there is nothing, and it is said why."""
    with pytest.raises(ClocheError, match=said):
        at([3, 7], asked, newest=9)


def test_versions_on_disk(tmp_path: Path) -> None:
    """A bounded number is kept, equal ones once, another agent finds them, and stepping back goes on."""

    async def steps() -> None:
        kernel = KernelThread()
        disk = Disk(Config(instance="unit", root=str(tmp_path)))
        versions = Versions(disk, kernel)
        await versions.load()
        with pytest.raises(ClocheError, match="nothing to roll back to"):
            await versions.choose(0, 0, 0)
        for generation in range(1, KEPT + 5):
            await versions.keep(Version(generation * 2, f"m{generation}", b"p"))
            await versions.keep(Version(generation * 2 + 1, f"m{generation}", b"p"))
        other = Versions(disk, kernel)
        await other.load()
        assert other.generations == versions.generations == tuple(range(10, 2 * KEPT + 9, 2))
        newest = other.generations[-1]
        assert (await other.choose(0, newest, 0)).generation == newest - 2
        assert (await other.choose(0, newest, newest - 2)).generation == newest - 4
        assert (await other.choose(11, newest, 0)).generation == 10
        kernel.close()

    asyncio.run(steps())

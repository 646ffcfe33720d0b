"""What does not fit: none of it is in force, what goes is closed, what comes stays closed until it fits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

from cloche.agent.client import Client
from cloche.errors import TooBigError
from e2e.agent_lab import (
    SMALL,
    Instance,
    Machine,
    addresses,
    endpoint,
    ingress_from,
    objects,
    pod,
    policy,
    replace,
)
from e2e.test_agent_restart import workers

WORLD = pod("web") + pod("friend") + pod("stranger") + pod("doomed") + ingress_from("lid", "web", "friend")


class Running(NamedTuple):
    """A sandbox, a connection to its agent, and the web pod's IPv4 address."""

    instance: Instance
    client: Client
    web: str


def too_many_classes(name: str = "big", count: int = 200, first: int = 192) -> str:
    """A policy with more peers to tell apart than there is room for."""
    rules = ", ".join(
        f"{{from: [{{ipBlock: {{cidr: {first}.0.{n}.0/24}}}}], ports: [{{port: {n + 1}}}]}}"
        for n in range(count)
    )
    return policy(name, f"{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rules}]}}")


@pytest.fixture
def up(host: Machine) -> Iterator[Running]:
    """Four pods and a policy."""
    instance = host.instance()
    with instance.start() as client:
        replace(client, WORLD)
        yield Running(instance, client, addresses(client, "web")[0])


def refused(up: Running, text: str) -> TooBigError:
    """How the agent refuses a world that does not fit."""
    with pytest.raises(TooBigError) as caught:
        replace(up.client, text)
    return caught.value


def as_before(up: Running) -> None:
    """The policy that was in force still is, for old pods and open connections."""
    assert up.instance.reaches("friend", up.web)
    assert not up.instance.reaches("stranger", up.web, timeout=0.5)


def test_what_goes_is_closed_at_once(up: Running) -> None:
    """A world that does not fit takes the pod that it no longer names away, and leaves the rest in force."""
    doomed = addresses(up.client, "doomed")[0]
    line = up.instance.dial("friend", doomed)
    kept = up.instance.dial("friend", up.web)
    error = refused(up, WORLD.replace(pod("doomed"), "") + too_many_classes() + pod("late"))
    assert "NetworkPolicy/default/big" in str(error) and "stays closed" in str(error)
    assert not line.answers(timeout=0.5)
    assert not up.instance.reaches("friend", doomed, timeout=0.5)
    assert not up.instance.netns("doomed").exists()
    assert kept.answers()
    as_before(up)
    line.close()
    kept.close()


def test_what_comes_stays_closed_and_says_why(up: Running) -> None:
    """A new pod of a world that does not fit is listed as closed, with what was too big, without network."""
    refused(up, WORLD + too_many_classes() + pod("late"))
    late = endpoint(up.client, "late")
    assert late.state == "closed" and "classes" in late.problem
    assert not up.instance.netns("late").exists()
    problems = " ".join(up.client.status().problems)
    assert "classes" in problems and "default/late" in problems
    assert not up.instance.reaches("friend", late.addresses[0], timeout=0.5)


def test_the_next_change_that_fits_takes_everything(up: Running) -> None:
    """Each later change tries again: one that does not fit is refused, one that makes room opens all."""
    refused(up, WORLD + too_many_classes() + pod("late"))
    with pytest.raises(TooBigError):
        up.client.apply(objects(pod("later")))
    assert {endpoint(up.client, name).state for name in ("late", "later")} == {"closed"}
    up.client.delete(objects(too_many_classes()))
    status = up.client.status()
    assert status.problems == ()
    assert {endpoint(up.client, name).problem for name in ("late", "later")} == {""}
    assert up.instance.reaches("friend", addresses(up.client, "later")[0])
    as_before(up)


def test_a_restart_keeps_what_was_in_force(up: Running) -> None:
    """Agent or worker killed while something does not fit: same generation, same refusal, not one write."""
    refused(up, WORLD + too_many_classes() + pod("late"))
    before = up.client.status()
    line = up.instance.dial("friend", up.web)
    up.instance.kill()
    with up.instance.start() as client:
        after = client.status()
        assert (after.generation, after.digest, after.writes_total) == (before.generation, before.digest, 0)
        assert any("classes" in problem for problem in after.problems)
        assert line.answers()
        as_before(up)
        (worker,) = workers(up.instance)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(TooBigError):
            client.apply(objects(pod("later")))
        assert client.status().digest == before.digest
        client.delete(objects(too_many_classes()))
        assert client.status().problems == ()
        assert up.instance.reaches("friend", addresses(client, "later")[0])
        assert line.answers()
    line.close()


def test_room_that_a_removal_makes_is_used(host: Machine) -> None:
    """Where only half of the pods fit beside the old ones, old ones are let go first, and then all fit."""
    instance = host.instance(capacity=msgspec.structs.replace(SMALL, endpoints=8, flow_slots=8 * 1024))
    with instance.start() as client:
        replace(client, "".join(pod(f"old{n}") for n in range(6)))
        replace(client, "".join(pod(f"new{n}") for n in range(6)))
        assert client.status().problems == ()
        assert instance.reaches("new0", addresses(client, "new5")[0])
        with pytest.raises(TooBigError, match="endpoints"):
            replace(client, "".join(pod(f"new{n}") for n in range(8)))
        assert endpoint(client, "new7").state == "closed"
        assert instance.reaches("new0", addresses(client, "new5")[0])


def test_a_roll_back_that_does_not_fit_does_not_hold(up: Running) -> None:
    """Earlier policies that have no room beside those in force: refused whole, nothing held or changed."""
    replace(up.client, WORLD + too_many_classes("one", 80))
    earlier = up.client.status().generation
    replace(up.client, WORLD)
    replace(up.client, WORLD + too_many_classes("other", 80, 193))
    before = up.client.status()
    with pytest.raises(TooBigError):
        up.client.rollback(earlier)
    after = up.client.status()
    assert (after.generation, after.digest, after.held) == (before.generation, before.digest, 0)
    assert after.problems == ()
    up.client.apply(objects(pod("more")))
    as_before(up)

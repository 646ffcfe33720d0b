"""A running sandbox judges real packets, and changes what it does when its manifests change."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cloche.agent.client import Client
from cloche.agent.messages import Mode, Outcome, ProbePair
from cloche.errors import InputError, TooBigError
from cloche.model.topology import TCP, UDP
from e2e.agent_lab import (
    Instance,
    addresses,
    endpoint,
    ingress_from,
    leftovers,
    machine,
    objects,
    pod,
    policy,
    replace,
    wait_for,
)

PORTS = "80/TCP 53/UDP"
WEB, FRIEND, STRANGER = (pod(name, ports=PORTS) for name in ("web", "friend", "stranger"))
LID = ingress_from("lid", "web", "friend")
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {name: web}, ports: [{name: http, port: 8080, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: default}
spec: {selector: {name: nobody}, ports: [{port: 8080}]}
"""
SHOP = WEB + FRIEND + STRANGER + LID + SERVICE


class Running(NamedTuple):
    """A sandbox and a connection to its agent."""

    instance: Instance
    client: Client


@pytest.fixture(scope="module")
def up() -> Iterator[Running]:
    """One sandbox for this module."""
    with machine() as host:
        instance = host.instance()
        with instance.start() as client:
            yield Running(instance, client)


@pytest.fixture
def shop(up: Running) -> Running:
    """Three pods, a policy and two services, whatever the test before left."""
    replace(up.client, SHOP)
    return up


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_policy_holds_for_real_tcp_and_udp(shop: Running, family: int) -> None:
    """The pod that the policy names reaches the server by TCP and UDP, another pod by neither."""
    web = addresses(shop.client, "web")[family]
    asked = {
        name: (shop.instance.reaches(name, web), shop.instance.hears(name, web, 53))
        for name in ("friend", "stranger")
    }
    assert asked == {"friend": (True, True), "stranger": (False, False)}


def test_a_change_cuts_a_live_connection_and_no_other(shop: Running) -> None:
    """A policy that stops naming a pod silences its open connection; one that stays allowed goes on."""
    replace(shop.client, SHOP.replace("{name: friend}", "{}", 1) + pod("other"))
    web = addresses(shop.client, "web")[0]
    cut, kept = shop.instance.dial("stranger", web), shop.instance.dial("friend", web)
    assert cut.answers() and kept.answers()
    replace(shop.client, SHOP + pod("other"))
    assert not cut.answers()
    assert kept.answers()
    replace(shop.client, WEB + FRIEND + STRANGER)
    assert cut.answers(5.0)
    for line in (cut, kept):
        line.close()


def test_a_cut_connection_is_told_with_file_and_line(shop: Running) -> None:
    """The drop of a denied connection is an event that names both pods, the reason and the policy's line."""
    web = addresses(shop.client, "web")[0]
    assert not shop.instance.reaches("stranger", web)

    def told() -> bool:
        return any(
            (event.kind, event.source, event.destination, event.reason)
            == ("drop", "default/stranger", "default/web", "ingress-not-allowed")
            and event.rule is not None
            and event.rule.policy == "NetworkPolicy/default/lid"
            and event.rule.origin.startswith("<stdin>:")
            for event in shop.client.flows()
        )

    wait_for(told)


def test_relabelled_pod_keeps_its_namespace(shop: Running) -> None:
    """A label that changes changes verdicts, and neither incarnation, link nor addresses."""
    before = endpoint(shop.client, "stranger")
    shop.client.apply(objects(pod("stranger", ports=PORTS, labels="team: x")))
    lid = policy(
        "lid",
        "{podSelector: {matchLabels: {name: web}}, policyTypes: [Ingress], "
        "ingress: [{from: [{podSelector: {matchLabels: {team: x}}}]}]}",
    )
    shop.client.apply(objects(lid))
    after = endpoint(shop.client, "stranger")
    web = addresses(shop.client, "web")[0]
    assert shop.instance.reaches("stranger", web)
    assert not shop.instance.reaches("friend", web)
    assert (before.incarnation, before.link, before.addresses) == (
        after.incarnation,
        after.link,
        after.addresses,
    )


def test_pod_with_another_address_is_another_pod(shop: Running) -> None:
    """A pod whose address changes is made anew: new incarnation, new address, judged as before."""
    block = shop.instance.config.pod_ranges[0]
    address = str(block).replace(".0.0/17", ".77.7")
    before = endpoint(shop.client, "friend")
    moved = pod("friend", ports=PORTS, extra=f"status: {{podIPs: [{{ip: {address}}}]}}")
    shop.client.apply(objects(moved))
    after = endpoint(shop.client, "friend")
    assert after.addresses == (address,)
    assert after.incarnation > before.incarnation
    assert shop.instance.reaches("friend", addresses_of_web(shop))
    assert not shop.instance.reaches("stranger", addresses_of_web(shop))


def addresses_of_web(running: Running) -> str:
    return addresses(running.client, "web")[0]


def test_deleted_pod_leaves_nothing(shop: Running) -> None:
    """After delete the pod's link, namespace and resolver file are gone, and its address answers nobody."""
    gone = endpoint(shop.client, "web")
    (count, there) = (len(shop.client.endpoints()), shop.instance.netns("web").exists())
    applied = shop.client.delete(objects(WEB))
    left = [found for found in leftovers(shop.instance) if "default.web" in found or f"{gone.link}@" in found]
    assert (there, left) == (True, [])
    assert applied.endpoints == count - 1
    assert not shop.instance.reaches("friend", gone.addresses[0], timeout=0.4)


def test_what_is_not_there_to_delete_is_a_finding(shop: Running) -> None:
    """Deleting an object that is not there changes nothing and says which one it was."""
    generation = shop.client.status().generation
    applied = shop.client.delete(objects(pod("nobody")))
    assert "Pod default/nobody is not there" in [finding.message for finding in applied.findings]
    assert applied.generation == generation


BAD_POLICY = policy(
    "typo", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}"
)


@pytest.mark.parametrize("mode", list(Mode))
def test_bad_input_changes_nothing(shop: Running, mode: Mode) -> None:
    """One bad policy among good objects: all findings come back, and no part of it is applied."""
    before = shop.client.status()
    with pytest.raises(InputError) as caught:
        shop.client.apply(objects(pod("new") + BAD_POLICY), mode)
    after = shop.client.status()
    assert "except" in str(caught.value)
    assert (before.generation, before.digest, before.endpoints) == (
        after.generation,
        after.digest,
        after.endpoints,
    )


def test_too_big_changes_nothing(shop: Running) -> None:
    """Policies that need more classes than fit are refused with the costliest named; the old ones stay."""
    before = shop.client.status()
    rules = ", ".join(
        f"{{from: [{{ipBlock: {{cidr: 192.0.{n}.0/24}}}}], ports: [{{port: {n + 1}}}]}}" for n in range(200)
    )
    big = policy("big", f"{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rules}]}}")
    with pytest.raises(TooBigError) as caught:
        shop.client.apply(objects(big + pod("late")))
    after = shop.client.status()
    assert caught.value.costs[0][0] == "NetworkPolicy/default/big"
    assert (before.generation, before.digest, before.endpoints) == (
        after.generation,
        after.digest,
        after.endpoints,
    )
    assert not shop.instance.netns("late").exists()
    assert shop.instance.reaches("friend", addresses_of_web(shop))


def test_service_and_names_work_inside(shop: Running) -> None:
    """A pod finds a service by its name through the resolver, and reaches the pod behind it."""
    config = shop.instance.config
    client = shop.client
    service = next(shown for shown in client.services() if shown.service == "default/web")
    resolver = "/etc/netns/" + shop.instance.netns("friend").name + "/resolv.conf"
    with open(resolver) as file:
        lines = file.read().splitlines()
    assert f"nameserver {socket.inet_ntop(socket.AF_INET, config.dns_addresses[0][12:])}" in lines
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in lines
    assert shop.instance.reaches("friend", service.addresses[0], 8080)
    assert not shop.instance.reaches("stranger", service.addresses[0], 8080, 0.5)


def test_probe_tells_allow_deny_and_no_backend(shop: Running) -> None:
    """A refusal by the program for want of backends is deny; the endpoint's own refusal is allow."""
    web = addresses_of_web(shop)
    nobody = next(s for s in shop.client.services() if s.service == "default/nobody").addresses[0]
    pairs = (
        ProbePair("default/friend", web, TCP, 80),
        ProbePair("default/friend", web, UDP, 53),
        ProbePair("default/friend", web, TCP, 81),
        ProbePair("default/stranger", web, TCP, 80),
        ProbePair("default/friend", nobody, TCP, 8080),
        ProbePair("default/none", web, TCP, 80),
    )
    results = shop.client.probe(pairs)
    assert [result.outcome for result in results] == [
        Outcome.ALLOW,
        Outcome.ALLOW,
        Outcome.ALLOW,
        Outcome.DENY,
        Outcome.DENY,
        Outcome.UNPROBEABLE,
    ]
    assert [result.answered_by for result in results[:2]] == ["default/web"] * 2
    assert results[4].detail == "no-backend"


def test_the_loop_is_never_blocked_for_long(shop: Running) -> None:
    """After all kinds of requests the longest block of the loop is what the status tells, and is short."""
    for number in range(3):
        shop.client.apply(objects(pod(f"more-{number}")))
    status = shop.client.status()
    assert 0 < status.loop_longest_block_ms < 200
    assert status.problems == ()

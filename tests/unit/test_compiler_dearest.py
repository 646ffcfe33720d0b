"""A refusal names what takes most of that which ran out, where it is written, and what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from policy_worlds import HOST, attached, block, namespace, pod, pods, policy, port, rule, world

from cloche.compiler import compile_full
from cloche.errors import TooBigError
from cloche.model.address import parse_address, parse_block
from cloche.model.topology import TCP, Backend, Network, Service, ServicePort
from cloche.tables.schema import NETWORKS, Capacity

ROOMY = Capacity(classes=256, sets=64, cells=65536, endpoints=64, quota=16, addresses=256, prefixes=256)
PODS = [pod(f"x/p{n}", n, {"app": f"a{n}", "all": "one"}) for n in range(1, 7)]
BLOCKS = policy("x/blocks", ingress=[rule(block(f"10.9.{n}.0/24")) for n in range(40)])
PORTS = policy("x/ports", ingress=[rule(everyone=True, ports=[port(n)]) for n in range(1, 400, 2)])
EACH = [
    policy(f"x/each{n}", pods(where="x", app=f"a{n}"), egress=[rule(pods(where="x", app=f"a{n}"))])
    for n in range(1, 7)
]
WIDE = policy("x/wide", egress=[rule(pods(where="x", all="one"), ports=[port(5)])] * 3)
MANY = Service(
    "x",
    "many",
    (parse_address("10.96.0.1"),),
    tuple(
        ServicePort(f"p{n}", TCP, n, (Backend(PODS[0].addresses[0], n, PODS[0].key),)) for n in range(1, 30)
    ),
)
FEW = Service("x", "few", (parse_address("10.96.0.2"),), MANY.ports[:1])

RAN_OUT = [
    ("classes", {"classes": 20}, "NetworkPolicy/x/blocks", "classes, world.yaml:1"),
    ("prefixes", {"prefixes": 20}, "NetworkPolicy/x/blocks", "40 blocks, world.yaml:1"),
    ("atoms", {"atoms": 100}, "NetworkPolicy/x/ports", "200 port ranges, world.yaml:1"),
    ("sets", {"sets": 4}, "NetworkPolicy/x/wide", "6 sets, world.yaml:1"),
    ("counters", {"counters": 100}, "NetworkPolicy/x/ports", "200 rules, world.yaml:1"),
    ("cells", {"cells": 64}, "", "rows, world.yaml:1"),
    ("services", {"services": 8}, "x/many", "29 addresses and ports"),
    ("backends", {"backends": 8}, "x/many", "29 backends"),
    ("endpoints", {"endpoints": 4}, None, ""),
    ("addresses", {"addresses": 4}, None, ""),
]


@pytest.mark.parametrize(("what", "room", "dearest", "shown"), RAN_OUT)
def test_the_dearest_of_what_ran_out_is_named(
    what: str, room: dict[str, Any], dearest: str | None, shown: str
) -> None:
    """Whatever it is: in its own unit, with file and line, and a hint; nobody where pods alone count."""
    state = world(namespace("x"), *PODS, *attached(*PODS), BLOCKS, PORTS, *EACH, WIDE, MANY, FEW)
    compile_full(state, HOST.name, ROOMY)
    with pytest.raises(TooBigError) as caught:
        compile_full(state, HOST.name, msgspec.structs.replace(ROOMY, **room))
    error = caught.value
    assert (error.what, bool(error.hint)) == (what, True)
    assert error.hint in str(error)
    if dearest is None:
        assert error.costs == ()
        assert "costliest" not in str(error)
        return
    assert error.costs[0].name == (dearest or error.costs[0].name)
    assert f"{error.costs[0].name} (" in str(error)
    assert shown in str(error)
    assert [cost.amount for cost in error.costs] == sorted((c.amount for c in error.costs), reverse=True)


def test_blocks_of_ipv6_are_counted_with_the_nodes_they_may_need() -> None:
    """Far-away addresses of IPv6 may need more nodes than there are, though there is room by their number."""
    far = [block(f"{n:x}00::1/128") for n in range(0x20, 0x40)]
    state = world(namespace("x"), *PODS, *attached(*PODS), policy("x/far", ingress=[rule(*far)]))
    room = msgspec.structs.replace(ROOMY, prefixes=80)
    with pytest.raises(TooBigError, match="prefixes") as caught:
        compile_full(state, HOST.name, room)
    assert caught.value.needed > 80
    near = [block(f"20.0.{n}.0/24") for n in range(32)]
    state = world(namespace("x"), *PODS, *attached(*PODS), policy("x/near", ingress=[rule(*near)]))
    compile_full(state, HOST.name, room)


def test_a_network_without_room_for_blocks_is_refused() -> None:
    """A number that is too high is told before anything is written."""
    network = Network(NETWORKS, ranges=(parse_block("10.9.0.0/16"),))
    with pytest.raises(TooBigError, match="networks"):
        compile_full(world(namespace("x"), network), HOST.name, ROOMY)

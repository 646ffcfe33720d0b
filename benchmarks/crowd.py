"""Big worlds: namespaces with four pods and some policies each, and small changes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import msgspec

from cloche.model.address import MAPPED, Address, parse_block
from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL, make_labels, match_labels
from cloche.model.policy import PodPeer, Policy, PortMatch, Rule
from cloche.model.state import Delete, Event, Object, Put
from cloche.model.topology import (
    DEFAULT_NETWORK,
    TCP,
    Attachment,
    Endpoint,
    Host,
    Namespace,
    Network,
)

HERE, ELSEWHERE = "here", "elsewhere"
RANGES = (parse_block("10.0.0.0/8"), parse_block("fd00:244::/64"))
PODS = 4
"""In each namespace: two labelled ``app-1=scale-1``, two ``app-2=scale-2``."""

ENDPOINTS = 110
"""On the host that is compiled for, each in a namespace of its own."""

GROUPS = (("app-1", "scale-1"), ("app-2", "scale-2"))


class Crowd(msgspec.Struct, frozen=True):
    """So many namespaces with so many policies each: three (ingress from the like-labelled on 80/tcp for
    either label, and a default deny of ingress) or four (and egress only to the own namespace)."""

    namespaces: int
    policies_each: int

    @property
    def pods(self) -> int:
        """How many pods there are."""
        return PODS * self.namespaces

    @property
    def policies(self) -> int:
        """How many policies there are."""
        return self.policies_each * self.namespaces


def addresses(number: int) -> tuple[Address, Address]:
    """The addresses of pod ``number``, 1 and up."""
    low = number.to_bytes(4, "big")
    return Address(MAPPED + b"\x0a" + low[1:]), Address(bytes.fromhex("fd000244") + bytes(8) + low)


def pod(space: str, name: str, number: int, group: int, host: str) -> Endpoint:
    """A pod of one of the two groups."""
    return Endpoint(space, name, addresses(number), make_labels(dict([GROUPS[group]])), host=host)


def policy(space: str, group: int, port: int = 80, group_allowed: int | None = None) -> Policy:
    """What allows a group ingress on a port from one group, its own if none is named."""
    subject = match_labels(dict([GROUPS[group]]))
    allowed = subject if group_allowed is None else match_labels(dict([GROUPS[group_allowed]]))
    rule = Rule(0, peers=(PodPeer(allowed, space),), ports=(PortMatch(TCP, port, port),))
    return Policy("NetworkPolicy", space, f"from-{group + 1}", PodPeer(subject, space), None, (rule,))


def _space(number: int) -> str:
    return f"space-{number}"


def _host(number: int, place: int) -> str:
    return HERE if number < ENDPOINTS and place == 0 else ELSEWHERE


def objects(crowd: Crowd) -> Iterator[Object]:
    """All objects of a world."""
    yield Network(DEFAULT_NETWORK, ranges=RANGES)
    yield Host(HERE)
    yield Host(ELSEWHERE)
    for number in range(crowd.namespaces):
        space = _space(number)
        yield Namespace(space, make_labels({NAMESPACE_NAME_LABEL: space}))
        for place in range(PODS):
            host = _host(number, place)
            yield pod(space, f"pod-{place}", number * PODS + place + 1, place // 2, host)
        everyone = PodPeer(EVERYTHING, space)
        made = [
            policy(space, 0),
            policy(space, 1),
            Policy("NetworkPolicy", space, "deny", everyone, None, ()),
            Policy("NetworkPolicy", space, "inside", everyone, (Rule(0, peers=(everyone,)),), None),
        ]
        yield from made[: crowd.policies_each]


def events(crowd: Crowd) -> list[Event]:
    """The events that make a world, with its endpoints here attached."""
    here = range(min(ENDPOINTS, crowd.namespaces))
    attached = (Attachment(f"{_space(n)}/pod-0", n + 1, n + 1, n + 10, bytes(6), bytes(6)) for n in here)
    return [*(Put(made) for made in objects(crowd)), *(Put(made) for made in attached)]


Round = Callable[[str, int], tuple[Event, Event]]
"""For a namespace's name and number: one change, and another that undoes it. Both count."""


def _pod(space: str, number: int) -> tuple[Event, Event]:
    new = pod(space, "new", 0xF00000 + number, 0, ELSEWHERE)
    return Put(new), Delete("Endpoint", new.key)


def _label(space: str, number: int) -> tuple[Event, Event]:
    first = number * PODS + 2
    return Put(pod(space, "pod-1", first, 1, ELSEWHERE)), Put(pod(space, "pod-1", first, 0, ELSEWHERE))


def _policy(space: str, number: int) -> tuple[Event, Event]:
    return Put(policy(space, 0, group_allowed=1)), Put(policy(space, 0))


def _port(space: str, number: int) -> tuple[Event, Event]:
    return Put(policy(space, 0, port=8080)), Put(policy(space, 0))


CHANGES: dict[str, Round] = {
    "a pod added, removed": _pod,
    "a label changed": _label,
    "a policy's peer changed": _policy,
    "a policy's port changed, to a new one": _port,
}


def changes(crowd: Crowd, what: str, count: int, *, here: bool, seed: int = 1) -> Iterator[Event]:
    """So many pairs of changes of a kind in ``CHANGES``; ``here``: in namespaces with an endpoint here.

    Otherwise in namespaces without, unless the world is so small that all have one.
    """
    chance, ours = Random(seed), min(ENDPOINTS, crowd.namespaces)
    first, end = (0, ours) if here or crowd.namespaces == ours else (ours, crowd.namespaces)
    for _ in range(count):
        number = chance.randrange(first, end)
        yield from CHANGES[what](_space(number), number)

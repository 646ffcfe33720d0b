"""A sandbox of 100 pods that 10 000 rules judge, as manifests; and a gate in front of some of them.

Every pod has ten policies of ten rules, half of them on either direction: by identity, by CIDR with a hole,
by range of ports. Pods come in pairs, a client and a server; the rules of a client let it out to its
server, and a policy of its own, the gate, lets it in there or does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from cloche.orchestrators.sandbox import Manifest, read

PODS = 100
SPACES = 10
POLICIES_EACH, RULES_EACH = 10, 10
PORTS = 60
"""How many different ports rules begin at."""

UDP_PORT, TCP_PORT, OTHER_PORT = 9000, 9001, 9002
Labels = dict[str, str]


class Pair(NamedTuple):
    """A client and its server, by their numbers."""

    client: int
    server: int

    @property
    def gate(self) -> str:
        """The policy that lets the client in."""
        return f"gate-{self.server}"


def space(number: int) -> str:
    """The namespace of a pod."""
    return f"town-{number % SPACES}"


def name(number: int) -> str:
    """A pod's name; it has a label ``app`` that says the same."""
    return f"pod-{number}"


def key(number: int) -> str:
    """A pod as ``namespace/name``."""
    return f"{space(number)}/{name(number)}"


def pairs(pods: int = PODS) -> list[Pair]:
    """All pairs there are: every pod is in one."""
    return [Pair(number, number + 1) for number in range(0, pods, 2)]


def _peer(number: int) -> dict[str, object]:
    """The pod of this number as a peer."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space(number)}},
        "podSelector": {"matchLabels": {"app": name(number)}},
    }


def _rule(side: str, pod: int, number: int, pods: int) -> dict[str, object]:
    """Rule ``number`` of a pod: in turns by identity, by CIDR with a hole, by identity with many ports."""
    port = 1024 + (pod + number) % PORTS * 16
    one = {"protocol": "TCP", "port": port}
    many = {"protocol": "UDP" if number % 2 else "TCP", "port": port, "endPort": port + 24}
    other = (pod + 3 + number * 7) % pods
    match number % 3:
        case 0:
            return {side: [_peer(other)], "ports": [one]}
        case 1:
            block = f"172.{16 + number % 16}.{(pod + number) % 250}"
            return {
                side: [{"ipBlock": {"cidr": f"{block}.0/24", "except": [f"{block}.64/28"]}}],
                "ports": [one],
            }
        case _:
            return {side: [_peer(other)], "ports": [many]}


def _policy(named: str, where: str, subject: str, spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": named, "namespace": where},
        "spec": {"podSelector": {"matchLabels": {"app": subject}}, **spec},
    }


def _policies(pod: int, pods: int) -> Iterator[dict[str, object]]:
    """A pod's own: one of them, on its way out, allows it its server."""
    partner = pod + 1 if pod % 2 == 0 else pod - 1
    for number in range(POLICIES_EACH):
        out = number % 2 == 0
        side, direction, kind = ("to", "egress", "Egress") if out else ("from", "ingress", "Ingress")
        first = number * RULES_EACH
        rules = [_rule(side, pod, index, pods) for index in range(first, first + RULES_EACH)]
        if number == 0:
            rules[-1] = {"to": [_peer(partner)]}
        yield _policy(
            f"{name(pod)}-{number}", space(pod), name(pod), {"policyTypes": [kind], direction: rules}
        )


def gate(pair: Pair, *, ports: tuple[int, ...] = (UDP_PORT, TCP_PORT), peer: int | None = None) -> Manifest:
    """The policy that lets one pod, the pair's client if none is named, in to the server on these ports."""
    listed = [{"protocol": kind, "port": port} for port in ports for kind in ("UDP", "TCP")]
    rule = {"from": [_peer(pair.client if peer is None else peer)], "ports": listed}
    spec = {"policyTypes": ["Ingress"], "ingress": [rule]}
    (made,) = _read([_policy(pair.gate, space(pair.server), name(pair.server), spec)])
    return made


def _read(documents: list[dict[str, object]]) -> tuple[Manifest, ...]:
    return read(
        ["-"], stdin=msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": documents}).decode()
    )


def _pod(number: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name(number), "namespace": space(number), "labels": {"app": name(number)}},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    }


def manifests(pods: int = PODS) -> tuple[Manifest, ...]:
    """The whole sandbox, every gate open."""
    documents = [_pod(number) for number in range(pods)]
    for number in range(pods):
        documents += _policies(number, pods)
    return (*_read(documents), *(gate(pair) for pair in pairs(pods)))

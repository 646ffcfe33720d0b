"""The world of the policy scenarios, and what a scenario is: steps, each with policies and a truth table.

The scenarios state in our own words what the conformance suite of Kubernetes asks of a network plugin:
42 about TCP, 3 about UDP, 3 about SCTP. All are told in one world: pods ``a``, ``b`` and ``c`` in each of the
namespaces ``x``, ``y`` and ``z``, all serving ports 80 and 81 over TCP, UDP and SCTP.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import yaml

Document = dict[str, Any]
NAMESPACES = ("x", "y", "z")
PODS = tuple(f"{namespace}/{name}" for namespace in NAMESPACES for name in "abc")
PAIRS = tuple(itertools.permutations(PODS, 2))
POD_RANGES = ("10.201.0.0/16", "fd00:201::/64")
"""Others than the default ones, so that the scenarios run beside a sandbox that has those."""
PORTS = (80, 81)
PROTOCOLS = ("TCP", "UDP", "SCTP")


def addresses(pod: str) -> tuple[str, str]:
    """The pod's IPv4 and IPv6 address, inside ``POD_RANGES``."""
    number = PODS.index(pod)
    return f"10.201.{1 + number // 3}.{1 + number % 3}", f"fd00:201::{1 + number // 3}:{1 + number % 3}"


class Step(NamedTuple):
    """One state of the world and what must then be true.

    ``policies``: all that there are, as ``policy`` makes them. ``truth``: for a port (``80/tcp``) lines of
    ``deny FROM TO`` and ``allow FROM TO`` over an all-allowed table, later ones winning; ``*`` stands for
    any text. ``labels``: labels beyond the ordinary ones, by pod (``x/a``) or namespace (``y``).
    """

    policies: tuple[Document, ...]
    truth: Mapping[str, str]
    labels: Mapping[str, Mapping[str, str]] = {}


class Scenario(NamedTuple):
    """A fact about policy, told in steps."""

    fact: str
    steps: tuple[Step, ...]


def policy(name: str, spec: str, namespace: str = "x") -> Document:
    """A NetworkPolicy from its spec in YAML."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": yaml.safe_load(spec),
    }


def expected(truth: str) -> dict[tuple[str, str], bool]:
    """The truth table of one port: (source, destination) -> allowed, for all 72 pairs of pods."""
    table = dict.fromkeys(PAIRS, True)
    for line in filter(None, (part.strip() for part in truth.split(";"))):
        action, source, destination = line.split()
        assert action in ("allow", "deny"), line
        for pair in PAIRS:
            if fnmatchcase(pair[0], source) and fnmatchcase(pair[1], destination):
                table[pair] = action == "allow"
    return table


def world(step: Step) -> list[Document]:
    """Every object of the step: namespaces, pods, policies."""
    documents: list[Document] = [namespace(name, step.labels.get(name, {})) for name in NAMESPACES]
    documents += [pod(name, step.labels.get(name, {})) for name in PODS]
    return documents + list(step.policies)


def namespace(name: str, labels: Mapping[str, str]) -> Document:
    """A Namespace; it is labelled with its own name by Kubernetes itself."""
    metadata = {"name": name, "labels": {"ns": name} | dict(labels)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pod(key: str, labels: Mapping[str, str]) -> Document:
    """A Pod that serves every port, with the addresses it always has."""
    home, name = key.split("/")
    ports = [
        {"name": f"serve-{port}-{protocol.lower()}", "containerPort": port, "protocol": protocol}
        for port in PORTS
        for protocol in PROTOCOLS
    ]
    ipv4, ipv6 = addresses(key)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": home, "labels": {"pod": name} | dict(labels)},
        "spec": {"containers": [{"name": "serve", "image": "serve", "ports": ports}]},
        "status": {"podIP": ipv4, "podIPs": [{"ip": ipv4}, {"ip": ipv6}]},
    }

"""What ``show`` lists, made from the active model and what the kernel holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from cloche.agent.messages import ShownClass, ShownEndpoint, ShownPolicy, ShownService
from cloche.agent.naming import Directory
from cloche.agent.narrate import port_text
from cloche.datapath.layout import EndpointState
from cloche.model.address import format_address
from cloche.model.policy import Direction, PodPeer, Policy
from cloche.model.state import State
from cloche.model.topology import Endpoint
from cloche.tables.schema import EndpointEntry, Tables

EXAMPLES = 8
"""Members of a class that are named; the rest are counted."""


class Names(Protocol):
    """How an endpoint's kernel objects are called."""

    def link(self, number: int) -> str:
        """The host side of the endpoint with this number."""

    def namespace(self, endpoint: str) -> str:
        """The path of the endpoint's network namespace."""


class _Nameless:
    """Endpoints without kernel objects."""

    def link(self, number: int) -> str:
        return ""

    def namespace(self, endpoint: str) -> str:
        return ""


_NAMELESS = _Nameless()


def endpoints(
    state: State, entries: Mapping[int, EndpointEntry], generation: int, names: Names
) -> list[ShownEndpoint]:
    """Every endpoint by key; those on the host network are their host: not attached, so number 0."""
    return [
        _endpoint(state, endpoint, entries, generation, names)
        for endpoint in sorted(state.endpoints.values(), key=lambda endpoint: endpoint.key)
    ]


def _endpoint(
    state: State, endpoint: Endpoint, entries: Mapping[int, EndpointEntry], generation: int, names: Names
) -> ShownEndpoint:
    attachment = state.attachments.get(endpoint.key)
    entry = entries.get(attachment.number) if attachment else None
    status = EndpointState(entry.state) if entry else EndpointState.ABSENT
    return ShownEndpoint(
        endpoint=endpoint.key,
        addresses=tuple(map(format_address, endpoint.addresses)),
        state="host" if endpoint.host_network else status.name.lower(),
        number=attachment.number if attachment else 0,
        incarnation=attachment.incarnation if attachment else 0,
        link=names.link(attachment.number) if attachment else "",
        network_namespace=names.namespace(endpoint.key) if attachment else "",
        egress_set=entry.egress.at(generation) if entry else 0,
        ingress_set=entry.ingress.at(generation) if entry else 0,
        labels=dict(endpoint.labels),
        ports=tuple(
            f"{port.name}={port_text(port.protocol, port.port)}"
            if port.name
            else port_text(port.protocol, port.port)
            for port in endpoint.ports
        ),
        workload=endpoint.workload,
        system=endpoint.system,
    )


def closed(endpoints: Iterable[Endpoint], problem: str) -> list[ShownEndpoint]:
    """Endpoints that are wanted and not there, and why."""
    nobody, nothing = State(), dict[int, EndpointEntry]()
    return [
        msgspec.structs.replace(
            _endpoint(nobody, endpoint, nothing, 0, _NAMELESS), state="closed", problem=problem
        )
        for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.key)
    ]


def policies(state: State) -> list[ShownPolicy]:
    """Every policy by key with the endpoints it protects."""
    return [
        ShownPolicy(
            policy=policy.key,
            subjects=tuple(_subjects(state, policy)),
            egress_rules=_count(policy, Direction.EGRESS),
            ingress_rules=_count(policy, Direction.INGRESS),
            origin=str(policy.origin),
        )
        for policy in sorted(state.policies.values(), key=lambda policy: policy.key)
    ]


def _count(policy: Policy, direction: Direction) -> int:
    rules = policy.rules(direction)
    return -1 if rules is None else len(rules)


def _subjects(state: State, policy: Policy) -> Iterable[str]:
    for key in sorted(state.endpoints):
        endpoint = state.endpoints[key]
        if not endpoint.host_network and _selects(state, policy.subject, endpoint):
            yield key


def _selects(state: State, peer: PodPeer, endpoint: Endpoint) -> bool:
    if peer.namespaces is None:
        if endpoint.namespace != peer.namespace:
            return False
    else:
        namespace = state.namespaces.get(endpoint.namespace)
        if not peer.namespaces.matches(dict(namespace.labels) if namespace else {}):
            return False
    return peer.pods.matches(dict(endpoint.labels))


def services(state: State) -> list[ShownService]:
    """Every service port by key, its backends as address, port and endpoint."""
    return [
        ShownService(
            service=service.key,
            addresses=tuple(map(format_address, service.addresses)),
            port=port_text(port.protocol, port.port),
            backends=tuple(
                f"{format_address(backend.address)} {port_text(port.protocol, backend.port)}"
                + (f" {backend.endpoint}" if backend.endpoint else "")
                for backend in port.backends
            ),
            affinity_seconds=service.affinity_seconds,
            system=service.system,
        )
        for service in sorted(state.services.values(), key=lambda service: service.key)
        for port in service.ports
    ]


def classes(directory: Directory, tables: Tables) -> list[ShownClass]:
    """Every class that an address or a prefix has in the tables' own generation."""
    members: dict[int, list[str]] = {}
    addresses: Counter[int] = Counter()
    prefixes: Counter[int] = Counter()
    for key, address in tables.addresses.items():
        number = address.class_.at(tables.generation)
        name = directory.by_address(key.address) or format_address(key.address)
        members.setdefault(number, []).append(name)
        addresses[number] += 1
    for prefix, entry in tables.prefixes.items():
        number = entry.class_.at(tables.generation)
        members.setdefault(number, []).append(str(prefix.block))
        prefixes[number] += 1
    return [
        ShownClass(number, addresses[number], prefixes[number], tuple(sorted(set(named))[:EXAMPLES]))
        for number, named in sorted(members.items())
        if number
    ]

"""The ends of a question as people write them: a pod, a service, an address or a CIDR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from cloche.errors import Finding, InputError
from cloche.model.address import Address, Block, host_block, parse_address, parse_block
from cloche.model.policy import BlockPeer, Direction
from cloche.model.ports import Port
from cloche.model.state import State
from cloche.model.topology import DEFAULT_NETWORK, Endpoint, Service
from cloche.model.tracker.checks import CLASS_E, LINK_LOCAL, LOOPBACK, MULTICAST, UNSPECIFIED

NEVER = (*LOOPBACK, CLASS_E, *MULTICAST, *LINK_LOCAL, *(host_block(a) for a in UNSPECIFIED))
"""Blocks whose addresses no flow has here."""


class End(NamedTuple):
    """One end as written: its network, and the addresses that stand for it, with how many each stands for."""

    text: str
    network: int
    addresses: tuple[tuple[Address, int], ...]
    endpoint: Endpoint | None = None
    service: Service | None = None


def parse_end(state: State, text: str) -> End:
    """The end written ``text``: ``namespace/name`` of a pod, else of a service, ``service/namespace/name``,
    an address or a CIDR; a name alone is in the namespace ``default``. Raises InputError, for a pod on the
    host network too."""
    numeric = _numeric_end(state, text)
    if numeric is not None:
        return numeric
    kind, _, rest = text.partition("/")
    named = rest if kind == "service" and "/" in rest else ""
    key = named or (text if "/" in text else f"default/{text}")
    endpoint = None if named else state.endpoints.get(key)
    if endpoint is not None and endpoint.host_network:
        hint = "name the host's address"
        raise InputError([Finding("", 0, text, "is on the host network: it is its host", hint)])
    if endpoint is not None:
        return End(text, endpoint.network, tuple((a, 1) for a in endpoint.addresses), endpoint)
    service = state.services.get(key)
    if service is not None:
        return End(text, service.network, tuple((a, 1) for a in service.addresses), service=service)
    known = sorted({*state.endpoints, *(f"service/{s}" for s in state.services)})
    alike = [k for k in known if key.partition("/")[2] in k] or known
    hint = f"there is {', '.join(alike[:4])}" if alike else "there are no pods and no services"
    raise InputError([Finding("", 0, text, "no such pod, service, address or CIDR", hint)])


def behind(service: Service, port: Port) -> dict[Address, Port]:
    """Where clients of a headless service go, as its name stands for its backends: each backend's address,
    with the port that is asked there. A number is itself, a name the service's own for a port of theirs.
    Raises InputError when there are none."""
    named = {(served.name, served.protocol): served for served in service.ports}
    if port.name and (port.name, port.protocol) not in named:
        names = ", ".join(sorted({p.name for p in service.ports if p.name})) or "none"
        raise InputError([Finding("", 0, service.key, f"has no port named {port}", f"named ports: {names}")])
    served = [named[port.name, port.protocol]] if port.name else service.ports
    found = {
        backend.address: Port(port.protocol, backend.port) if port.name else port
        for one in served
        for backend in one.backends
    }
    if not found:
        message = "a headless service without backends has no address"
        raise InputError([Finding("", 0, service.key, message, "name a pod")])
    return dict(sorted(found.items()))


def _numeric_end(state: State, text: str) -> End | None:
    try:
        if "/" not in text:
            return End(text, DEFAULT_NETWORK, ((parse_address(text), 1),))
        block = parse_block(text)
    except ValueError:
        block_like = text[:1].isdigit() and text.rpartition("/")[2].isdecimal()
        if block_like and text not in state.endpoints and text not in state.services:
            raise InputError([Finding("", 0, text, "no CIDR", "like 10.0.0.0/8 or fd00::/64")]) from None
        return None
    return End(text, DEFAULT_NETWORK, tuple(pieces(state, block)))


def pieces(state: State, block: Block) -> Iterator[tuple[Address, int]]:
    """The block cut where anything that policy can see begins or ends: each piece's first address and its
    size. Pieces that no flow can have are left out."""
    low, high = _number(block.first()), _number(block.last())
    cuts = {low}
    for edge in _edges(state):
        if edge.ipv4 == block.ipv4:
            cuts |= {c for c in (_number(edge.first()), _number(edge.last()) + 1) if low < c <= high}
    ordered = [*sorted(cuts), high + 1]
    for first, end in pairwise(ordered):
        address = Address(first.to_bytes(16, "big"))
        if not any(never.contains(address) for never in NEVER):
            yield address, end - first


def _number(address: Address) -> int:
    return int.from_bytes(address, "big")


def _edges(state: State) -> Iterable[Block]:
    yield from NEVER
    for policy in state.policies.values():
        for direction in Direction:
            for rule in policy.rules(direction) or ():
                for peer in rule.peers or ():
                    if isinstance(peer, BlockPeer):
                        yield from (peer.block, *peer.excepts)
    for network in state.networks.values():
        yield from network.ranges
    owned = [e.addresses for e in state.endpoints.values()]
    owned += [h.addresses for h in state.hosts.values()]
    owned += [s.addresses for s in state.services.values()]
    for addresses in owned:
        yield from map(host_block, addresses)

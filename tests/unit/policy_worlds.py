"""Builders of small worlds for tests of the model: pods, policies and packets in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloche.model.address import Address, parse_address, parse_block
from cloche.model.flow import Entry, Packet
from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL, Selector, make_labels, match_labels
from cloche.model.policy import Action, BlockPeer, Peer, PodPeer, Policy, PortMatch, Rule, Tier
from cloche.model.state import Object, Put, State
from cloche.model.topology import (
    TCP,
    Attachment,
    Endpoint,
    Host,
    NamedPort,
    Namespace,
    Network,
    Origin,
)

POD_RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
HOST = Host("node", (parse_address("172.18.0.2"), parse_address("fd00:172::2")))
NETWORK = Network(1, ranges=POD_RANGES)


def world(*objects: Object) -> State:
    """A state with one host, one network and these objects."""
    return State(Put(thing) for thing in (NETWORK, HOST, *objects))


def namespace(name: str, **labels: str) -> Namespace:
    """A namespace with its name label and these."""
    return Namespace(name, make_labels({NAMESPACE_NAME_LABEL: name, **labels}))


def pod(
    key: str,
    number: int,
    labels: Mapping[str, str] | None = None,
    ports: Iterable[NamedPort] = (),
    **more: object,
) -> Endpoint:
    """The pod ``namespace/name`` with addresses 10.244.0.number and fd00:244::number (hexadecimal)."""
    space, _, name = key.partition("/")
    addresses = (parse_address(f"10.244.0.{number}"), parse_address(f"fd00:244::{number:x}"))
    fields = {"addresses": addresses, **more}
    return Endpoint(space, name, labels=make_labels(labels or {}), ports=tuple(ports), **fields)  # type: ignore[arg-type]


def attached(*endpoints: Endpoint) -> list[Attachment]:
    """An attachment for each endpoint, numbered from 1."""
    return [
        Attachment(e.key, n, n, 100 + n, bytes((2, 0, 0, 0, 0, n)), bytes((2, 0, 0, 0, 1, n)))
        for n, e in enumerate(endpoints, 1)
    ]


def pods(namespaces: Selector | Mapping[str, str] | None = None, where: str = "", **labels: str) -> PodPeer:
    """A peer or subject: pods with these labels, in namespace ``where`` or in those selected."""
    selector = match_labels(labels) if labels else EVERYTHING
    if namespaces is not None and not isinstance(namespaces, Selector):
        namespaces = match_labels(namespaces)
    return PodPeer(selector, where, namespaces)


def block(text: str, *excepts: str) -> BlockPeer:
    """An ipBlock peer."""
    return BlockPeer(parse_block(text), tuple(parse_block(e) for e in excepts))


def port(first: int | str, last: int | None = None, protocol: int = TCP) -> PortMatch:
    """A port, a range of ports or a named port."""
    if isinstance(first, str):
        return PortMatch(protocol, name=first)
    return PortMatch(protocol, first, first if last is None else last)


def rule(
    *peers: Peer,
    ports: Iterable[PortMatch] | None = None,
    action: Action = Action.ALLOW,
    everyone: bool = False,
) -> Rule:
    """A rule; its index and line are set by ``policy``. ``everyone``: no peers means every peer."""
    return Rule(0, action, None if everyone else peers, None if ports is None else tuple(ports))


def numbered(rules: Iterable[Rule] | None, first_line: int) -> tuple[Rule, ...] | None:
    """The rules with their indexes and an origin of their own."""
    if rules is None:
        return None
    return tuple(
        Rule(n, r.action, r.peers, r.ports, Origin("world.yaml", first_line + n)) for n, r in enumerate(rules)
    )


def policy(
    key: str,
    subject: PodPeer | None = None,
    *,
    egress: Iterable[Rule] | None = None,
    ingress: Iterable[Rule] | None = None,
    tier: Tier = Tier.DEFAULT,
    priority: int = 0,
) -> Policy:
    """A policy ``namespace/name``; its subject is every pod of its namespace unless given."""
    space, _, name = key.partition("/")
    return Policy(
        "NetworkPolicy",
        space,
        name,
        PodPeer(EVERYTHING, space) if subject is None else subject,
        numbered(egress, 10),
        numbered(ingress, 20),
        tier,
        priority,
        origin=Origin("world.yaml", 1),
    )


def address(end: str | Endpoint, ipv6: bool = False) -> Address:
    """The address written, or the endpoint's of that family."""
    if isinstance(end, Endpoint):
        return end.addresses[1 if ipv6 else 0]
    return parse_address(end)


def packet(
    source: str | Endpoint, destination: str | Endpoint, to: int = 80, *, ipv6: bool = False, **more: object
) -> Packet:
    """A TCP packet to that port, unless told otherwise; from an endpoint it comes in on its link."""
    fields: dict[str, object] = {"protocol": TCP, "source_port": 40000, "destination_port": to}
    if isinstance(source, Endpoint):
        fields |= {"entry": Entry.ENDPOINT, "sender": source.key}
    else:
        fields["entry"] = Entry.STACK
    fields |= more
    return Packet(address(source, ipv6), address(destination, ipv6), **fields)  # type: ignore[arg-type]

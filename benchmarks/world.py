"""A world with so many rules for two endpoints: identities, CIDRs and port ranges mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloche.model.address import Address, parse_address, parse_block
from cloche.model.labels import NAMESPACE_NAME_LABEL, make_labels, match_labels
from cloche.model.policy import BlockPeer, Direction, Peer, PodPeer, Policy, PortMatch, Rule
from cloche.model.state import Event, Object, Put, Synced
from cloche.model.topology import (
    DEFAULT_NETWORK,
    TCP,
    UDP,
    Backend,
    Endpoint,
    Host,
    Namespace,
    Network,
    Service,
    ServicePort,
)

NAMESPACE, HOST, ELSEWHERE = "bench", "here", "elsewhere"
RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
RULES_PER_POLICY = 10
OTHERS = 250
"""Endpoints on other hosts, each with labels of its own."""

SERVICES = 100
PORTS = 400
"""How many different ports rules begin at."""


def addresses(number: int) -> tuple[Address, Address]:
    """The addresses of endpoint ``number``, 1 and up."""
    ipv4 = f"10.244.{number // 250}.{number % 250 + 1}"
    return parse_address(ipv4), parse_address(f"fd00:244::{number:x}")


def endpoint(name: str, number: int, host: str) -> Endpoint:
    """An endpoint whose label ``app`` is its name."""
    return Endpoint(NAMESPACE, name, addresses(number), make_labels({"app": name}), host=host)


def _pods(name: str) -> PodPeer:
    return PodPeer(match_labels({"app": name}), NAMESPACE)


def _peer_and_port(number: int) -> tuple[Peer, PortMatch]:
    """Rule ``number``: in turns by identity, by CIDR with a hole, by identity with a range of ports."""
    port = 1024 + number % PORTS * 7
    match number % 3:
        case 0:
            return _pods(f"other-{number % OTHERS}"), PortMatch(TCP, port, port)
        case 1:
            block = parse_block(f"172.{16 + number // 250 % 16}.{number % 250}.0/24")
            hole = parse_block(f"172.{16 + number // 250 % 16}.{number % 250}.64/28")
            return BlockPeer(block, (hole,)), PortMatch(TCP, port, port)
        case _:
            return _pods(f"other-{number % OTHERS}"), PortMatch(TCP, port, port + 100)


def _measured_rule(index: int, partner: str, port: int) -> Rule:
    """The rule that allows the traffic that is measured."""
    ports = tuple(PortMatch(protocol, port, port) for protocol in (TCP, UDP))
    return Rule(index, peers=(_pods(partner),), ports=ports)


def _policies(subject: str, partner: str, direction: Direction, rules: int, port: int) -> Iterator[Policy]:
    """So many rules on one endpoint; the last of them allows the traffic that is measured."""
    made = []
    for number in range(rules - 1):
        peer, match = _peer_and_port(number)
        made.append(Rule(number % RULES_PER_POLICY, peers=(peer,), ports=(match,)))
    if rules:
        made.append(_measured_rule((rules - 1) % RULES_PER_POLICY, partner, port))
    for first in range(0, rules, RULES_PER_POLICY):
        some = tuple(made[first : first + RULES_PER_POLICY])
        egress = some if direction is Direction.EGRESS else None
        ingress = some if direction is Direction.INGRESS else None
        name = f"{subject}-{first // RULES_PER_POLICY}"
        yield Policy("NetworkPolicy", NAMESPACE, name, _pods(subject), egress, ingress)


def _services() -> Iterator[Service]:
    for number in range(SERVICES):
        backends = tuple(Backend(addresses(10 + (number + i) % OTHERS)[0], 8080) for i in range(3))
        address = parse_address(f"10.96.{number // 250}.{number % 250 + 1}")
        yield Service(NAMESPACE, f"service-{number}", (address,), (ServicePort("", TCP, 80, backends),))


def egress_events(client: Endpoint, server: Endpoint, rules: int, port: int) -> list[Event]:
    """The world in which ``client`` alone has policy: egress rules, the last of which allows ``server``."""
    return _world(client, server, _policies(client.name, server.name, Direction.EGRESS, rules, port))


def events(client: Endpoint, server: Endpoint, rules: int, port: int) -> list[Event]:
    """The world in which ``client`` may reach ``server``, judged by half of ``rules`` on either side.

    One rule alone is the server's, and the client has no policy. ``port`` is the server's. Raises ValueError
    for no rule.
    """
    if rules < 1:
        raise ValueError(f"{rules} rules; the server needs one")
    policies = (
        *_policies(client.name, server.name, Direction.EGRESS, rules // 2, port),
        *_policies(server.name, client.name, Direction.INGRESS, rules - rules // 2, port),
    )
    return _world(client, server, policies)


def _world(client: Endpoint, server: Endpoint, policies: Iterable[Policy]) -> list[Event]:
    objects: tuple[Object, ...] = (
        Network(DEFAULT_NETWORK, ranges=RANGES),
        Host(HOST),
        Host(ELSEWHERE),
        Namespace(NAMESPACE, make_labels({NAMESPACE_NAME_LABEL: NAMESPACE})),
        client,
        server,
        *(endpoint(f"other-{number}", 10 + number, ELSEWHERE) for number in range(OTHERS)),
        *_services(),
        *policies,
    )
    return [*(Put(made) for made in objects), Synced("benchmarks")]

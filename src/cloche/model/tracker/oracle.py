"""The oracle as a world: the model of one host, whose judge is ``evaluate``."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cloche.model.address import Address, is_ipv4
from cloche.model.evaluate import Answer, decide, evaluate, judge, question
from cloche.model.flow import Decision, Packet, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.state import State
from cloche.model.topology import (
    GATEWAY4,
    GATEWAY6,
    HAIRPIN4,
    HAIRPIN6,
    Backend,
    Service,
    ServicePort,
)
from cloche.model.tracker.decisions import denied, refused
from cloche.model.tracker.routes import PORTED
from cloche.model.tracker.world import Place, PlaceKind, ServiceView

Choice = Callable[[Packet, ServiceView], Backend]
"""Which backend was taken for a packet as the client wrote it: the oracle knows only which may be."""


class Reserved(NamedTuple):
    """The addresses that the configuration keeps for itself, by family."""

    gateway4: Address
    gateway6: Address
    hairpin4: Address
    hairpin6: Address


RESERVED = Reserved(GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6)


class Lawful(msgspec.Struct, frozen=True):
    """One backend that a packet may go to (None: its destination is no service) and the decision then."""

    backend: Backend | None
    decision: Decision


class OracleWorld:
    """A state as one host's world. Endpoints with an attachment are of this host and open; attachments
    without an endpoint are closed."""

    def __init__(self, state: State, generation: int, choose: Choice, reserved: Reserved = RESERVED) -> None:
        self.state = state
        self._generation = generation
        self._choose = choose
        self._reserved = reserved

    @property
    def generation(self) -> int:
        """As ``World``."""
        return self._generation

    def sender(self, key: str) -> Place | None:
        """As ``World``."""
        attachment = self.state.attachments.get(key)
        if attachment is None:
            return None
        there = key in self.state.endpoints
        return Place(PlaceKind.ENDPOINT, key, attachment.incarnation, there, attachment.mtu)

    def place(self, network: int, address: Address) -> Place:
        """As ``World``."""
        here = self._endpoint(network, address)
        if here is not None:
            return here
        if any(address in host.addresses for host in self.state.hosts.values()):
            return Place(PlaceKind.HOST)
        if any(s.network == network and address in s.addresses for s in self.state.services.values()):
            return Place(PlaceKind.SERVICE)
        if address in (self._reserved.gateway4, self._reserved.gateway6):
            return Place(PlaceKind.GATEWAY)
        if address in (self._reserved.hairpin4, self._reserved.hairpin6):
            return Place(PlaceKind.HAIRPIN)
        home = self.state.networks.get(str(network))
        inside = home is not None and any(block.contains(address) for block in home.ranges)
        return Place(PlaceKind.OURS if inside else PlaceKind.OUTSIDE)

    def _endpoint(self, network: int, address: Address) -> Place | None:
        owners = (
            e
            for e in self.state.endpoints.values()
            if e.network == network and address in e.addresses and not e.host_network
        )
        owner = min(owners, key=lambda e: e.key, default=None)
        return None if owner is None else self.sender(owner.key)

    def judge(self, packet: Packet) -> Decision:
        """As ``World``: ``evaluate``, of the directions whose subject is on this host."""
        answers = []
        for direction in (Direction.EGRESS, Direction.INGRESS):
            asked = question(self.state, packet, direction)
            endpoint = asked.subject.endpoint
            here = endpoint is not None and endpoint.key in self.state.attachments
            answers.append(judge(self.state, asked) if here else Answer(Verdict.ALLOW))
        return decide(packet, *answers)

    def service(self, network: int, address: Address, port: int, protocol: int) -> ServiceView | None:
        """As ``World``; number and epoch are hashes of what they stand for."""
        found = find_service(self.state, network, address, port, protocol)
        if found is None:
            return None
        service, served = found
        backends = of_family(served, address)
        name = f"{service.key} {served.port} {served.protocol} {is_ipv4(address)}"
        return ServiceView(_hash(name), _hash(repr(backends)), service.affinity_seconds, backends)

    def choose(self, packet: Packet, view: ServiceView) -> Backend:
        """As ``World``. Raises ValueError when the choice is no backend of the service."""
        backend = self._choose(packet, view)
        if backend not in view.backends:
            raise ValueError(f"{backend} is no backend of this service")
        return backend

    def hairpin(self, like: Address) -> Address:
        """As ``World``."""
        return self._reserved.hairpin4 if is_ipv4(like) else self._reserved.hairpin6


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())


def find_service(
    state: State, network: int, address: Address, port: int, protocol: int
) -> tuple[Service, ServicePort] | None:
    """The service and its port behind an address; the first by key."""
    for service in sorted(state.services.values(), key=lambda s: s.key):
        if service.network != network or address not in service.addresses:
            continue
        for served in service.ports:
            if (served.port, served.protocol) == (port, protocol):
                return service, served
    return None


def of_family(served: ServicePort, address: Address) -> tuple[Backend, ...]:
    """The backends of the address's family, in their order."""
    return tuple(b for b in served.backends if is_ipv4(b.address) == is_ipv4(address))


def lawful(state: State, packet: Packet) -> frozenset[Lawful]:
    """Every decision that a new flow's first packet may get, with the backend it goes to.

    Policy and services alone: no flows, no affinity, no delivery but that of a refusal. A packet to no
    service's address has one, with no backend.
    """
    services = [s for s in state.services.values() if s.network == packet.network]
    if not any(packet.destination in service.addresses for service in services):
        return frozenset({Lawful(None, evaluate(state, packet))})
    found = None
    if packet.protocol in PORTED:
        found = find_service(
            state, packet.network, packet.destination, packet.destination_port, packet.protocol
        )
    if found is None:
        return frozenset({Lawful(None, denied(packet, Reason.NO_SERVICE))})
    backends = of_family(found[1], packet.destination)
    if not backends:
        return frozenset({Lawful(None, refused(packet))})
    return frozenset(Lawful(b, evaluate(state, towards(packet, b))) for b in backends)


def towards(packet: Packet, backend: Backend) -> Packet:
    """The packet as policy sees it when it goes to that backend."""
    return msgspec.structs.replace(packet, destination=backend.address, destination_port=backend.port)

"""What the reference tracker asks of a judge: the oracle and the compiled tables both answer it."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

from cloche.model.address import Address
from cloche.model.flow import Decision, Packet
from cloche.model.topology import Backend


class PlaceKind(Enum):
    """What an address is on this host."""

    ENDPOINT = auto()
    """An endpoint of this host."""
    HOST = auto()
    """The host's own."""
    SERVICE = auto()
    """A service's."""
    GATEWAY = auto()
    """The endpoints' gateway."""
    HAIRPIN = auto()
    """The reserved source of endpoints that reach themselves through a service."""
    OURS = auto()
    """Inside a range of the network, but no endpoint's of this host."""
    OUTSIDE = auto()
    """Anything else."""


class Place(NamedTuple):
    """An address's kind; for an ENDPOINT its key, incarnation (never 0), whether it is open, and its link's
    MTU (0: not known)."""

    kind: PlaceKind
    endpoint: str = ""
    incarnation: int = 0
    open: bool = False
    mtu: int = 0


class ServiceView(NamedTuple):
    """One service port as one address of it is served: only backends of that address's family."""

    number: int
    epoch: int
    affinity_seconds: int
    backends: tuple[Backend, ...]


class World(Protocol):
    """One generation of one host, as a judge."""

    @property
    def generation(self) -> int:
        """The active generation; 0: none."""

    def sender(self, key: str) -> Place | None:
        """The endpoint on whose link a packet came in (kind ENDPOINT), None for an unknown link."""

    def place(self, network: int, address: Address) -> Place:
        """What the address is. SERVICE, GATEWAY and HAIRPIN win over OURS."""

    def judge(self, packet: Packet) -> Decision:
        """What policy says of a packet after translation: both directions where both ends are here,
        egress first. Source and destination are equal for an endpoint that reaches itself."""

    def service(self, network: int, address: Address, port: int, protocol: int) -> ServiceView | None:
        """The service port behind an address, None when there is no such port."""

    def choose(self, packet: Packet, view: ServiceView) -> Backend:
        """The backend for a new flow (``packet`` as the client wrote it), affinity aside. ``view``
        has at least one backend."""

    def hairpin(self, like: Address) -> Address:
        """The reserved hairpin address of the family of ``like``."""

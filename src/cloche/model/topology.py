"""Who is on the network: namespaces, networks, hosts, endpoints and services."""

from __future__ import annotations

import msgspec

from cloche.model.address import Address, Block, parse_address
from cloche.model.labels import Labels

DEFAULT_NETWORK = 1
"""The number of the network that a sandbox or a Kubernetes cluster lives in."""

GATEWAY4, GATEWAY6 = parse_address("169.254.1.1"), parse_address("fe80::1")
"""What every endpoint has as its gateway."""

DEFAULT_MTU = 1500
"""What an endpoint's link takes where nothing else is said, in bytes of IP."""

HAIRPIN4, HAIRPIN6 = parse_address("192.0.0.8"), parse_address("fd00:ffff::ca7e")
"""Reserved: what an endpoint sees itself as when it reaches itself through a service. Not link-local, as
endpoints may not send there; RFC 7600's dummy address is no host's."""

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
PROTOCOL_NAMES = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPV6: "icmp6"}
PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}


class Origin(msgspec.Struct, frozen=True, order=True):
    """Where an object or a rule was written; line 0 when it was not a file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Origin()


class Namespace(msgspec.Struct, frozen=True, tag=True):
    """A Kubernetes namespace and its labels (``kubernetes.io/metadata.name`` included)."""

    name: str
    labels: Labels = ()
    origin: Origin = NOWHERE

    @property
    def key(self) -> str:
        """``name``."""
        return self.name


class Network(msgspec.Struct, frozen=True, tag=True):
    """An address space of its own; ``ranges`` are where its endpoints' addresses come from."""

    number: int
    name: str = "default"
    ranges: tuple[Block, ...] = ()

    @property
    def key(self) -> str:
        """The number, as text."""
        return str(self.number)


class Host(msgspec.Struct, frozen=True, tag=True):
    """A machine with an agent and the addresses that are its own."""

    name: str
    addresses: tuple[Address, ...] = ()
    labels: Labels = ()

    @property
    def key(self) -> str:
        """``name``."""
        return self.name


class NamedPort(msgspec.Struct, frozen=True, order=True):
    """A port that an endpoint declares; ``name`` may be empty; protocol is the IP protocol number."""

    name: str
    protocol: int
    port: int


class Endpoint(msgspec.Struct, frozen=True, tag=True):
    """One container's attachment to a network (Kubernetes: a pod's interface)."""

    namespace: str
    name: str
    addresses: tuple[Address, ...] = ()
    labels: Labels = ()
    ports: tuple[NamedPort, ...] = ()
    network: int = DEFAULT_NETWORK
    host: str = ""
    host_network: bool = False
    workload: str = ""
    system: bool = False
    uid: str = ""
    origin: Origin = NOWHERE

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Backend(msgspec.Struct, frozen=True, order=True):
    """One address and port behind a service; ``endpoint`` is ``namespace/name`` where known."""

    address: Address
    port: int
    endpoint: str = ""


class ServicePort(msgspec.Struct, frozen=True):
    """One port of a service with its ready backends (of both families; each address serves its own)."""

    name: str
    protocol: int
    port: int
    backends: tuple[Backend, ...] = ()


class Service(msgspec.Struct, frozen=True, tag=True):
    """A Kubernetes service (a load balancer in Neutron's words). No addresses: headless."""

    namespace: str
    name: str
    addresses: tuple[Address, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    affinity_seconds: int = 0
    network: int = DEFAULT_NETWORK
    system: bool = False
    origin: Origin = NOWHERE

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Attachment(msgspec.Struct, frozen=True, tag=True):
    """How an endpoint is attached to this host: made by the agent, kept on disk.

    ``number`` indexes the endpoints map (1 and up); ``incarnation`` is never reused on this host;
    ``ifindex`` and ``mac`` (6 bytes, the container's side) are of the veth; ``gateway_mac`` is the
    host side's; ``mtu`` the link's, in bytes of IP.
    """

    endpoint: str
    number: int
    incarnation: int
    ifindex: int
    mac: bytes
    gateway_mac: bytes
    mtu: int = DEFAULT_MTU

    @property
    def key(self) -> str:
        """The endpoint's key."""
        return self.endpoint

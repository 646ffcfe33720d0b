"""The objects that a sandbox has of its own: its host, and the resolver with its service."""

from __future__ import annotations

import platform

from cloche.config import Config
from cloche.model.address import Address
from cloche.model.labels import NAMESPACE_NAME_LABEL, make_labels
from cloche.model.topology import (
    TCP,
    UDP,
    Backend,
    Endpoint,
    Host,
    NamedPort,
    Namespace,
    Service,
    ServicePort,
)

DNS_NAMESPACE = "kube-system"
DNS_NAME = "kube-dns"
DNS_KEY = f"{DNS_NAMESPACE}/{DNS_NAME}"
DNS_PORT = 53
DOMAIN = "cluster.local"
DNS_PORTS = (NamedPort("dns", UDP, DNS_PORT), NamedPort("dns-tcp", TCP, DNS_PORT))


def host_name() -> str:
    """The name under which this machine is a host."""
    return platform.node() or "localhost"


def resolver(config: Config, addresses: tuple[Address, ...]) -> tuple[Endpoint, Service]:
    """The endpoint that answers DNS and the service in front of it; judged like any other pod."""
    endpoint = Endpoint(
        namespace=DNS_NAMESPACE,
        name=DNS_NAME,
        addresses=addresses,
        labels=make_labels({"k8s-app": DNS_NAME}),
        ports=DNS_PORTS,
        host=host_name(),
        system=True,
    )
    backends = tuple(Backend(address, DNS_PORT, DNS_KEY) for address in addresses)
    service = Service(
        namespace=DNS_NAMESPACE,
        name=DNS_NAME,
        addresses=config.dns_addresses,
        ports=tuple(ServicePort(port.name, port.protocol, port.port, backends) for port in DNS_PORTS),
        system=True,
    )
    return endpoint, service


def dns_namespace() -> Namespace:
    """The resolver's namespace, for worlds that do not name it."""
    return Namespace(DNS_NAMESPACE, make_labels({NAMESPACE_NAME_LABEL: DNS_NAMESPACE}))


def this_host(addresses: tuple[Address, ...]) -> Host:
    """This machine, with the addresses that are its own."""
    return Host(host_name(), addresses)

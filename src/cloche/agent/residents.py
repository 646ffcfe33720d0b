"""What the responder is told: which ports to answer in which namespace, and what DNS knows. Pure."""

from __future__ import annotations

from collections.abc import Callable

from cloche.agent.system import DNS_KEY, DOMAIN
from cloche.model.address import Address
from cloche.model.state import State
from cloche.model.topology import Endpoint, Service
from cloche.responder.messages import Listener, Served, Zone, ZoneBackend, ZonePod, ZonePort, ZoneService

SEARCH = "search {namespace}.svc.{domain} svc.{domain} {domain}"


def served(state: State, path: Callable[[str], str]) -> tuple[Served, ...]:
    """What to answer for, by name: every attached endpoint; ``path`` gives its namespace's path."""
    return tuple(
        Served(
            name=endpoint.key,
            netns=path(endpoint.key),
            addresses=endpoint.addresses,
            listeners=listeners(endpoint),
            dns=endpoint.key == DNS_KEY,
        )
        for endpoint in sorted(state.endpoints.values(), key=lambda endpoint: endpoint.key)
        if endpoint.key in state.attachments
    )


def listeners(endpoint: Endpoint) -> tuple[Listener, ...]:
    """The ports that the endpoint declares, each once; the resolver's are DNS's own."""
    if endpoint.key == DNS_KEY:
        return ()
    return tuple(sorted({Listener(port.protocol, port.port) for port in endpoint.ports}))


def zone(state: State) -> Zone:
    """What DNS knows of the model."""
    resolver = state.services.get(DNS_KEY)
    pods = (
        ZonePod(endpoint.namespace, endpoint.addresses)
        for endpoint in state.endpoints.values()
        if endpoint.addresses and not endpoint.host_network
    )
    return Zone(
        services=tuple(_service(state, service) for service in state.services.values()),
        pods=tuple(pods),
        namespaces=tuple(state.namespaces),
        nameservers=resolver.addresses if resolver else (),
        domain=DOMAIN,
    )


def _service(state: State, service: Service) -> ZoneService:
    ports: dict[tuple[Address, str], list[ZonePort]] = {}
    for port in service.ports:
        for backend in port.backends:
            key = (backend.address, backend.endpoint)
            ports.setdefault(key, []).append(ZonePort(port.name, port.protocol, backend.port))
    backends = tuple(
        ZoneBackend(address, _host_name(state, endpoint), tuple(own))
        for (address, endpoint), own in ports.items()
    )
    own = tuple(ZonePort(port.name, port.protocol, port.port) for port in service.ports)
    return ZoneService(service.namespace, service.name, service.addresses, own, backends)


def _host_name(state: State, key: str) -> str:
    """A pod's own name where a workload made it, so that a stateful pod is found by name."""
    endpoint = state.endpoints.get(key)
    return endpoint.name if endpoint and endpoint.workload and "." not in endpoint.name else ""


def resolv_conf(namespace: str, nameservers: tuple[str, ...]) -> str:
    """A pod's resolv.conf, as Kubernetes writes it; only the first server, so a refusal shows at once."""
    search = SEARCH.format(namespace=namespace, domain=DOMAIN)
    servers = "".join(f"nameserver {server}\n" for server in nameservers[:1])
    return f"{search}\n{servers}options ndots:5\n"

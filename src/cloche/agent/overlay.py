"""The world of the manifests with the sandbox's own objects in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloche.agent.system import DNS_KEY, DNS_NAMESPACE, dns_namespace, resolver
from cloche.config import Config
from cloche.errors import Finding, Severity
from cloche.model.address import Address
from cloche.model.state import Object
from cloche.model.topology import Endpoint, Namespace, Service
from cloche.orchestrators.sandbox import World, highest_free


def overlay(config: Config, world: World, previous: World) -> World:
    """``world`` and the resolver, its service and its namespace.

    The resolver keeps its addresses while no pod asks for them. A kube-dns of the input is stood in for:
    ours takes the addresses of its service, and a note says so.
    """
    endpoint, service = resolver(config, _addresses(config, world, previous))
    replaced = [found for found in world.objects if _is_resolver(found)]
    for found in replaced:
        if isinstance(found, Service) and found.addresses:
            service = msgspec.structs.replace(service, addresses=found.addresses)
    objects = [found for found in world.objects if found not in replaced]
    if not any(isinstance(found, Namespace) and found.name == DNS_NAMESPACE for found in objects):
        objects.append(dns_namespace())
    findings = (*world.findings, *(_note(found) for found in replaced), *_clashes(objects, service))
    assumed = world.assumed - {DNS_KEY} | ({DNS_KEY} if endpoint.addresses else set())
    return World((*objects, endpoint, service), findings, assumed)


def _is_resolver(found: Object) -> bool:
    return isinstance(found, Endpoint | Service) and found.key == DNS_KEY


def _note(found: Object) -> Finding:
    origin = found.origin if isinstance(found, Endpoint | Service) else None
    kind = "service" if isinstance(found, Service) else "pod"
    message = f"the {kind} {DNS_KEY} is played by the sandbox's own resolver"
    return Finding(
        origin.file if origin else "", origin.line if origin else 0, "", message, "", Severity.NOTE
    )


def _clashes(objects: Iterable[Object], service: Service) -> Iterable[Finding]:
    """Errors for objects that have the resolver's service address."""
    for found in objects:
        if isinstance(found, Endpoint | Service) and set(found.addresses) & set(service.addresses):
            message = f"{found.key} has an address of the resolver's service"
            hint = "give it another; the tenth address of each service range is the resolver's"
            yield Finding(found.origin.file, found.origin.line, "spec.clusterIP", message, hint)


def _addresses(config: Config, world: World, previous: World) -> tuple[Address, ...]:
    taken = {
        address
        for found in world.objects
        if isinstance(found, Endpoint | Service) and not _is_resolver(found)
        for address in found.addresses
    }
    kept = next(
        (
            found.addresses
            for found in previous.objects
            if isinstance(found, Endpoint) and _is_resolver(found)
        ),
        (),
    )
    fits = all(any(block.contains(address) for block in config.pod_ranges) for address in kept)
    if len(kept) == len(config.pod_ranges) and fits and not taken & set(kept):
        return kept
    return highest_free(config.pod_ranges, taken)

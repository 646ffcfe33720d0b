"""The world of the manifests with the sandbox's own objects in it. Pure.

Policies have no address and nobody plays them, so while only they change nothing is looked at anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import is_
from typing import NamedTuple

import msgspec

from cloche.agent.system import DNS_KEY, DNS_NAMESPACE, dns_namespace, resolver
from cloche.config import Config
from cloche.errors import Finding, Severity
from cloche.model.address import Address
from cloche.model.policy import Policy
from cloche.model.state import Object
from cloche.model.topology import Endpoint, Namespace, Service
from cloche.orchestrators.sandbox import World, highest_free


class Laid(NamedTuple):
    """What was laid over a world. ``rest``: all of it but its policies; ``found``: what there is to say."""

    rest: tuple[Object, ...]
    replaced: tuple[Object, ...]
    put: tuple[Object, ...]
    found: tuple[Finding, ...]
    resolver: Endpoint


class Overlay:
    """Lays the resolver over one world after another; what is the very same as the last time is known."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._last: Laid | None = None

    def over(self, world: World, previous: World) -> World:
        """As ``overlay``."""
        rest = tuple([found for found in world.objects if not isinstance(found, Policy)])
        last = self._last
        if last is None or not same(rest, last.rest) or last.resolver not in _resolvers(previous):
            last = self._last = _lay(self._config, rest, previous)
        objects: Iterable[Object] = world.objects
        if last.replaced:
            objects = [found for found in objects if found not in last.replaced]
        endpoint = last.resolver
        assumed = world.assumed - {DNS_KEY} | ({DNS_KEY} if endpoint.addresses else set())
        return World((*objects, *last.put), (*world.findings, *last.found), assumed)


def same(one: Sequence[Object], other: Sequence[Object]) -> bool:
    """True for the very same objects in the same order."""
    return len(one) == len(other) and all(map(is_, one, other))


def overlay(config: Config, world: World, previous: World) -> World:
    """``world`` and the resolver, its service and its namespace.

    The resolver keeps its addresses while no pod asks for them. A kube-dns of the input is stood in for:
    ours takes the addresses of its service, and a note says so.
    """
    return Overlay(config).over(world, previous)


def _resolvers(world: World) -> Iterator[Endpoint]:
    """The resolver, which is among the last of a world that was laid over."""
    return (found for found in reversed(world.objects) if isinstance(found, Endpoint) and _is_resolver(found))


def _lay(config: Config, rest: tuple[Object, ...], previous: World) -> Laid:
    endpoint, service = resolver(config, _addresses(config, rest, previous))
    replaced = tuple(found for found in rest if _is_resolver(found))
    for found in replaced:
        if isinstance(found, Service) and found.addresses:
            service = msgspec.structs.replace(service, addresses=found.addresses)
    others = [found for found in rest if found not in replaced]
    put: list[Object] = [endpoint, service]
    if not any(isinstance(found, Namespace) and found.name == DNS_NAMESPACE for found in others):
        put.insert(0, dns_namespace())
    findings = (*(_note(found) for found in replaced), *_clashes(others, service))
    return Laid(rest, replaced, tuple(put), findings, endpoint)


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


def _addresses(config: Config, rest: Sequence[Object], previous: World) -> tuple[Address, ...]:
    taken = {
        address
        for found in rest
        if isinstance(found, Endpoint | Service) and not _is_resolver(found)
        for address in found.addresses
    }
    kept = next((found.addresses for found in _resolvers(previous)), ())
    fits = all(any(block.contains(address) for block in config.pod_ranges) for address in kept)
    if len(kept) == len(config.pod_ranges) and fits and not taken & set(kept):
        return kept
    return highest_free(config.pod_ranges, taken)

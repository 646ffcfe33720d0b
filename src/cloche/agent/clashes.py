"""Objects of a world that ask for an address of this machine's own. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cloche.errors import Finding
from cloche.model.address import Address, Block, format_address
from cloche.model.state import Object
from cloche.model.topology import Endpoint, Service

FIELDS = {Endpoint: "status.podIPs", Service: "spec.clusterIP"}


def host_clashes(objects: Collection[Object], host: Collection[Address]) -> Iterator[Finding]:
    """An error for each endpoint or service that has an address of the host; those of the host's network
    have none of their own."""
    own = frozenset(host)
    for found in objects:
        if isinstance(found, Endpoint | Service):
            for address in found.addresses:
                if address in own:
                    message = f"{found.key} has {format_address(address)}, an address of this machine itself"
                    hint = "leave it out, so that a free one is taken"
                    origin = found.origin
                    yield Finding(origin.file, origin.line, FIELDS[type(found)], message, hint)


def kept_addresses(objects: Collection[Object], ranges: Collection[Block]) -> list[Address]:
    """The addresses of endpoints that no range gave out."""
    return [
        address
        for found in objects
        if isinstance(found, Endpoint) and not found.host_network
        for address in found.addresses
        if not any(block.contains(address) for block in ranges)
    ]

"""Findings about addresses, led back to the pods that ask for them and where those are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cloche.errors import Finding
from cloche.model.address import format_address, host_block
from cloche.model.topology import Endpoint


def at_endpoints(findings: Iterable[Finding], endpoints: Sequence[Endpoint]) -> list[Finding]:
    """The findings, of which those whose field is one address of an endpoint's name the endpoint and its
    place; the others stay as they are."""
    owners = {
        str(host_block(address)): (found, address) for found in endpoints for address in found.addresses
    }
    found = []
    for finding in findings:
        owner = owners.get(finding.field)
        if owner is not None:
            pod, address = owner
            finding = msgspec.structs.replace(
                finding,
                file=pod.origin.file,
                line=pod.origin.line,
                field="status.podIPs",
                message=f"the address {format_address(address)} of pod {pod.key} {finding.message}",
            )
        found.append(finding)
    return found

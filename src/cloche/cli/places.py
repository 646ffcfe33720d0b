"""What people write for the ends and the port of a flow, resolved in a world for sending real packets."""

from __future__ import annotations

from cloche.analysis.ends import End, behind, parse_end
from cloche.errors import Finding, InputError
from cloche.model.address import Address
from cloche.model.ports import Port, parse_port
from cloche.model.state import State
from cloche.model.topology import Endpoint


def read_port(text: str) -> Port:
    """The port written ``80/tcp``, ``8/icmp`` or ``http/tcp``. Raises InputError."""
    try:
        return parse_port(text)
    except ValueError as error:
        raise InputError([Finding("", 0, "port", str(error), "like 80/tcp, http/tcp or 8/icmp")]) from None


def find_pod(state: State, text: str) -> Endpoint:
    """The pod written ``namespace/name``; without a namespace, ``default``. Raises InputError."""
    end = parse_end(state, text)
    if end.endpoint is None:
        raise InputError([Finding("", 0, text, "is no pod", "packets are sent from pods")])
    return end.endpoint


def find_destination(state: State, text: str) -> End:
    """A pod, a service or one address. Raises InputError."""
    end = parse_end(state, text)
    if "/" in text and end.endpoint is None and end.service is None:
        raise InputError([Finding("", 0, text, "a block is no destination", "name one address of it")])
    if not end.addresses and end.service is None:
        raise InputError([Finding("", 0, text, "has no address", "name a pod, or a service that has one")])
    return end


def targets(end: End, port: Port) -> dict[Address, int]:
    """Each address of a destination, and the port's number there; a headless service's are its backends'.

    Raises InputError for a name that the destination has not, or a headless service without backends.
    """
    if end.service is not None and not end.addresses:
        return {address: own.number for address, own in behind(end.service, port).items()}
    number = port_number(end, port)
    return {address: number for address, _ in end.addresses}


def port_number(end: End, port: Port) -> int:
    """The number behind a port; a name is the destination's own. Raises InputError for a name it has not."""
    if not port.name:
        return port.number
    declared = end.endpoint.ports if end.endpoint else end.service.ports if end.service else ()
    for candidate in declared:
        if (candidate.name, candidate.protocol) == (port.name, port.protocol):
            return candidate.port
    names = ", ".join(sorted({p.name for p in declared if p.name})) or "none"
    raise InputError([Finding("", 0, end.text, f"has no port named {port}", f"named ports: {names}")])

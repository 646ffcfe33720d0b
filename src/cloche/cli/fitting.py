"""Whether a world fits into an instance, which ``up`` sees only when it compiles: said by ``check`` too."""

from __future__ import annotations

from collections.abc import Iterator

from cloche.agent.overlay import overlay
from cloche.agent.system import host_name, this_host
from cloche.compiler import compile_full
from cloche.config import Config
from cloche.errors import Finding, Severity, TooBigError
from cloche.model.state import Object, Put, State
from cloche.model.topology import Attachment, Endpoint
from cloche.orchestrators.sandbox import World

MAC = bytes(6)


def refusals(config: Config, world: World) -> tuple[Finding, ...]:
    """What else there is to say of a world that has no errors: how it meets the sandbox's own objects, and
    an error when it does not fit an instance of the default size."""
    whole = overlay(config, world, World())
    found = [finding for finding in whole.findings if finding not in world.findings]
    if any(finding.severity is Severity.ERROR for finding in found):
        return tuple(found)
    attached = [e for e in whole.objects if isinstance(e, Endpoint) and e.addresses and not e.host_network]
    limit = config.capacity.endpoints - 1
    try:
        if len(attached) > limit:
            raise TooBigError("endpoints", len(attached), limit)
        objects: list[Object] = [this_host(()), *_attachments(attached), *whole.objects]
        compile_full(State(Put(value) for value in objects), host_name(), config.capacity)
    except TooBigError as error:
        found.append(as_finding(error, attached[limit:]))
    return tuple(found)


def _attachments(endpoints: list[Endpoint]) -> Iterator[Attachment]:
    """Each endpoint as if it were attached here."""
    return (Attachment(e.key, number, number, number, MAC, MAC) for number, e in enumerate(endpoints, 1))


def as_finding(error: TooBigError, beyond: list[Endpoint]) -> Finding:
    """The refusal at the place of what costs most; ``beyond``: the pods that find no room, if they are it."""
    place = next((cost.place for cost in error.costs if cost.place), "")
    file, _, line = place.rpartition(":")
    if error.what == "endpoints" and beyond:
        file, line = beyond[0].origin.file, str(beyond[0].origin.line)
    return Finding(file, int(line) if line.isdecimal() else 0, "", error.summary, error.hint)

"""The backends of services: ready pods that the selector matches, and the addresses in EndpointSlices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cloche.errors import Finding
from cloche.model.address import Address, is_ipv4
from cloche.model.topology import PROTOCOL_NAMES, TCP, Backend, ServicePort
from cloche.orchestrators.sandbox.fields import Field, did_you_mean, shorten
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.pods import Pod, PodIndex
from cloche.orchestrators.sandbox.services import Plan, PlannedPort
from cloche.orchestrators.sandbox.syntax import read_address, read_protocol

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
SELECTOR_CONTROLLER = "endpointslice-controller.k8s.io"
"""Who writes the slices that repeat what a service's selector says already."""


class SlicePort(NamedTuple):
    """One port of an EndpointSlice."""

    name: str
    protocol: int
    port: int


class Slice(NamedTuple):
    """An EndpointSlice's ready addresses and ports, and whether a selector's controller wrote it."""

    service: str
    derived: bool
    ports: tuple[SlicePort, ...]
    addresses: tuple[Address, ...]


def read_slices(manifests: Iterable[Manifest], findings: list[Finding]) -> dict[str, list[Slice]]:
    """The slices of each service (``namespace/name``)."""
    slices: dict[str, list[Slice]] = defaultdict(list)
    for manifest in manifests:
        if manifest.kind == "EndpointSlice":
            found = _read_slice(manifest, findings)
            if found is not None:
                slices[found.service].append(found)
    return slices


def _read_slice(manifest: Manifest, findings: list[Finding]) -> Slice | None:
    document = manifest.field(findings)
    metadata = document.get("metadata")
    labels = metadata.get("labels") if metadata else None
    service = labels.text_of(SERVICE_NAME_LABEL) if labels else ""
    if labels is None or not service:
        document.note(f"the EndpointSlice belongs to no service: it has no label {SERVICE_NAME_LABEL}")
        return None
    derived = labels.text_of(MANAGED_BY_LABEL) == SELECTOR_CONTROLLER
    ipv4 = _read_family(document)
    if ipv4 is None:
        return None
    ports = tuple(port for field in document.list_of("ports") if (port := _read_port(field)) is not None)
    addresses: list[Address] = []
    for endpoint in document.list_of("endpoints"):
        conditions = endpoint.get("conditions")
        ready = conditions.get("ready") if conditions else None
        for field in list(endpoint.list_of("addresses"))[:1]:
            address = read_address(field)
            if address is not None and is_ipv4(address) != ipv4:
                field.error("is not of the slice's addressType", "a slice has addresses of one family")
            elif address is not None and (ready is None or ready.boolean()):
                addresses.append(address)
    return Slice(f"{manifest.namespace}/{service}", derived, ports, tuple(addresses))


def _read_family(document: Field) -> bool | None:
    field = document.required("addressType")
    if field is None:
        return None
    text = field.text()
    if text == "FQDN":
        field.note("an EndpointSlice of names is not used")
    elif text is not None and text not in ("IPv4", "IPv6"):
        field.error(f"unknown addressType {shorten(text)!r}", did_you_mean(text, ("IPv4", "IPv6", "FQDN")))
    return {"IPv4": True, "IPv6": False}.get(text or "")


def _read_port(field: Field) -> SlicePort | None:
    protocol = read_protocol(field.get("protocol"))
    number_field = field.get("port")
    if number_field is None:
        field.warn("a port without a number stands for no port here")
        return None
    number = number_field.integer(1, 65535)
    if protocol is None or number is None:
        return None
    return SlicePort(field.text_of("name"), protocol, number)


def backed_ports(
    plan: Plan, index: PodIndex, slices: Sequence[Slice], owners: Mapping[Address, str]
) -> tuple[ServicePort, ...]:
    """The service's ports with their backends, sorted; ``owners`` says whose an address is.

    A headless service without ports has one nameless port 0, so that its backends' addresses are known.
    """
    pods: list[Pod] = []
    if plan.selector is not None:
        pods = _selected(plan, index)
        slices = [found for found in slices if not found.derived]
    ports = []
    for port in plan.ports:
        found = set(_pod_backends(port, pods)) | set(_slice_backends(port, slices, owners))
        ports.append(ServicePort(port.name, port.protocol, port.port, _of_families(found, plan)))
    if plan.headless and not plan.ports:
        bare = {Backend(address, 0, pod.key) for pod in pods for address in pod.addresses}
        bare |= {Backend(a, 0, owners.get(a, "")) for found in slices for a in found.addresses}
        ports.append(ServicePort("", TCP, 0, _of_families(bare, plan)))
    return tuple(ports)


def _of_families(backends: Iterable[Backend], plan: Plan) -> tuple[Backend, ...]:
    return tuple(sorted(backend for backend in backends if is_ipv4(backend.address) in plan.families))


def _selected(plan: Plan, index: PodIndex) -> list[Pod]:
    """The pods behind the service; those on the host network are the host, and no backends here."""
    assert plan.selector is not None  # asked only of services that select
    matched = list(index.select(plan.manifest.namespace, plan.selector))
    if any(pod.host_network for pod in matched):
        plan.document.warn("a selected pod is on the host network: it is no backend here")
    pods = [pod for pod in matched if not pod.host_network and (pod.ready or plan.publish_not_ready)]
    if not matched:
        plan.document.note("the selector matches no pod: the service has no backend")
    elif not pods:
        plan.document.note("no selected pod is ready: the service has no backend")
    return pods


def _pod_backends(port: PlannedPort, pods: Sequence[Pod]) -> Iterator[Backend]:
    missing = bool(pods)
    for pod in pods:
        target = port.target
        number = target if isinstance(target, int) else pod.port_named(target, port.protocol)
        if number is None:
            continue
        missing = False
        for address in pod.addresses:
            yield Backend(address, number, pod.key)
    if missing:
        shown = f"{port.target}/{PROTOCOL_NAMES[port.protocol]}"
        port.field.warn(f"no selected pod has a port named {shown}", "the port has no backend")


def _slice_backends(
    port: PlannedPort, slices: Sequence[Slice], owners: Mapping[Address, str]
) -> Iterator[Backend]:
    for found in slices:
        for slice_port in found.ports:
            if (slice_port.name, slice_port.protocol) == (port.name, port.protocol):
                for address in found.addresses:
                    yield Backend(address, slice_port.port, owners.get(address, ""))

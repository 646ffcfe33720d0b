"""Pods and namespaces as manifests have them, before addresses are given out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from cloche.errors import Finding
from cloche.model.address import Address
from cloche.model.labels import NAMESPACE_NAME_LABEL, Labels, Selector, make_labels
from cloche.model.topology import PROTOCOL_NAMES, Endpoint, NamedPort, Namespace, Origin
from cloche.orchestrators.sandbox.fields import Field
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.syntax import (
    port_name_hint,
    port_name_problem,
    read_address,
    read_labels,
    read_protocol,
)


class Pod(msgspec.Struct, frozen=True):
    """A pod that runs; ``addresses`` are empty until given or assigned, and stay so on the host network."""

    namespace: str
    name: str
    labels: Labels
    ports: tuple[NamedPort, ...]
    origin: Origin
    addresses: tuple[Address, ...] = ()
    host_network: bool = False
    ready: bool = True
    workload: str = ""
    uid: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def port_named(self, name: str, protocol: int) -> int | None:
        """The number of a named port, None where the pod has none of that name and protocol."""
        for port in self.ports:
            if port.name == name and port.protocol == protocol:
                return port.port
        return None

    def endpoint(self) -> Endpoint:
        """The pod as the model has it."""
        return Endpoint(
            namespace=self.namespace,
            name=self.name,
            addresses=self.addresses,
            labels=self.labels,
            ports=self.ports,
            host_network=self.host_network,
            workload=self.workload,
            uid=self.uid,
            origin=self.origin,
        )


def read_pod(manifest: Manifest, workload: str, findings: list[Finding]) -> Pod | None:
    """The pod, None when it has finished (phase Succeeded or Failed)."""
    document = manifest.field(findings)
    status, metadata = document.get("status"), document.get("metadata")
    phase = status.text_of("phase") if status else ""
    if phase in ("Succeeded", "Failed"):
        return None
    pod = read_template(document, manifest.namespace, manifest.name)
    going = metadata is not None and metadata.get("deletionTimestamp") is not None
    return msgspec.structs.replace(
        pod,
        addresses=() if pod.host_network or status is None else _read_addresses(status),
        ready=not going and (status is None or _is_ready(status, phase)),
        workload=workload,
        uid=metadata.text_of("uid") if metadata else "",
    )


def read_template(document: Field, namespace: str, name: str) -> Pod:
    """What a pod and a workload's template have in common: labels, ports and the host network."""
    metadata, spec = document.get("metadata"), document.required("spec")
    labels = read_labels(metadata.get("labels")) if metadata else ()
    if spec is None:
        return Pod(namespace, name, labels, (), document.origin)
    return Pod(
        namespace,
        name,
        labels,
        _read_ports(spec),
        document.origin,
        host_network=spec.flag("hostNetwork"),
    )


def _is_ready(status: Field, phase: str) -> bool:
    for condition in status.list_of("conditions"):
        if condition.text_of("type") == "Ready":
            return condition.text_of("status") == "True"
    return phase in ("", "Running")


def _read_addresses(status: Field) -> tuple[Address, ...]:
    fields = [ip for entry in status.list_of("podIPs") if (ip := entry.get("ip")) is not None]
    single = status.get("podIP")
    if not fields and single is not None:
        fields = [single]
    addresses = [address for field in fields if (address := read_address(field)) is not None]
    return tuple(dict.fromkeys(addresses))


def _containers(spec: Field) -> Iterator[Field]:
    """Containers, and the init containers that go on running beside them (sidecars)."""
    if spec.get("containers") is None:
        spec.warn("containers is missing: the pod has no ports")
    yield from spec.list_of("containers")
    for container in spec.list_of("initContainers"):
        if container.text_of("restartPolicy") == "Always":
            yield container


def _read_ports(spec: Field) -> tuple[NamedPort, ...]:
    ports: dict[tuple[str, int, int], NamedPort] = {}
    names: dict[tuple[str, int], int] = {}
    for container in _containers(spec):
        for field in container.list_of("ports"):
            port = _read_port(field)
            if port is None:
                continue
            first = names.setdefault((port.name, port.protocol), port.port) if port.name else port.port
            if first != port.port:
                shown = f"{port.name}/{PROTOCOL_NAMES[port.protocol]}"
                field.warn(f"the port name {shown} already means {first}", "the first one counts")
                port = msgspec.structs.replace(port, name="")
            ports[port.name, port.protocol, port.port] = port
    return tuple(ports.values())


def _read_port(field: Field) -> NamedPort | None:
    number_field, name_field = field.required("containerPort"), field.get("name")
    protocol = read_protocol(field.get("protocol"))
    number = number_field.integer(1, 65535) if number_field else None
    name = name_field.text() if name_field else ""
    problem = port_name_problem(name) if name else ""
    if problem and name_field is not None:
        name_field.error(problem, port_name_hint(name or ""))
    if number is None or name is None or protocol is None or problem:
        return None
    return NamedPort(name, protocol, number)


def read_namespaces(
    manifests: Iterable[Manifest], spaces: Iterable[str], findings: list[Finding]
) -> tuple[Namespace, ...]:
    """Each namespace given, and each only named by these manifests or among ``spaces``, all with the label
    that names them, sorted by name."""
    namespaces: dict[str, Namespace] = {}
    named = {name for name in spaces if name}
    for manifest in manifests:
        if manifest.kind != "Namespace":
            if manifest.namespace:
                named.add(manifest.namespace)
            continue
        document = manifest.field(findings)
        metadata = document.get("metadata")
        labels_field = metadata.get("labels") if metadata else None
        labels = dict(read_labels(labels_field))
        if labels_field and labels.get(NAMESPACE_NAME_LABEL, manifest.name) != manifest.name:
            labels_field.warn(f"{NAMESPACE_NAME_LABEL} is always the namespace's name")
        labels[NAMESPACE_NAME_LABEL] = manifest.name
        namespaces[manifest.name] = Namespace(manifest.name, make_labels(labels), document.origin)
    for name in named - namespaces.keys():
        namespaces[name] = Namespace(name, ((NAMESPACE_NAME_LABEL, name),))
    return tuple(namespaces[name] for name in sorted(namespaces))


class PodIndex:
    """Pods by namespace and label, so that a selector looks only at those that have one of its labels."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self.namespaces: dict[str, list[Pod]] = defaultdict(list)
        self.labelled: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        self.values: dict[str, set[str]] = defaultdict(set)
        for pod in pods:
            self.namespaces[pod.namespace].append(pod)
            for key, value in pod.labels:
                self.labelled[pod.namespace, key, value].append(pod)
                self.values[key].add(value)

    def select(self, namespace: str, selector: Selector) -> Iterator[Pod]:
        """The pods of one namespace that the selector matches."""
        candidates = self.namespaces.get(namespace, [])
        for requirement in selector.requirements:
            if requirement.operator == "In" and len(requirement.values) == 1:
                found = self.labelled.get((namespace, requirement.key, requirement.values[0]), [])
                candidates = min(candidates, found, key=len)
        return (pod for pod in candidates if selector.matches(dict(pod.labels)))

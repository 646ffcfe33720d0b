"""Services as manifests have them: their ports, selector, families and the addresses they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cloche.errors import Finding
from cloche.model.address import Address, format_address, is_ipv4
from cloche.model.labels import Selector, match_labels
from cloche.model.topology import PROTOCOL_NAMES
from cloche.orchestrators.sandbox.addresses import Pool
from cloche.orchestrators.sandbox.fields import Field, describe, did_you_mean, shorten
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.syntax import (
    PORT_NAME_HINT,
    is_dns_label,
    port_name_hint,
    port_name_problem,
    read_address,
    read_labels,
    read_protocol,
)
from cloche.orchestrators.sandbox.tree import Scalar

DEFAULT_AFFINITY_SECONDS = 10_800
MAX_AFFINITY_SECONDS = 86_400

_FAMILIES = {"IPv4": True, "IPv6": False}
_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


class PlannedPort(NamedTuple):
    """One port of a service; ``target`` is a number, or a name that each pod resolves."""

    name: str
    protocol: int
    port: int
    target: int | str
    field: Field


class Plan(NamedTuple):
    """A service before its addresses and backends: ``families`` (True for IPv4) are all it is to have."""

    manifest: Manifest
    document: Field
    ports: tuple[PlannedPort, ...]
    selector: Selector | None
    headless: bool
    given: tuple[Address, ...]
    families: tuple[bool, ...]
    publish_not_ready: bool
    affinity_seconds: int

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.manifest.namespace}/{self.manifest.name}"

    @property
    def spec(self) -> Field:
        """Where findings about the service as a whole go."""
        return self.document.get("spec") or self.document

    def wanted(self) -> list[bool]:
        """The families that still need an address."""
        have = {is_ipv4(address) for address in self.given}
        return [] if self.headless else [family for family in self.families if family not in have]


def read_service(manifest: Manifest, pool: Pool, findings: list[Finding]) -> Plan | None:
    """The service; None for an ExternalName, which is but a name, and where spec is missing."""
    document = manifest.field(findings)
    spec = document.required("spec")
    if spec is None:
        return None
    type_field = spec.get("type")
    kind = (type_field.text() if type_field else None) or "ClusterIP"
    if type_field and kind not in _TYPES:
        type_field.error(f"unknown type {shorten(kind)!r}", did_you_mean(kind, _TYPES))
    if kind == "ExternalName":
        spec.note("an ExternalName service is not used: it is a name only")
        return None
    if type_field and kind in ("NodePort", "LoadBalancer"):
        type_field.note(f"of a {kind} service only the cluster address is used")
    if spec.get("externalIPs") is not None:
        spec.note("externalIPs are not used")
    given, headless = _read_given(spec)
    selector_field = spec.get("selector")
    labels = read_labels(selector_field)
    return Plan(
        manifest=manifest,
        document=document,
        ports=tuple(_read_ports(spec, headless)),
        selector=match_labels(dict(labels)) if labels else None,
        headless=headless,
        given=given,
        families=_read_families(spec, given, headless, pool),
        publish_not_ready=spec.flag("publishNotReadyAddresses"),
        affinity_seconds=_read_affinity(spec),
    )


def _read_given(spec: Field) -> tuple[tuple[Address, ...], bool]:
    """The addresses that the service asks for, and whether it is headless (``None``)."""
    fields = list(spec.list_of("clusterIPs"))
    single = spec.get("clusterIP")
    if single is not None and not fields:
        fields = [single]
    texts = [field.text() for field in fields]
    if single is not None and texts and single.text() not in ("", texts[0]):
        single.error("clusterIP is not the first of clusterIPs", "make them the same, or leave one out")
    if "None" in texts:
        if len(texts) > 1:
            fields[0].error("None cannot be beside an address", "None alone makes the service headless")
        return (), True
    given: list[Address] = []
    for field, text in zip(fields, texts, strict=True):
        address = read_address(field) if text else None
        if address is None:
            continue
        if any(is_ipv4(address) == is_ipv4(other) for other in given):
            field.error("two cluster addresses of one family", "keep one of each family")
        given.append(address)
    return tuple(given), False


def _read_families(spec: Field, given: Sequence[Address], headless: bool, pool: Pool) -> tuple[bool, ...]:
    """The families it has by ipFamilies and ipFamilyPolicy; where neither speaks: those given, or both."""
    asked = _read_asked(spec)
    policy = _read_policy(spec)
    available = [ipv4 for ipv4 in (True, False) if headless or pool.has(ipv4)]
    has = [is_ipv4(address) for address in given]
    for address in given:
        if asked and is_ipv4(address) not in asked:
            message = f"ipFamilies does not list the family of {format_address(address)}"
            spec.error(message, f"add {'IPv4' if is_ipv4(address) else 'IPv6'}, or leave ipFamilies out")
    both = [*has, *available]
    match policy:
        case "SingleStack":
            chosen = (asked or both)[:1]
        case "PreferDualStack" | "RequireDualStack":
            chosen = [*asked, *both]
        case _:
            chosen = asked or has or available
    families = tuple(dict.fromkeys(chosen))
    if policy == "RequireDualStack" and len(families) < 2:
        hint = "add a range with --service-cidr, or write PreferDualStack"
        spec.error("RequireDualStack needs service ranges of both families", hint)
    for family in families:
        if family not in available and family not in has:
            hint = "add one with --service-cidr, or ask for the other family"
            spec.error(f"there is no service range for {'IPv4' if family else 'IPv6'}", hint)
    return families


def _read_asked(spec: Field) -> list[bool]:
    asked: list[bool] = []
    for field in spec.list_of("ipFamilies"):
        text = field.text()
        if text is not None and text not in _FAMILIES:
            field.error(f"unknown family {shorten(text)!r}", did_you_mean(text, _FAMILIES))
        elif text is not None and _FAMILIES[text] in asked:
            field.error(f"{text} is here twice", "keep one of them")
        elif text is not None:
            asked.append(_FAMILIES[text])
    return asked


def _read_policy(spec: Field) -> str:
    field = spec.get("ipFamilyPolicy")
    text = (field.text() if field else None) or ""
    if field and text not in _POLICIES:
        field.error(f"unknown policy {shorten(text)!r}", did_you_mean(text, _POLICIES))
    return text


def _read_affinity(spec: Field) -> int:
    field = spec.get("sessionAffinity")
    text = (field.text() if field else None) or "None"
    if field and text not in ("None", "ClientIP"):
        hint = did_you_mean(text, ("None", "ClientIP"))
        field.error(f"unknown session affinity {shorten(text)!r}", hint)
    if text != "ClientIP":
        return 0
    config = spec.get("sessionAffinityConfig")
    client = config.get("clientIP") if config else None
    seconds = client.get("timeoutSeconds") if client else None
    if seconds is None:
        return DEFAULT_AFFINITY_SECONDS
    return seconds.integer(1, MAX_AFFINITY_SECONDS) or 0


def _read_ports(spec: Field, headless: bool) -> Iterator[PlannedPort]:
    fields = list(spec.list_of("ports"))
    if not fields and not headless:
        spec.error("ports is missing", "only a headless service (clusterIP: None) can do without")
    names: set[str] = set()
    numbers: set[tuple[int, int]] = set()
    for field in fields:
        port = _read_port(field)
        if port is None:
            continue
        if (port.protocol, port.port) in numbers:
            shown = f"{port.port}/{PROTOCOL_NAMES[port.protocol]}"
            field.warn(f"{shown} is here twice", "the first one counts")
            continue
        if port.name in names:
            what = f"two ports are named {port.name!r}" if port.name else "several ports need names"
            field.warn(f"{what}: Kubernetes refuses this")
        names.add(port.name)
        numbers.add((port.protocol, port.port))
        yield port


def _read_port(field: Field) -> PlannedPort | None:
    protocol = read_protocol(field.get("protocol"))
    number_field, name_field = field.required("port"), field.get("name")
    number = number_field.integer(1, 65535) if number_field else None
    name = name_field.text() if name_field else ""
    if name and name_field and not is_dns_label(name):
        message = "a service port's name has 1 to 63 of a-z, 0-9, -, and no - at an end"
        name_field.error(message, PORT_NAME_HINT)
    target = _read_target(field.get("targetPort"), number)
    if protocol is None or number is None or name is None or target is None:
        return None
    return PlannedPort(name, protocol, number, target, field)


def _read_target(field: Field | None, port: int | None) -> int | str | None:
    """The port on the pods: as given, or the service's own. 0 and an empty name mean the same as absent."""
    if field is None:
        return port
    if not isinstance(field.node, Scalar):
        message = f"targetPort is a number or a name, not {describe(field.node)}"
        field.error(message, "write one, like 8080 or http")
        return None
    value = field.node.value
    if isinstance(value, str):
        problem = port_name_problem(value) if value else ""
        if problem:
            field.error(f"{shorten(value)!r}: {problem}", port_name_hint(value))
            return None
        return value or port
    number = field.integer(0, 65535)
    return port if number == 0 else number

"""NetworkPolicy (networking.k8s.io/v1) as a policy of the model: whole and strict.

What cannot be honoured is refused, never weakened: an unknown field, an impossible value, a peer or port
that is not understood makes the whole input an error.
"""

from __future__ import annotations

from cloche.errors import Finding
from cloche.model.address import Block
from cloche.model.labels import EVERYTHING
from cloche.model.policy import BlockPeer, Peer, PodPeer, Policy, PortMatch, Rule
from cloche.orchestrators.sandbox.fields import Field, describe, did_you_mean, shorten
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.selectors import read_selector
from cloche.orchestrators.sandbox.syntax import port_name_hint, port_name_problem, read_block, read_protocol
from cloche.orchestrators.sandbox.tree import Scalar

KIND = "NetworkPolicy"
_TYPES = ("Ingress", "Egress")


def read_policy(manifest: Manifest, findings: list[Finding]) -> Policy | None:
    """The policy; None where the manifest has an error, which is then among the findings."""
    document = manifest.field(findings)
    before = len(findings)
    document.strict(("apiVersion", "kind", "metadata", "spec", "status"))
    spec = document.required("spec", "an empty spec would isolate every pod of the namespace")
    if spec is None:
        return None
    known = spec.strict(("podSelector", "policyTypes", "ingress", "egress"))
    selected = spec.get("podSelector")
    if selected is None and known:
        spec.warn("podSelector is missing: every pod of the namespace is selected", "write podSelector: {}")
    subject = PodPeer(read_selector(selected) if selected else EVERYTHING, namespace=manifest.namespace)
    ingress = _read_rules(spec, "ingress", "from", manifest.namespace)
    egress = _read_rules(spec, "egress", "to", manifest.namespace)
    types = _read_types(spec, bool(egress))
    if any(finding.severity == "error" for finding in findings[before:]):
        return None
    metadata = document.get("metadata")
    return Policy(
        kind=manifest.kind,
        namespace=manifest.namespace,
        name=manifest.name,
        subject=subject,
        egress=egress if "Egress" in types else None,
        ingress=ingress if "Ingress" in types else None,
        uid=metadata.text_of("uid") if metadata else "",
        origin=document.origin,
    )


def _read_types(spec: Field, has_egress: bool) -> frozenset[str]:
    """The directions that the policy speaks of: Ingress always, and Egress with rules, unless it says."""
    field = spec.get("policyTypes")
    types = set()
    given = list(field.elements()) if field else []
    for entry in given:
        text = entry.text()
        if text is not None and text not in _TYPES:
            entry.error(f"unknown policy type {shorten(text)!r}", did_you_mean(text, _TYPES))
        elif text is not None:
            types.add(text)
    if field is None or not given:
        return frozenset(("Ingress", "Egress") if has_egress else ("Ingress",))
    for name, key in (("Ingress", "ingress"), ("Egress", "egress")):
        rules = spec.get(key)
        if rules is not None and name not in types and list(rules.elements()):
            rules.warn(f"these rules have no effect: policyTypes does not list {name}", f"add {name}")
    if types == set(_TYPES):
        for name, key, other in (("Egress", "egress", "ingress"), ("Ingress", "ingress", "egress")):
            if spec.present(key) is None and spec.get(other) is not None:
                hint = f"write {key}: [] if that is meant"
                field.warn(f"{name} is listed and has no rules: all {key} of these pods is denied", hint)
    return frozenset(types)


def _read_rules(spec: Field, direction: str, side: str, namespace: str) -> tuple[Rule, ...]:
    rules = []
    for index, field in enumerate(spec.list_of(direction)):
        field.strict((side, "ports"))
        peers = _read_peers(field, side, namespace)
        rules.append(Rule(index=index, peers=peers, ports=_read_ports(field), origin=field.origin))
    return tuple(rules)


def _read_peers(rule: Field, side: str, namespace: str) -> tuple[Peer, ...] | None:
    field = rule.get(side)
    entries = list(field.elements()) if field else []
    if not entries:
        given = rule.present(side)
        if given is not None:
            hint = "write - {} for a rule that allows everything, or name a peer"
            given.warn(f"an empty {side!r} matches every peer, not none", hint)
        return None
    return tuple(peer for entry in entries if (peer := _read_peer(entry, namespace)) is not None)


def _read_peer(field: Field, namespace: str) -> Peer | None:
    if not field.strict(("podSelector", "namespaceSelector", "ipBlock")):
        return None
    pods, namespaces, block = (field.get(name) for name in ("podSelector", "namespaceSelector", "ipBlock"))
    if block is not None:
        if pods is not None or namespaces is not None:
            field.error("ipBlock cannot be together with a selector in one peer", "make it a peer of its own")
            return None
        return _read_block_peer(block)
    if pods is None and namespaces is None:
        hint = "write podSelector: {} for every pod of this namespace"
        field.error("a peer needs podSelector, namespaceSelector or ipBlock", hint)
        return None
    selector = read_selector(pods) if pods else EVERYTHING
    if namespaces is None:
        return PodPeer(selector, namespace=namespace)
    return PodPeer(selector, namespaces=read_selector(namespaces))


def _read_block_peer(field: Field) -> BlockPeer | None:
    field.strict(("cidr", "except"))
    cidr = field.required("cidr", "add one, like cidr: 10.0.0.0/8")
    if cidr is None:
        return None
    block = read_block(cidr)
    excepts = [(entry, read_block(entry)) for entry in field.list_of("except")]
    if block is None:
        return None
    kept: set[Block] = set()
    for entry, inner in excepts:
        if inner is None:
            continue
        if inner.ipv4 != block.ipv4:
            hint = "an except of the other family takes nothing out: make it a peer of its own, or remove it"
            entry.error(f"{inner} is not of the same address family as {block}", hint)
        elif not block.covers(inner) or inner == block:
            entry.error(f"{inner} is not strictly inside {block}", "an except takes a part out of its cidr")
        kept.add(inner)
    return BlockPeer(block, tuple(sorted(kept)))


def _read_ports(rule: Field) -> tuple[PortMatch, ...] | None:
    field = rule.get("ports")
    entries = list(field.elements()) if field else []
    if not entries:
        return None
    return tuple(port for entry in entries if (port := _read_port(entry)) is not None)


def _read_port(field: Field) -> PortMatch | None:
    field.strict(("port", "endPort", "protocol"))
    protocol = read_protocol(field.get("protocol"))
    port, end = field.get("port"), field.get("endPort")
    if port is None:
        if end is not None:
            end.error("endPort needs a port that the range begins at", "add port")
        return None if protocol is None or end is not None else PortMatch(protocol)
    if isinstance(port.node, Scalar) and isinstance(port.node.value, str):
        return _read_named(port, end, protocol)
    first = _read_number(port)
    last = first if end is None else end.integer(1, 65535, "65535 is the last port")
    if first is None or last is None or protocol is None:
        return None
    if end is not None and last < first:
        end.error(f"endPort {last} is below port {first}", "port begins the range and endPort ends it")
        return None
    return PortMatch(protocol, first, last)


def _read_number(port: Field) -> int | None:
    if not isinstance(port.node, Scalar):
        port.error(f"a port is a number or a name, not {describe(port.node)}", "write one, like 80 or http")
        return None
    return port.integer(1, 65535, "leave port out for every port, or give a range by port and endPort")


def _read_named(port: Field, end: Field | None, protocol: int | None) -> PortMatch | None:
    name = port.text() or ""
    problem = port_name_problem(name)
    if problem:
        port.error(f"{shorten(name)!r}: {problem}", port_name_hint(name))
    if end is not None:
        end.error("endPort cannot be with a named port", "write the port's number")
    if problem or end is not None or protocol is None:
        return None
    return PortMatch(protocol, name=name)

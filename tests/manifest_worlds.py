"""Generated worlds as Kubernetes manifests: what a person could have written, for readers to compare."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Manifest = dict[str, Any]
NAMESPACES = ("w", "x", "z")
PODS = ("a", "b", "c")
KEYS = ("app", "tier")
VALUES = ("a", "b", "c")
PORT_NAMES = ("http", "dns", "admin")
PROTOCOLS = ("TCP", "UDP", "SCTP")
EDGES = (1, 79, 80, 81, 100, 8080, 65535)
PODS_BLOCK = "198.18.0.0/16"
BLOCKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("10.0.0.0/8", (), ("10.1.0.0/16", "10.0.0.0/9")),
    ("192.168.4.0/24", (), ("192.168.4.128/25", "192.168.4.7/32")),
    ("0.0.0.0/0", (PODS_BLOCK,), ("10.0.0.0/8", "172.16.0.0/12")),
    ("172.16.3.9/32", (), ()),
)
"""A block, the excepts it always has (none of them holds a pod's address), and those it may have."""

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2)


ALL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@st.composite
def selectors(draw: st.DrawFn, operators: tuple[str, ...] = ALL_OPERATORS) -> Manifest:
    """A LabelSelector: labels, expressions, both or nothing."""
    selector: Manifest = {}
    if draw(st.booleans()):
        selector["matchLabels"] = draw(labels)
    if draw(st.booleans()):
        selector["matchExpressions"] = draw(st.lists(expressions(operators), min_size=1, max_size=2))
    return selector


@st.composite
def expressions(draw: st.DrawFn, operators: tuple[str, ...]) -> Manifest:
    """One matchExpressions entry with any of these operators."""
    operator = draw(st.sampled_from(operators))
    expression: Manifest = {"key": draw(st.sampled_from(KEYS)), "operator": operator}
    if operator in ("In", "NotIn"):
        expression["values"] = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True))
    return expression


@st.composite
def peers(draw: st.DrawFn) -> Manifest:
    """One peer: a block with excepts, pods, namespaces, or both selectors."""
    kind = draw(st.sampled_from(("block", "pods", "namespaces", "both")))
    if kind == "block":
        cidr, always, sometimes = draw(st.sampled_from(BLOCKS))
        excepts = [*always, *(block for block in sometimes if draw(st.booleans()))]
        return {"ipBlock": {"cidr": cidr, "except": excepts} if excepts else {"cidr": cidr}}
    peer: Manifest = {}
    if kind != "pods":
        peer["namespaceSelector"] = draw(selectors())
    if kind != "namespaces":
        # Beside a namespaceSelector, network-config-analyzer looks for a key in the policy's own namespace.
        peer["podSelector"] = draw(selectors(ALL_OPERATORS[:2] if kind == "both" else ALL_OPERATORS))
    return peer


@st.composite
def ports(draw: st.DrawFn) -> Manifest:
    """One policy port: a number, a range, a name, or a whole protocol."""
    kind = draw(st.sampled_from(("number", "range", "name", "protocol")))
    port: Manifest = {"protocol": draw(st.sampled_from(PROTOCOLS))}
    if kind == "name":
        port["port"] = draw(st.sampled_from(PORT_NAMES))
    elif kind == "number":
        port["port"] = draw(st.sampled_from(EDGES))
    elif kind == "range":
        first, last = sorted((draw(st.sampled_from(EDGES)), draw(st.sampled_from(EDGES))))
        port |= {"port": first, "endPort": last}
    return port


@st.composite
def rules(draw: st.DrawFn, side: str) -> Manifest:
    """One rule; ``side`` is ``from`` or ``to``. Absent and empty lists are both made."""
    rule: Manifest = {}
    if draw(st.integers(0, 3)):
        rule[side] = draw(st.lists(peers(), max_size=2))
    if draw(st.booleans()):
        rule["ports"] = draw(st.lists(ports(), max_size=2))
    return rule


@st.composite
def policies(draw: st.DrawFn, number: int) -> Manifest:
    """One NetworkPolicy with any mixture of directions, types said or left to default."""
    spec: Manifest = {"podSelector": draw(selectors())}
    types = draw(st.sampled_from((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    if types is not None:
        spec["policyTypes"] = types
    if types is None or "Ingress" in types:
        spec["ingress"] = draw(st.lists(rules("from"), max_size=2))
    if types is None or "Egress" in types:
        # Without policyTypes the API server takes an empty egress list for none at all; others may not.
        spec["egress"] = draw(st.lists(rules("to"), min_size=0 if types else 1, max_size=2))
    metadata = {"name": f"p{number}", "namespace": draw(st.sampled_from(NAMESPACES))}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


@st.composite
def pods(draw: st.DrawFn, namespace: str, name: str) -> Manifest:
    """One pod whose port names may mean other numbers than in its neighbours."""
    names = draw(st.lists(st.sampled_from(PORT_NAMES), max_size=2, unique=True))
    container_ports = [
        {
            "name": port_name,
            "containerPort": draw(st.sampled_from(EDGES)),
            "protocol": draw(st.sampled_from(PROTOCOLS)),
        }
        for port_name in names
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": draw(labels)},
        "spec": {"containers": [{"name": "c", "image": "none", "ports": container_ports}]},
    }


@st.composite
def worlds(draw: st.DrawFn) -> list[Manifest]:
    """Three labelled namespaces, some pods in each, one to four policies."""
    manifests: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": draw(labels)}}
        for name in NAMESPACES
    ]
    for namespace in NAMESPACES:
        for name in PODS[: draw(st.integers(1, 3))]:
            manifests.append(draw(pods(namespace, name)))
    manifests.extend(draw(policies(number)) for number in range(draw(st.integers(1, 4))))
    return manifests

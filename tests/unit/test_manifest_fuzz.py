"""Whatever the input, it is a world or findings: never another exception, and never a weakened policy."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import InputError, Severity
from cloche.orchestrators.sandbox import build, check, read
from cloche.orchestrators.sandbox.kinds import API_VERSIONS
from worlds import TIMES

FIELDS = sorted(
    {
        *(
            "podSelector",
            "namespaceSelector",
            "ipBlock",
            "cidr",
            "except",
            "ports",
            "port",
            "endPort",
            "protocol",
        ),
        *("matchLabels", "matchExpressions", "key", "operator", "values", "from", "to", "ingress", "egress"),
        *(
            "policyTypes",
            "containers",
            "initContainers",
            "containerPort",
            "name",
            "labels",
            "replicas",
            "template",
        ),
        *(
            "clusterIP",
            "clusterIPs",
            "selector",
            "targetPort",
            "ipFamilies",
            "ipFamilyPolicy",
            "type",
            "status",
        ),
        *("podIPs", "ip", "conditions", "phase", "ownerReferences", "kind", "metadata", "spec", "controller"),
        *(
            "addressType",
            "endpoints",
            "addresses",
            "items",
            "hostNetwork",
            "sessionAffinity",
            "uid",
            "namespace",
        ),
    }
)
WORDS = [
    *(
        "",
        "a",
        "web",
        "http",
        "80",
        "TCP",
        "tcp",
        "In",
        "Exists",
        "Ingress",
        "Egress",
        "None",
        "IPv4",
        "IPv6",
    ),
    *(
        "10.0.0.0/8",
        "10.1.0.0/16",
        "::/0",
        "10.0.0.1",
        "fd00::1",
        "True",
        "Ready",
        "Always",
        "Running",
        "List",
    ),
    *("Deployment", "ReplicaSet", "Pod", "ClientIP", "é", "a" * 70),
]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70_000), st.just(1 << 70), st.floats(), st.sampled_from(WORDS)
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=15,
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """An object of a kind that is used, with anything where its fields would be."""
    kind = draw(st.sampled_from(sorted(API_VERSIONS)))
    metadata: Any = {
        "name": draw(st.sampled_from(["a", "b", "a-1"])),
        "namespace": draw(st.sampled_from(["x", "y"])),
    }
    labels = draw(st.one_of(st.just({"app": "web", "kubernetes.io/service-name": "a"}), trees))
    owners = draw(st.one_of(st.just([]), trees))
    metadata |= {"labels": labels, "ownerReferences": owners}
    document: dict[str, Any] = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata}
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), trees, max_size=5))
    return document | {"spec": fields} | draw(st.dictionaries(st.sampled_from(["spec", "status"]), trees))


def never_worse(text: str) -> None:
    """The text gives findings; a world exactly when none of them is an error."""
    found = check(["-"], stdin=text)
    refused = any(finding.severity is Severity.ERROR for finding in found)
    assert all(finding.message for finding in found)
    assert all(finding.hint for finding in found if finding.severity is Severity.ERROR), found
    try:
        built = build(read(["-"], stdin=text))
    except InputError:
        assert refused
    else:
        assert not refused
        assert set(built.findings) <= set(found)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_gives_findings_or_a_world(text: str) -> None:
    """Unicode of every sort, lone surrogates and control characters included."""
    never_worse(text)


@given(st.text("abk: -[]{},&*!|>'\"#%@?\n\t<0~\\", max_size=40))
def test_any_yaml_like_text_gives_findings_or_a_world(text: str) -> None:
    """YAML's own punctuation in every order."""
    never_worse(text)


@given(st.lists(st.one_of(objects(), trees), max_size=4))
@settings(max_examples=150 * TIMES)
def test_any_tree_gives_findings_or_a_world(documents: list[Any]) -> None:
    """Objects of known kinds with anything in their fields."""
    never_worse("\n---\n".join(json.dumps(document) for document in documents))

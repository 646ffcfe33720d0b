"""What is remembered of manifests changes no answer: a world built anew each time is the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from manifest_builders import documents

from cloche.agent.overlay import Overlay, overlay
from cloche.config import Config
from cloche.errors import InputError, Severity
from cloche.model.state import Put
from cloche.orchestrators.sandbox import (
    Manifest,
    Readings,
    World,
    build,
    delete,
    difference,
    merge,
    read,
)

PODS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {label}}}}}
spec: {{containers: [{{name: c, image: c, ports: [{{name: http, containerPort: 80}}]}}]}}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}}}
spec: {{podSelector: {{matchLabels: {{app: {label}}}}}, ingress: [{{ports: [{{port: {port}}}]}}]}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {space}}}
spec: {{clusterIP: {address}, selector: {{app: {label}}}, ports: [{{port: 80, targetPort: {port}}}]}}
"""
NAMESPACE = "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{team: {label}}}}}}}"
NAMES, LABELS, PORTS = ("a", "b", "c"), ("web", "wep", "db"), ("80", "http", "htpt", "-1")
POD = st.builds(PODS.format, name=st.sampled_from(NAMES), label=st.sampled_from(LABELS))
LID = st.builds(
    POLICY.format, name=st.sampled_from(NAMES), label=st.sampled_from(LABELS), port=st.sampled_from(PORTS)
)
FRONT = st.builds(
    SERVICE.format,
    name=st.sampled_from((*NAMES, "kube-dns")),
    space=st.sampled_from(("default", "kube-system", "x")),
    address=st.sampled_from(('""', "10.96.0.10", "10.96.0.77", "None")),
    label=st.sampled_from(LABELS),
    port=st.sampled_from(PORTS[:3]),
)
SPACE = st.builds(NAMESPACE.format, name=st.sampled_from(("x", "kube-system")), label=st.sampled_from(LABELS))
TEXT = st.one_of(LID, LID, POD, FRONT, SPACE)
CHANGES = st.lists(st.tuples(st.booleans(), st.lists(TEXT, min_size=1, max_size=3)), min_size=1, max_size=6)


def made(manifests: tuple[Manifest, ...], previous: World, readings: Readings | None) -> World | str:
    """The world, or what is wrong."""
    try:
        return build(manifests, previous=previous, readings=readings)
    except InputError as error:
        return str(error.findings)


def asked_for(manifests: tuple[Manifest, ...], gone: bool, texts: list[str]) -> tuple[Manifest, ...]:
    """The manifests with these, or without."""
    for text in texts:
        read_now = read(["-"], stdin=documents(text))
        manifests = delete(manifests, read_now)[0] if gone else merge(manifests, read_now)
    return manifests


@given(CHANGES)
def test_what_is_remembered_changes_no_answer(changes: list[tuple[bool, list[str]]]) -> None:
    """After each change of pods, services, namespaces and policies, right or wrong ones, world and findings
    are those of one who remembers nothing, in their order too; so are the sandbox's own objects over it."""
    config = Config()
    readings, manifests, world, over = Readings(), tuple[Manifest, ...](), World(), Overlay(config)
    for gone, texts in changes:
        asked = asked_for(manifests, gone, texts)
        remembering, anew = made(asked, world, readings), made(asked, world, None)
        assert remembering == anew
        if isinstance(anew, World):
            assert isinstance(remembering, World)
            laid = over.over(remembering, world)
            assert laid == overlay(config, anew, world)
            if not any(found.severity is Severity.ERROR for found in laid.findings):
                manifests, world = asked, laid


def test_a_changed_policy_leaves_all_else_the_very_same() -> None:
    """When only a policy is another, all else in the next world is not just equal: it is the same object."""
    readings = Readings()
    many = [PODS.format(name=name, label="web") for name in NAMES]
    lids = [POLICY.format(name=name, label="web", port="80") for name in NAMES]
    asked = asked_for((), False, [*many, *lids])
    before = build(asked, readings=readings)
    asked = asked_for(asked, False, [POLICY.format(name="b", label="web", port="81")])
    after = build(asked, previous=before, readings=readings)
    changed = [now for was, now in zip(before.objects, after.objects, strict=True) if was is not now]
    assert [found.key for found in changed] == ["NetworkPolicy/default/b"]
    assert difference(before, after) == (Put(changed[0]),)

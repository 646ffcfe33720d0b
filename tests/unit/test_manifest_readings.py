"""What is remembered of manifests changes no answer: a world built anew each time is the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from manifest_builders import documents

from cloche.errors import InputError
from cloche.orchestrators.sandbox import Manifest, Readings, World, build, merge, read

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
NAMES, LABELS, PORTS = ("a", "b", "c"), ("web", "wep", "db"), ("80", "http", "htpt", "-1")
POD = st.builds(PODS.format, name=st.sampled_from(NAMES), label=st.sampled_from(LABELS))
LID = st.builds(
    POLICY.format, name=st.sampled_from(NAMES), label=st.sampled_from(LABELS), port=st.sampled_from(PORTS)
)
CHANGES = st.lists(st.lists(st.one_of(POD, LID), min_size=1, max_size=3), min_size=1, max_size=6)


def made(manifests: tuple[Manifest, ...], previous: World, readings: Readings | None) -> World | str:
    """The world, or what is wrong."""
    try:
        return build(manifests, previous=previous, readings=readings)
    except InputError as error:
        return str(error.findings)


@given(CHANGES)
def test_what_is_remembered_changes_no_answer(changes: list[list[str]]) -> None:
    """After each change of pods and policies, right or wrong ones, world and findings are those of one who
    remembers nothing, in their order too."""
    readings, manifests, world = Readings(), tuple[Manifest, ...](), World()
    for texts in changes:
        asked = manifests
        for text in texts:
            asked = merge(asked, read(["-"], stdin=documents(text)))
        remembering, anew = made(asked, world, readings), made(asked, world, None)
        assert remembering == anew
        if isinstance(anew, World):
            manifests, world = asked, anew

"""What goes with what is deleted."""

from __future__ import annotations

import pytest
from manifest_builders import documents

from cloche.orchestrators.sandbox import Manifest, delete, read


def space(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}"


def pod(key: str) -> str:
    namespace, _, name = key.partition("/")
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}"


def manifests(*texts: str) -> tuple[Manifest, ...]:
    return read(["-"], stdin=documents(*texts))


WORLD = manifests(space("x"), pod("x/a"), pod("x/b"), pod("w/c"), pod("default/d"), pod("kube-system/e"))


def left(*texts: str) -> tuple[list[str], list[str]]:
    """The names that stay, and what is said."""
    stay, findings = delete(WORLD, manifests(*texts))
    return [manifest.name for manifest in stay], [str(finding) for finding in findings]


@pytest.mark.parametrize(
    ("gone", "stay", "said"),
    [
        (space("x"), "c d e", "with the namespace x went Pod a, Pod b"),
        (space("w"), "x a b d e", "with the namespace w went Pod c"),
        (space("default"), "x a b c d e", "the namespace default stays, as in Kubernetes"),
        (space("kube-system"), "x a b c d e", "the namespace kube-system stays, as in Kubernetes"),
        (space("z"), "x a b c d e", "Namespace z is not there"),
        (pod("x/z"), "x a b c d e", "Pod x/z is not there"),
        (pod("x/a"), "x b c d e", ""),
    ],
)
def test_a_namespace_goes_with_what_is_in_it(gone: str, stay: str, said: str) -> None:
    """Also one that is only named; it is said what went, what stays and what is not there."""
    names, findings = left(gone)
    assert names == stay.split()
    assert len(findings) == bool(said)
    assert said in "".join(findings)


def test_what_is_named_itself_is_not_said_to_go_along() -> None:
    """Deleting a whole file is no surprise, so nothing is said."""
    assert left(space("x"), pod("x/a"), pod("x/b")) == (["c", "d", "e"], [])

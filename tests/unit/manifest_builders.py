"""Texts of manifests for tests, and what the sandbox's reader makes of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from cloche.errors import Finding, InputError
from cloche.model.policy import Policy
from cloche.orchestrators.sandbox import World, build, check, read

_T = TypeVar("_T")


def findings(*texts: str) -> tuple[Finding, ...]:
    """What ``check`` says about the documents."""
    return check(["-"], stdin=documents(*texts))


def world(*texts: str, **options: Any) -> World:
    """The world of the documents."""
    return build(read(["-"], stdin=documents(*texts)), **options)


def documents(*texts: str) -> str:
    """The texts as one multi-document text."""
    return "\n---\n".join(textwrap.dedent(text).strip("\n") for text in texts)


def of_kind(built: World, kind: type[_T]) -> Iterator[_T]:
    """The world's objects of one type, in order."""
    return (found for found in built.objects if isinstance(found, kind))


def only(built: World, kind: type[_T]) -> _T:
    """The one object of that type."""
    (found,) = of_kind(built, kind)
    return found


def refused(*texts: str) -> tuple[Finding, ...]:
    """The errors that building these documents raises; fails when it raises none."""
    with pytest.raises(InputError) as raised:
        world(*texts)
    return tuple(finding for finding in raised.value.findings if finding.severity == "error")


def policy_text(spec: str, name: str = "p") -> str:
    """A NetworkPolicy in namespace x whose spec's fields begin on line 5."""
    header = (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\n"
    )
    return header + "spec:\n" + textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ")


def policy(spec: str) -> Policy:
    """The policy of that spec."""
    return only(world(policy_text(spec)), Policy)


def pod_text(name: str, more: str = "", labels: str = "{}", ports: str = "[]", spec: str = "") -> str:
    """A pod in namespace x, with whole further top-level fields (``more``) and fields of its spec."""
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: x, labels: {labels}}}
spec:
  containers: [{{name: c, ports: {ports}}}]
"""
    return (
        text
        + textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ")
        + "\n"
        + textwrap.dedent(more).strip("\n")
    )

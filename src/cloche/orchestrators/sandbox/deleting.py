"""Taking objects out of a world as kubectl does: a namespace goes with all that is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cloche.errors import Finding, Severity
from cloche.orchestrators.sandbox.kinds import UNUSED
from cloche.orchestrators.sandbox.manifests import DEFAULT_NAMESPACE, Manifest

LASTING = (DEFAULT_NAMESPACE, "kube-system")
"""Namespaces that Kubernetes does not let go either."""
MOST_NAMES = 6


def delete(
    old: Sequence[Manifest], gone: Sequence[Manifest]
) -> tuple[tuple[Manifest, ...], tuple[Finding, ...]]:
    """What is left of the old manifests without those named by ``gone``, and what is to be said of it.

    With a Namespace goes everything in it, also when it was only named by its objects. What is not there is
    a warning.
    """
    keys = {manifest.key for manifest in gone}
    spaces = {m.name for m in gone if m.kind == "Namespace" and m.name not in LASTING}
    names = {manifest.name for manifest in gone}
    left = tuple(m for m in old if (m.name not in names or m.key not in keys) and m.namespace not in spaces)
    known = {manifest.key for manifest in old if manifest.name in names}
    known |= {("Namespace", "", m.namespace) for m in old if m.namespace in names}
    known |= {("Namespace", "", name) for name in LASTING}
    findings = [_absent(manifest) for manifest in gone if manifest.key not in known]
    findings += _cascades(old, [m for m in gone if m.kind == "Namespace"], keys)
    return left, tuple(findings)


def _cascades(
    old: Iterable[Manifest], spaces: Sequence[Manifest], named: set[tuple[str, str, str]]
) -> Iterator[Finding]:
    """What else went with each namespace, or that it stays."""
    inside: dict[str, list[str]] = {}
    for manifest in old if spaces else ():
        if manifest.key not in named and not manifest.kind.startswith(UNUSED):
            inside.setdefault(manifest.namespace, []).append(f"{manifest.kind} {manifest.name}")
    for space in spaces:
        found = sorted(inside.get(space.name, ()))
        if found and space.name in LASTING:
            message = f"the namespace {space.name} stays, as in Kubernetes, and so does what is in it"
            hint = "name the objects that are to go"
            yield Finding(space.file, space.line, "metadata.name", message, hint, Severity.WARNING)
        elif found:
            more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
            message = f"with the namespace {space.name} went {', '.join(found[:MOST_NAMES])}{more}"
            yield Finding(space.file, space.line, "metadata.name", message, "", Severity.NOTE)


def _absent(manifest: Manifest) -> Finding:
    name = f"{manifest.namespace}/{manifest.name}".lstrip("/")
    hint = "kind, namespace and name tell which object is meant"
    message = f"{manifest.kind} {name} is not there"
    return Finding(manifest.file, manifest.line, "metadata.name", message, hint, Severity.WARNING)

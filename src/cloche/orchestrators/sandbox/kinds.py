"""Which kinds of Kubernetes objects are read, under which apiVersion, and what to say of the others."""

from __future__ import annotations

from cloche.errors import Severity
from cloche.orchestrators.sandbox.fields import Field, nearest_of, shorten

API_VERSIONS = {
    "Namespace": "v1",
    "Pod": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}
_OTHER_KINDS = frozenset(
    (
        *("Binding", "ComponentStatus", "ConfigMap", "ControllerRevision", "Endpoints", "Event", "IPAddress"),
        *("Ingress", "IngressClass", "LimitRange", "Node", "PersistentVolume", "PersistentVolumeClaim"),
        *("PodTemplate", "ReplicationController", "ResourceQuota", "Secret", "ServiceAccount", "ServiceCIDR"),
    )
)
_OUR_GROUPS = frozenset(version.rpartition("/")[0] for version in API_VERSIONS.values())
UNUSED = "unused:"
"""What the kind of a manifest that is not used begins with."""


def classify(document: Field) -> str | None:
    """The kind of an object: one of ``API_VERSIONS``, or ``unused:KIND.GROUP``; None when it is refused."""
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind is None or version is None:
        missing = "kind" if kind is None else "apiVersion"
        document.error(f"{missing} is missing: this is no Kubernetes object", "name its kind and apiVersion")
        return None
    name, api = kind.text(), version.text()
    if not name or not api:
        if name == "" or api == "":
            document.error("kind and apiVersion must not be empty", "like kind: Pod and apiVersion: v1")
        return None
    group, _, _ = api.rpartition("/")
    if name in API_VERSIONS:
        if api == API_VERSIONS[name]:
            return name
        if _native(group):
            version.error(f"{name} is not in {shorten(api)!r}", f"write apiVersion: {API_VERSIONS[name]}")
            return None
    elif group in _OUR_GROUPS and name not in _OTHER_KINDS:
        meant = nearest_of(name, API_VERSIONS, cutoff=0.66)
        if meant:
            kind.error(f"unknown kind {shorten(name)!r}", f"did you mean {meant!r}?")
            return None
    return f"{UNUSED}{shorten(name)}.{shorten(group)}" if group else f"{UNUSED}{shorten(name)}"


def _native(group: str) -> bool:
    """True for Kubernetes' own groups; foreign ones may have kinds of the same name."""
    return "." not in group or group in _OUR_GROUPS


def unused_severity(kind: str) -> tuple[Severity, str]:
    """How bad it is that this kind is not used, and a hint: a foreign policy left out is worth a warning."""
    if "Policy" in kind and ("Network" in kind or "Authorization" in kind):
        return Severity.WARNING, "policies of this kind are not enforced"
    if kind == f"{UNUSED}Endpoints":
        return Severity.NOTE, "EndpointSlice is what is used"
    return Severity.NOTE, ""

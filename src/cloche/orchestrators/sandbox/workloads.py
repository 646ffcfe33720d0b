"""Workloads (Deployment, StatefulSet, ...) as the pods they stand for, unless those are in the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from cloche.errors import Finding
from cloche.model.labels import Labels, make_labels
from cloche.orchestrators.sandbox.fields import Field
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.pods import Pod, read_template
from cloche.orchestrators.sandbox.selectors import read_selector

MAX_MADE = 65_536
"""How many pods the workloads of one input may make."""

_MAKERS = ("StatefulSet", "Deployment", "ReplicaSet", "DaemonSet", "Job")
"""In the order in which they choose names; a StatefulSet's are those its pods have anywhere."""

_Owner = tuple[str, str, str]
"""Kind, namespace and name."""

ReadPod = Callable[[Manifest, str, list[Finding]], Pod | None]
"""As ``pods.read_pod``."""


class _Template(NamedTuple):
    """A workload's pod, and the labels that each of its pods gets by name."""

    manifest: Manifest
    pod: Pod
    replicas: int


def read_pods(manifests: Sequence[Manifest], findings: list[Finding], read_pod: ReadPod) -> list[Pod]:
    """Every pod that runs, given or made, sorted by namespace and name."""
    owners = _Owners(manifests, findings)
    pods: dict[tuple[str, str], Pod] = {}
    for manifest in manifests:
        if manifest.kind == "Pod":
            owner = owners.of_pod(manifest)
            pod = read_pod(manifest, f"{owner[0]}/{owner[2]}" if owner else "", findings)
            if pod is not None:
                pods[pod.namespace, pod.name] = pod
    given = {(manifest.namespace, manifest.name) for manifest in manifests if manifest.kind == "Pod"}
    total = 0
    for kind in _MAKERS:
        for manifest in sorted((m for m in manifests if m.kind == kind), key=lambda m: m.key):
            template = _read_template(manifest, owners, findings)
            if template is None:
                continue
            total += template.replicas
            if total > MAX_MADE:
                message = f"the workloads make more than {MAX_MADE} pods"
                manifest.field(findings).error(message, "ask for fewer replicas")
                break
            for pod in _make(template, given):
                pods[pod.namespace, pod.name] = pod
                given.add((pod.namespace, pod.name))
    for manifest in manifests:
        if manifest.kind == "CronJob":
            manifest.field(findings).note("a CronJob makes no pods here", "write a Job to have one")
    return [pods[key] for key in sorted(pods)]


class _Owners:
    """Who controls what, by ownerReferences and through ReplicaSets."""

    def __init__(self, manifests: Sequence[Manifest], findings: list[Finding]) -> None:
        self._findings = findings
        self._known = {manifest.key for manifest in manifests}
        self._sets = {
            manifest.key: self._controller(manifest)
            for manifest in manifests
            if manifest.kind == "ReplicaSet"
        }
        self.with_pods: set[_Owner] = set()
        for manifest in manifests:
            owner = self.of_pod(manifest) if manifest.kind == "Pod" else None
            if owner is not None:
                self.with_pods |= {owner, self._controller(manifest) or owner}

    def stands_for(self, manifest: Manifest) -> bool:
        """True when a ReplicaSet's Deployment is in the input, so that the set makes nothing itself."""
        return self._sets.get(manifest.key) in self._known

    def of_pod(self, manifest: Manifest) -> _Owner | None:
        """The workload of a pod: what controls it, or the Deployment above that."""
        owner = self._controller(manifest)
        if owner is None or owner[0] != "ReplicaSet":
            return owner
        above = self._sets.get(owner)
        if above is not None:
            return above
        hash_label = self._template_hash(manifest)
        if hash_label and owner[2].endswith("-" + hash_label):
            deployment = ("Deployment", owner[1], owner[2].removesuffix("-" + hash_label))
            if deployment in self._known:
                return deployment
        return owner

    def _controller(self, manifest: Manifest) -> _Owner | None:
        metadata = manifest.field(self._findings).get("metadata")
        for reference in metadata.list_of("ownerReferences") if metadata else ():
            kind, name = reference.text_of("kind"), reference.text_of("name")
            if kind and name and reference.flag("controller"):
                return kind, manifest.namespace, name
        return None

    def _template_hash(self, manifest: Manifest) -> str:
        metadata = manifest.field(self._findings).get("metadata")
        labels = metadata.get("labels") if metadata else None
        value = labels.get("pod-template-hash") if labels else None
        return (value.text() or "") if value else ""


def _read_template(manifest: Manifest, owners: _Owners, findings: list[Finding]) -> _Template | None:
    document = manifest.field(findings)
    spec = document.required("spec")
    template = spec.required("template") if spec else None
    if spec is None or template is None:
        return None
    pod = read_template(template, manifest.namespace, manifest.name)
    pod = msgspec.structs.replace(pod, origin=document.origin, workload=f"{manifest.kind}/{manifest.name}")
    _compare_selector(spec, pod.labels, manifest.kind)
    count = _count(document, spec, manifest.kind)
    if manifest.key in owners.with_pods or owners.stands_for(manifest):
        return None
    return _Template(manifest, pod, count)


def _compare_selector(spec: Field, labels: Labels, kind: str) -> None:
    selector = spec.get("selector")
    if kind != "Job" and selector is not None and not read_selector(selector).matches(dict(labels)):
        selector.warn("does not match the labels of template.metadata: Kubernetes refuses this")


def _count(document: Field, spec: Field, kind: str) -> int:
    """How many pods the workload asks for; a DaemonSet and a Job that is not over have one."""
    if kind == "DaemonSet":
        return 1
    if kind == "Job":
        status = document.get("status")
        for condition in status.list_of("conditions") if status else ():
            if condition.text_of("type") in ("Complete", "Failed") and condition.text_of("status") == "True":
                document.note("the Job is over: it makes no pod")
                return 0
        if spec.flag("suspend"):
            document.note("the Job is suspended: it makes no pod")
            return 0
        return 1
    field = spec.get("replicas")
    replicas = field.integer(0, (1 << 31) - 1) if field else 1
    return replicas or 0


def _make(template: _Template, taken: set[tuple[str, str]]) -> list[Pod]:
    """``NAME-0``, ``NAME-1``...; ``NAME-KIND-0`` where another object has one of these names already."""
    manifest, pod = template.manifest, template.pod
    stem = manifest.name
    if any((pod.namespace, f"{stem}-{number}") in taken for number in range(template.replicas)):
        stem = f"{stem}-{manifest.kind.lower()}"
    made = []
    for number in range(template.replicas):
        name = f"{stem}-{number}"
        labels = make_labels({**dict(pod.labels), **_name_labels(manifest, name, number)})
        made.append(msgspec.structs.replace(pod, name=name, labels=labels))
    return made


def _name_labels(manifest: Manifest, name: str, number: int) -> dict[str, str]:
    """The labels that Kubernetes' own controllers put on each pod and that policies are written with."""
    if len(name) > 63:
        return {}
    if manifest.kind == "StatefulSet":
        return {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(number)}
    if manifest.kind == "Job":
        return {"job-name": manifest.name, "batch.kubernetes.io/job-name": manifest.name}
    return {}

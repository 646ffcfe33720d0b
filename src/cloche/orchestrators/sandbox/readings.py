"""What manifests came to the last time, so that one changed object does not cost reading all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from cloche.errors import Finding
from cloche.model.policy import Policy
from cloche.model.topology import Namespace
from cloche.orchestrators.sandbox.advice import advise
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.networkpolicy import read_policy
from cloche.orchestrators.sandbox.pods import Pod, read_pod

T = TypeVar("T")
Key = tuple[str, str, str]


class _Read(NamedTuple, Generic[T]):
    """What one manifest said, and what there was to say about it. ``beside``: what else was known of it."""

    manifest: Manifest
    beside: str
    made: T | None
    findings: tuple[Finding, ...]


class _Memory(Generic[T]):
    """What manifests of one kind came to; whatever is not asked for between two turns is forgotten."""

    def __init__(self, read: Callable[[Manifest, str, list[Finding]], T | None]) -> None:
        self._read = read
        self._last: dict[Key, _Read[T]] = {}
        self._now: dict[Key, _Read[T]] = {}

    def turn(self) -> None:
        """Another reading of all manifests begins."""
        self._last, self._now = self._now, {}

    def read(self, manifest: Manifest, beside: str, findings: list[Finding]) -> T | None:
        """What it comes to; findings are said again each time."""
        known = self._last.get(manifest.key)
        if known is None or known.manifest is not manifest or known.beside != beside:
            said: list[Finding] = []
            known = _Read(manifest, beside, self._read(manifest, beside, said), tuple(said))
        self._now[manifest.key] = known
        findings += known.findings
        return known.made


class Readings:
    """Remembers pods and policies by the very manifest they were read from: as if read for the first time.

    Advice is remembered only where there is none, for these pods and namespaces, as what it costs to find
    what may be meant is counted over the whole input.
    """

    def __init__(self) -> None:
        self._policies = _Memory(lambda manifest, _, findings: read_policy(manifest, findings))
        self._bare_pods = _Memory(read_pod)
        self._pods: Sequence[Pod] = ()
        self._namespaces: Sequence[Namespace] = ()
        self._quiet: dict[str, Policy] = {}

    def turn(self) -> None:
        """Another reading of all manifests begins; what is not read in it is forgotten in the next."""
        self._policies.turn()
        self._bare_pods.turn()

    def pod(self, manifest: Manifest, workload: str, findings: list[Finding]) -> Pod | None:
        """As ``pods.read_pod``."""
        return self._bare_pods.read(manifest, workload, findings)

    def policies(self, manifests: Sequence[Manifest], findings: list[Finding]) -> list[Policy]:
        """The policies of the manifests, by namespace and name; what is wrong goes to ``findings``."""
        wanted = [manifest for manifest in manifests if manifest.kind == "NetworkPolicy"]
        wanted.sort(key=lambda manifest: manifest.key)
        read = (self._policies.read(manifest, "", findings) for manifest in wanted)
        return [policy for policy in read if policy is not None]

    def advise(
        self,
        policies: Sequence[Policy],
        pods: Sequence[Pod],
        namespaces: Sequence[Namespace],
        findings: list[Finding],
    ) -> None:
        """As ``advice.advise``."""
        if pods != self._pods or namespaces != self._namespaces:
            self._pods, self._namespaces, self._quiet = pods, namespaces, {}
        quiet = self._quiet
        asked = [policy for policy in policies if quiet.get(policy.key) is not policy]
        loud = advise(asked, pods, namespaces, findings)
        self._quiet = {policy.key: policy for policy in policies if policy.key not in loud}

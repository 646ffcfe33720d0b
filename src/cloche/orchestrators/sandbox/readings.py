"""What manifests came to the last time, so that one changed policy does not cost reading all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cloche.errors import Finding
from cloche.model.policy import Policy
from cloche.model.topology import Namespace
from cloche.orchestrators.sandbox.advice import advise
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.networkpolicy import read_policy
from cloche.orchestrators.sandbox.pods import Pod


class _Read(NamedTuple):
    """What one manifest said, and what there was to say about it."""

    manifest: Manifest
    policy: Policy | None
    findings: tuple[Finding, ...]


class Readings:
    """Remembers policies by the very manifest they were read from; the answers are those of a first reading.

    Findings of a reading are said again each time. Advice is remembered only where there is none, for these
    pods and namespaces, as what it costs to find what may be meant is counted over the whole input.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], _Read] = {}
        self._pods: Sequence[Pod] = ()
        self._namespaces: Sequence[Namespace] = ()
        self._quiet: dict[str, Policy] = {}

    def policies(self, manifests: Sequence[Manifest], findings: list[Finding]) -> list[Policy]:
        """The policies of the manifests, by namespace and name; what is wrong goes to ``findings``."""
        known: dict[tuple[str, str, str], _Read] = {}
        policies = []
        wanted = [manifest for manifest in manifests if manifest.kind == "NetworkPolicy"]
        for manifest in sorted(wanted, key=lambda manifest: manifest.key):
            read = self._known.get(manifest.key)
            if read is None or read.manifest is not manifest:
                said: list[Finding] = []
                policy = read_policy(manifest, said)
                read = _Read(manifest, policy, tuple(said))
            known[manifest.key] = read
            findings += read.findings
            if read.policy is not None:
                policies.append(read.policy)
        self._known = known
        return policies

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

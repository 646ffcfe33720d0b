"""What manifests came to the last time, so that one changed object does not cost reading all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from cloche.errors import Finding
from cloche.model.policy import Policy
from cloche.model.state import Object
from cloche.model.topology import Namespace
from cloche.orchestrators.sandbox.advice import Adviser
from cloche.orchestrators.sandbox.manifests import Manifest
from cloche.orchestrators.sandbox.networkpolicy import read_policy
from cloche.orchestrators.sandbox.pods import Pod, read_pod
from cloche.orchestrators.sandbox.rest import Basis, Rest, read_rest

T = TypeVar("T")
Key = tuple[str, str, str]
_PLACE = attrgetter("place")


class _Read(NamedTuple, Generic[T]):
    """What one manifest said, and what there was to say about it. ``beside``: what else was known of it."""

    place: Key
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
            known = _Read(manifest.key, manifest, beside, self._read(manifest, beside, said), tuple(said))
        self._now[manifest.key] = known
        findings += known.findings
        return known.made


class Readings:
    """Remembers what manifests came to by the very manifests: as if they were read for the first time.

    Advice is remembered only where there is none, for these pods and namespaces, as what it costs to find
    what may be meant is counted over the whole input.
    """

    def __init__(self) -> None:
        self._bare_pods = _Memory(read_pod)
        self._rest: Rest | None = None
        self._policies: list[_Read[Policy]] = []
        self._adviser = Adviser((), ())
        self._quiet: dict[int, Policy] = {}

    def rest(self, basis: Basis, previous: Sequence[Object]) -> Rest:
        """As ``rest.read_rest``."""
        if self._rest is None or not self._rest.stands(basis, previous):
            self._bare_pods.turn()
            self._rest = read_rest(basis, previous, self._bare_pods.read)
        return self._rest

    def policies(self, manifests: Sequence[Manifest], findings: list[Finding]) -> list[Policy]:
        """The policies of their manifests, by namespace and name; what is wrong goes to ``findings``."""
        there = set(map(id, manifests))
        reads = [read for read in self._policies if id(read.manifest) in there]
        known = {id(read.manifest) for read in reads}
        reads += [_read_policy(manifest) for manifest in manifests if id(manifest) not in known]
        reads.sort(key=_PLACE)
        self._policies = reads
        findings += [finding for read in reads for finding in read.findings]
        return [read.made for read in reads if read.made is not None]

    def advise(
        self,
        policies: Sequence[Policy],
        pods: Sequence[Pod],
        namespaces: Sequence[Namespace],
        findings: list[Finding],
    ) -> None:
        """As ``Adviser.advise``."""
        if not self._adviser.knows(pods, namespaces):
            self._adviser, self._quiet = Adviser(pods, namespaces), {}
        asked = [policy for policy in policies if id(policy) not in self._quiet]
        loud = self._adviser.advise(asked, findings)
        self._quiet = {id(policy): policy for policy in policies}
        for policy in loud:
            del self._quiet[id(policy)]


def _read_policy(manifest: Manifest) -> _Read[Policy]:
    said: list[Finding] = []
    made = read_policy(manifest, said)
    return _Read(manifest.key, manifest, "", made, tuple(said))

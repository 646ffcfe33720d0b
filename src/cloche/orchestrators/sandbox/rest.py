"""All of a world but its policies: it stays while only they change, and then nothing of it is read anew."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import NamedTuple, TypeVar

import msgspec

from cloche.errors import Finding
from cloche.model.address import Address, Block, format_address
from cloche.model.state import Object
from cloche.model.topology import DEFAULT_NETWORK, Endpoint, Namespace, Network, Service
from cloche.orchestrators.sandbox.addresses import (
    DEFAULT_POD_CIDRS,
    DEFAULT_SERVICE_CIDRS,
    FIXED_SERVICES,
    Pool,
    assign,
)
from cloche.orchestrators.sandbox.backends import backed_ports, read_slices
from cloche.orchestrators.sandbox.kinds import UNUSED, unused_severity
from cloche.orchestrators.sandbox.manifests import Manifest, duplicates
from cloche.orchestrators.sandbox.pods import Pod, PodIndex, read_namespaces
from cloche.orchestrators.sandbox.services import Plan, read_service
from cloche.orchestrators.sandbox.workloads import ReadPod, read_pods

APART = "choose ranges that share nothing, with --pod-cidr and --service-cidr"
_T = TypeVar("_T", Endpoint, Service)


class Ranges(msgspec.Struct, frozen=True):
    """Where addresses come from."""

    pods: tuple[Block, ...] = DEFAULT_POD_CIDRS
    services: tuple[Block, ...] = DEFAULT_SERVICE_CIDRS


class Basis(NamedTuple):
    """What the rest of a world is made of, beside the addresses that were given out: the manifests that are
    no policies, the namespaces that policies are in, and where addresses come from."""

    manifests: list[Manifest]
    spaces: set[str]
    ranges: Ranges


class Rest(NamedTuple):
    """It, with what there is to say about it. ``assumed``: as of a world. ``previous``: the objects whose
    addresses were kept."""

    basis: Basis
    previous: Sequence[Object]
    network: Network
    namespaces: tuple[Namespace, ...]
    pods: list[Pod]
    addressed: tuple[Object, ...]
    """The endpoints, then the services."""
    assumed: frozenset[str]
    findings: tuple[Finding, ...]

    def stands(self, basis: Basis, previous: Sequence[Object]) -> bool:
        """True when it would be read again just so: addresses that were assigned here are kept, and those
        from before are the same as then."""
        ours = self.basis
        if (basis.spaces, basis.ranges) != (ours.spaces, ours.ranges):
            return False
        if not _same(basis.manifests, ours.manifests):
            return False
        return previous is self.previous or set(map(id, previous)).issuperset(map(id, self.addressed))


def _same(one: Sequence[Manifest], other: Sequence[Manifest]) -> bool:
    """True for the very same manifests: what is written ``1`` equals what is written ``true``."""
    return len(one) == len(other) and all(map(is_, one, other))


def read_rest(basis: Basis, previous: Sequence[Object], read_pod: ReadPod) -> Rest:
    """The rest of a world, errors among its findings; what was there in ``previous`` keeps its addresses."""
    manifests, ranges = basis.manifests, basis.ranges
    findings = [*duplicates(manifests), *_overlaps(ranges)]
    _name_unused(manifests, findings)
    namespaces = read_namespaces(manifests, basis.spaces, findings)
    pods, assumed = _address_pods(read_pods(manifests, findings, read_pod), ranges.pods, previous, findings)
    services = _read_services(manifests, pods, ranges.services, previous, findings)
    network = Network(DEFAULT_NETWORK, ranges=ranges.pods)
    addressed: tuple[Object, ...] = (*(pod.endpoint() for pod in pods), *services)
    return Rest(basis, previous, network, namespaces, pods, addressed, assumed, tuple(findings))


def _overlaps(ranges: Ranges) -> list[Finding]:
    """An error for each pod range that shares addresses with a service range."""
    return [
        Finding("", 0, "", f"the pod range {pods} and the service range {services} overlap", APART)
        for pods in ranges.pods
        for services in ranges.services
        if pods.covers(services) or services.covers(pods)
    ]


def _name_unused(manifests: Sequence[Manifest], findings: list[Finding]) -> None:
    """Name each kind that is not used once, at its first place."""
    first: dict[str, Manifest] = {}
    for manifest in manifests:
        if manifest.kind.startswith(UNUSED):
            first.setdefault(manifest.kind, manifest)
    for kind, manifest in first.items():
        severity, hint = unused_severity(kind)
        message = f"{kind.removeprefix(UNUSED)} objects are not used"
        findings.append(Finding(manifest.file, manifest.line, "kind", message, hint, severity))


def _previous(objects: Sequence[Object], kind: type[_T]) -> dict[str, tuple[Address, ...]]:
    return {found.key: found.addresses for found in objects if isinstance(found, kind)}


def _address_pods(
    pods: Sequence[Pod], ranges: tuple[Block, ...], previous: Sequence[Object], findings: list[Finding]
) -> tuple[list[Pod], frozenset[str]]:
    """The pods with an address each, and whose were assigned."""
    owners: dict[Address, Pod] = {}
    for pod in pods:
        for address in pod.addresses:
            other = owners.setdefault(address, pod)
            if other is not pod:
                message = f"pod {pod.key} has the address {format_address(address)} of pod {other.key}"
                hint = "an address has one owner: leave status.podIPs of one of them out"
                findings.append(Finding(pod.origin.file, pod.origin.line, "status.podIPs", message, hint))
    pool = Pool(ranges, owners)
    families = [ipv4 for ipv4 in (True, False) if pool.has(ipv4)]
    wanted = {pod.key: families for pod in pods if not pod.addresses and not pod.host_network}
    assigned, short = assign(wanted, pool, _previous(previous, Endpoint))
    if short:
        shown = ", ".join(str(block) for block in ranges) or "none"
        message = f"the pod ranges ({shown}) have no address left for {len(short)} pods"
        first = next(pod.origin for pod in pods if pod.key in short)
        hint = "give larger ones with --pod-cidr"
        findings.append(Finding(first.file, first.line, "", message, hint))
    addressed = [
        msgspec.structs.replace(pod, addresses=assigned[pod.key]) if pod.key in assigned else pod
        for pod in pods
    ]
    return addressed, frozenset(assigned)


def _read_services(
    manifests: Sequence[Manifest],
    pods: Sequence[Pod],
    ranges: tuple[Block, ...],
    previous: Sequence[Object],
    findings: list[Finding],
) -> list[Service]:
    """The services with their addresses and backends, sorted by namespace and name."""
    pool = Pool(ranges, (), skip=FIXED_SERVICES)
    plans = [
        plan
        for manifest in sorted(manifests, key=lambda manifest: manifest.key)
        if manifest.kind == "Service" and (plan := read_service(manifest, pool, findings)) is not None
    ]
    owners = {address: pod.key for pod in pods for address in pod.addresses}
    addresses = _address_services(plans, pool, owners, previous)
    slices = read_slices(manifests, findings)
    index = PodIndex(pods)
    return [
        Service(
            namespace=plan.manifest.namespace,
            name=plan.manifest.name,
            addresses=addresses[plan.key],
            ports=backed_ports(plan, index, slices.get(plan.key, []), owners),
            affinity_seconds=plan.affinity_seconds,
            origin=plan.document.origin,
        )
        for plan in plans
    ]


def _address_services(
    plans: Sequence[Plan], pool: Pool, owners: dict[Address, str], previous: Sequence[Object]
) -> dict[str, tuple[Address, ...]]:
    """Each service's addresses, those given first in their family; an address has one owner."""
    taken = {address: f"pod {key}" for address, key in owners.items()}
    for plan in plans:
        for address in plan.given:
            other = taken.setdefault(address, f"service {plan.key}")
            if other != f"service {plan.key}":
                message = f"its address {format_address(address)} is that of {other}"
                plan.spec.error(message, "leave clusterIP out, or write another")
    pool.taken |= taken.keys()
    wanted = {plan.key: plan.wanted() for plan in plans}
    assigned, short = assign(wanted, pool, _previous(previous, Service))
    for plan in plans:
        if plan.key in short and all(pool.has(family) for family in plan.wanted()):
            plan.spec.error("the service ranges have no address left", "give larger ones with --service-cidr")
    return {plan.key: plan.given + assigned[plan.key] for plan in plans}

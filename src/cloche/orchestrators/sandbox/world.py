"""Manifests as a world: every object of the model that they stand for, with addresses given out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from cloche.errors import Finding
from cloche.model.address import Address, Block, format_address
from cloche.model.state import Object
from cloche.model.topology import DEFAULT_NETWORK, Endpoint, Network, Service
from cloche.orchestrators.sandbox.addresses import (
    DEFAULT_POD_CIDRS,
    DEFAULT_SERVICE_CIDRS,
    FIXED_SERVICES,
    Pool,
    assign,
)
from cloche.orchestrators.sandbox.backends import backed_ports, read_slices
from cloche.orchestrators.sandbox.kinds import UNUSED, unused_severity
from cloche.orchestrators.sandbox.manifests import (
    Manifest,
    duplicates,
    gather,
    load,
    ordered,
    refuse_errors,
)
from cloche.orchestrators.sandbox.pods import Pod, PodIndex, read_namespaces
from cloche.orchestrators.sandbox.readings import Readings
from cloche.orchestrators.sandbox.services import Plan, read_service
from cloche.orchestrators.sandbox.workloads import read_pods

APART = "choose ranges that share nothing, with --pod-cidr and --service-cidr"
_T = TypeVar("_T", Endpoint, Service)


class World(msgspec.Struct, frozen=True):
    """What some manifests stand for: the network, namespaces, policies, endpoints, services, in that order.

    ``findings`` are warnings and notes; ``assumed`` are the keys of endpoints whose addresses were
    assigned here and not given.
    """

    objects: tuple[Object, ...] = ()
    findings: tuple[Finding, ...] = ()
    assumed: frozenset[str] = frozenset()


class Ranges(msgspec.Struct, frozen=True):
    """Where addresses come from."""

    pods: tuple[Block, ...] = DEFAULT_POD_CIDRS
    services: tuple[Block, ...] = DEFAULT_SERVICE_CIDRS


def build(
    manifests: Sequence[Manifest],
    pod_cidrs: tuple[Block, ...] = DEFAULT_POD_CIDRS,
    service_cidrs: tuple[Block, ...] = DEFAULT_SERVICE_CIDRS,
    previous: World | None = None,
    readings: Readings | None = None,
) -> World:
    """The world of these manifests; what was there in ``previous`` keeps the addresses it was assigned.

    ``readings``: of the last time, so that what has not changed is not read anew.

    Raises InputError with every finding when one is an error: nothing is ever left out to make it fit.
    """
    world = _assemble(manifests, Ranges(pod_cidrs, service_cidrs), previous, readings or Readings())
    refuse_errors(world.findings)
    return world


def check(
    paths: Sequence[str],
    stdin: str | None = None,
    pod_cidrs: tuple[Block, ...] = DEFAULT_POD_CIDRS,
    service_cidrs: tuple[Block, ...] = DEFAULT_SERVICE_CIDRS,
) -> tuple[Finding, ...]:
    """Everything there is to say about the input, errors first. Never raises for bad input."""
    return examine(paths, stdin, Ranges(pod_cidrs, service_cidrs)).findings


def examine(paths: Sequence[str], stdin: str | None, ranges: Ranges) -> World:
    """The world of the paths, whatever is wrong with it, and all there is to say about the input."""
    sources, findings = gather(paths, stdin)
    manifests, problems = load(sources)
    world = _assemble(manifests, ranges, None, Readings())
    return msgspec.structs.replace(world, findings=ordered([*findings, *problems, *world.findings]))


def _assemble(
    manifests: Sequence[Manifest], ranges: Ranges, previous: World | None, readings: Readings
) -> World:
    """The world, errors among its findings."""
    readings.turn()
    findings = [*duplicates(manifests), *_overlaps(ranges)]
    _name_unused(manifests, findings)
    namespaces = read_namespaces(manifests, findings)
    pods, assumed = _address_pods(read_pods(manifests, findings, readings), ranges.pods, previous, findings)
    services = _read_services(manifests, pods, ranges.services, previous, findings)
    policies = readings.policies(manifests, findings)
    readings.advise(policies, pods, namespaces, findings)
    network = Network(DEFAULT_NETWORK, ranges=ranges.pods)
    endpoints = [pod.endpoint() for pod in pods]
    objects: tuple[Object, ...] = (network, *namespaces, *policies, *endpoints, *services)
    return World(objects, ordered(findings), assumed)


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


def _previous(world: World | None, kind: type[_T]) -> dict[str, tuple[Address, ...]]:
    objects = world.objects if world else ()
    return {found.key: found.addresses for found in objects if isinstance(found, kind)}


def _address_pods(
    pods: Sequence[Pod], ranges: tuple[Block, ...], previous: World | None, findings: list[Finding]
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
    previous: World | None,
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
    plans: Sequence[Plan], pool: Pool, owners: dict[Address, str], previous: World | None
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

"""Manifests as a world: every object of the model that they stand for, with addresses given out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloche.errors import Finding
from cloche.model.address import Block
from cloche.model.state import Object
from cloche.orchestrators.sandbox.addresses import DEFAULT_POD_CIDRS, DEFAULT_SERVICE_CIDRS
from cloche.orchestrators.sandbox.manifests import (
    Manifest,
    duplicates,
    gather,
    load,
    ordered,
    refuse_errors,
)
from cloche.orchestrators.sandbox.networkpolicy import KIND
from cloche.orchestrators.sandbox.readings import Readings
from cloche.orchestrators.sandbox.rest import Basis, Ranges


class World(msgspec.Struct, frozen=True):
    """What some manifests stand for: the network, namespaces, policies, endpoints, services, in that order.

    ``findings`` are warnings and notes; ``assumed`` are the keys of endpoints whose addresses were
    assigned here and not given.
    """

    objects: tuple[Object, ...] = ()
    findings: tuple[Finding, ...] = ()
    assumed: frozenset[str] = frozenset()


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
    wanted = [manifest for manifest in manifests if manifest.kind == KIND]
    others = [manifest for manifest in manifests if manifest.kind != KIND]
    basis = Basis(others, {manifest.namespace for manifest in wanted}, ranges)
    rest = readings.rest(basis, previous.objects if previous else ())
    findings = [*rest.findings, *duplicates(wanted)]
    policies = readings.policies(wanted, findings)
    readings.advise(policies, rest.pods, rest.namespaces, findings)
    objects = (rest.network, *rest.namespaces, *policies, *rest.addressed)
    return World(objects, ordered(findings), rest.assumed)

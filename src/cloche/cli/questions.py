"""The verbs that ask about policy, of manifests or of what is running: matrix, explain, check."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cloche.agent.client import Client, connect
from cloche.analysis import Matrix, explain_flow, matrix
from cloche.cli import fitting, grid, lines, live, render, telling, worlds
from cloche.cli.options import (
    Files,
    Instance,
    Json,
    PodRanges,
    ServiceRanges,
    System,
    configuration,
    required,
)
from cloche.cli.places import read_port
from cloche.config import DEFAULT_INSTANCE
from cloche.errors import Finding, InputError, Severity
from cloche.model.state import State
from cloche.orchestrators.sandbox import Ranges, examine

SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def show_matrix(
    filename: Files,
    pod_cidr: PodRanges,
    service_cidr: ServiceRanges,
    port: Annotated[
        list[str],
        typer.Option(
            "--port",
            metavar="PORT",
            help="Ask about this port (80/tcp, http/tcp, 8/icmp), not those that pods declare. Repeatable.",
            default_factory=list,
            show_default=False,
        ),
    ],
    probe: Annotated[
        bool, typer.Option("--live", help="Send real packets too, and mark what differs from policy.")
    ] = False,
    services: Annotated[bool, typer.Option("--services", help="Ask about services too.")] = False,
    system: System = False,
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Show who reaches whom.

    All pairs of pods are asked, on the ports that they declare or on those given. With -f about these
    manifests, without about what is running. With --live status 1 when packets did anything else than
    policy says; what cannot be probed here is counted and is no difference.

    Example: cloche matrix -f examples/shop
    """
    config = configuration(instance, pod_cidr, service_cidr)
    ports = [read_port(text) for text in port] or None
    if filename and probe:
        raise InputError(
            [Finding("", 0, "--live", "asks what is running, -f about manifests", "leave one out")]
        )
    with contextlib.ExitStack() as stack:
        client = None if filename else stack.enter_context(connect(instance))
        with render.working("asking about every pair"):
            state, assumed = (
                worlds.written(filename, config) if client is None else (worlds.running(client), frozenset())
            )
            answer = matrix(state, ports, system=system, services=services, assumed=assumed)
        if probe and client:
            answer = probed(client, state, answer)
    tell_matrix(answer, json)
    if probe:
        conclude(answer, json)


def tell_matrix(answer: Matrix, json: bool) -> None:
    """Print the matrix, and aloud how much of it hangs on addresses that were given out here."""
    if json:
        render.answer_json_whole(answer)
        return
    render.show(grid.draw(answer))
    hanging = sum(pair.assumed for pair in answer.pairs)
    if hanging:
        which = f"{lines.plural(hanging, 'verdict')} (marked *)"
        render.aside(f"{which} may change with the pods' addresses, which were given out here", "yellow")


def probed(client: Client, state: State, asked: Matrix) -> Matrix:
    """The matrix with what packets did."""
    with render.progress("probing", live.count(state, asked)) as tick:
        return live.probe_matrix(client, state, asked, tick)


def conclude(answer: Matrix, json: bool) -> None:
    """Say aloud what was not probed and what differs; status 1 when anything does."""
    unprobed = sum(pair.live is None for pair in answer.pairs)
    differing = [pair for pair in answer.pairs if live.differs(pair)]
    if unprobed:
        render.aside(f"{lines.plural(unprobed, 'pair')} could not be probed here", "yellow")
    if differing:
        render.aside(f"{lines.plural(len(differing), 'pair')} did not do what policy says", "bold red")
        raise typer.Exit(1)
    if not json:
        agreed = lines.plural(len(answer.pairs) - unprobed, "pair")
        render.aside(f"{agreed} probed: packets do what policy says", "green")


def explain(
    filename: Files,
    pod_cidr: PodRanges,
    service_cidr: ServiceRanges,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A pod, a service, an address or a CIDR.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="A pod, a service, an address or a CIDR.")
    ],
    port: Annotated[str, typer.Argument(metavar="PORT", help="Like 80/tcp, http/tcp or 8/icmp.")],
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Say why a flow may pass or not.

    Who isolates the pods, which rule of which file decides, which came nearest to allowing and what it
    lacked. With -f about these manifests, without about what is running. A service or a CIDR has an
    answer for each group of backends or addresses that is treated alike. Status 1 when any is denied.

    Example: cloche explain attacker/eve shop/db-0 sql/tcp -f examples/shop
    """
    config = configuration(instance, pod_cidr, service_cidr)
    wanted = read_port(port)
    assumed: frozenset[str] = frozenset()
    if filename:
        state, assumed = worlds.written(filename, config)
    else:
        with connect(instance) as client:
            state = worlds.running(client)
    explanation = explain_flow(state, source, destination, wanted, assumed)
    if json:
        render.answer_json_whole(explanation)
    else:
        render.show(*telling.tell(explanation))
    if explanation.verdict != "allow":
        raise typer.Exit(1)


def check(
    filename: Files,
    pod_cidr: PodRanges,
    service_cidr: ServiceRanges,
    fail_on: Annotated[
        Severity, typer.Option("--fail-on", help="From which severity on a finding means status 1.")
    ] = Severity.WARNING,
    json: Json = False,
) -> None:
    """Find mistakes in manifests.

    Each with file, line, field, and what to do about it. Errors are what up would refuse, what
    does not fit one instance too: status 2.
    Status 1 for other findings at or above --fail-on.

    Example: cloche check -f examples/shop --fail-on note
    """
    config = configuration(pods=pod_cidr, services=service_cidr)
    world = examine(required(filename), None, Ranges(config.pod_ranges, config.service_ranges))
    found = world.findings
    if not any(finding.severity is Severity.ERROR for finding in found):
        more = fitting.refusals(config, world)
        found = tuple(sorted((*found, *more), key=lambda finding: SEVERITIES.index(finding.severity)))
    if json:
        render.answer_json(findings=found)
    else:
        render.show(*(render.finding_text(finding) for finding in found))
        render.aside(summary(found), "" if found else "green")
    if any(finding.severity is Severity.ERROR for finding in found):
        raise typer.Exit(2)
    if any(SEVERITIES.index(finding.severity) <= SEVERITIES.index(fail_on) for finding in found):
        raise typer.Exit(1)


def summary(found: tuple[Finding, ...]) -> str:
    """How many findings of each severity."""
    counts = [(severity, sum(f.severity is severity for f in found)) for severity in SEVERITIES]
    return (
        ", ".join(lines.plural(count, severity.value) for severity, count in counts if count)
        or "nothing found"
    )

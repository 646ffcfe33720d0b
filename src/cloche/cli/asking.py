"""The verbs that ask a running sandbox: probe, flows, show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from cloche.agent.client import Client, connect
from cloche.agent.messages import Outcome, ProbePair, ProbeResult, Show
from cloche.analysis.ends import End
from cloche.analysis.matrix import carries, family_of
from cloche.cli import lines, render, standing, worlds
from cloche.cli.options import Instance, Json, System
from cloche.cli.places import find_destination, find_pod, read_port, targets
from cloche.config import DEFAULT_INSTANCE
from cloche.errors import Finding, InputError, MachineError
from cloche.model.address import Address, format_address
from cloche.model.ports import Port
from cloche.model.topology import Endpoint


def probe(
    source: Annotated[str, typer.Argument(help="The pod that sends.", metavar="SRC")],
    destination: Annotated[str, typer.Argument(help="A pod, a service or an address.", metavar="DST")],
    port: Annotated[str, typer.Argument(help="Like 80/tcp, http/tcp or 8/icmp.", metavar="PORT")],
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Send real packets from a pod and say what came of it.

    Each address of the destination is tried. An answer, or a refusal by the destination itself, is
    allow; silence, after retries, is deny. Status 1 when any is denied.

    Example: cloche probe shop/front-0 shop/api 80/tcp
    """
    wanted = read_port(port)
    with connect(instance) as client:
        state = worlds.running(client)
        key = find_pod(state, source).key
        end = find_destination(state, destination)
        found = sendable(state.endpoints[key], end, wanted)
        with render.working("probing"):
            results = client.probe(
                [ProbePair(key, format_address(a), wanted.protocol, found[a]) for a in found]
            )
    if json:
        render.answer_json(probes=results)
    else:
        headers = ("SOURCE", "DESTINATION", "PORT", "OUTCOME", "ANSWERED BY", "MS", "DETAIL")
        render.show(render.table(headers, (probe_row(result, port) for result in results)))
    outcomes = {result.outcome for result in results}
    if outcomes <= {Outcome.UNPROBEABLE}:
        raise MachineError(
            f"{port} cannot be probed here: {'; '.join({r.detail for r in results}) or 'no address'}"
        )
    if Outcome.DENY in outcomes:
        raise typer.Exit(1)


def sendable(source: Endpoint, end: End, port: Port) -> dict[Address, int]:
    """The destination's addresses that the source can send this port's packets to, and the port's number
    at each. Raises InputError."""
    own = {family_of(address) for address in source.addresses}
    families = {family for family in own if carries(family, port)}
    found = {a: number for a, number in targets(end, port).items() if family_of(a) in families}
    if not found:
        hint = "both ends need an address of the same family, and ICMP goes with IPv4, ICMPv6 with IPv6"
        raise InputError([Finding("", 0, end.text, f"no address for {port}", hint)])
    return found


def probe_row(result: ProbeResult, port: str) -> Sequence[Any]:
    """One probe as a row of a table."""
    took = f"{result.ms:.1f}" if result.ms else ""
    pair = result.pair
    outcome = render.verdict_text(result.outcome)
    return pair.source, pair.destination, port, outcome, result.answered_by, took, result.detail


def flows(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with each event as it comes.")] = False,
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Tell what happened to flows.

    New ones, drops with their reason and the rule that decided, those that were cut or closed. Events
    are sent at a limited rate for each endpoint; what was not sent is counted in the line after it.

    Example: cloche flows --follow
    """
    with connect(instance) as client:
        try:
            for event in client.flows(follow=follow):
                if json:
                    render.answer_json(flow=event)
                else:
                    render.show(lines.event(event))
        except KeyboardInterrupt:
            return


class Listing(NamedTuple):
    """How one kind of thing is listed: where it comes from, and its columns by title and value."""

    ask: Callable[[Client], Iterable[Any]]
    columns: tuple[tuple[str, Callable[[Any], object]], ...]


def joined(values: Iterable[str]) -> str:
    """Several values in one cell."""
    return ", ".join(values)


def rules(count: int) -> str:
    """How many rules a policy has in a direction where it says anything."""
    return "" if count < 0 else str(count)


LISTINGS: dict[Show, Listing] = {
    Show.ENDPOINTS: Listing(
        Client.endpoints,
        (
            ("ENDPOINT", lambda e: e.endpoint),
            ("STATE", lambda e: e.state if not e.problem else f"{e.state}: {e.problem}"),
            ("ADDRESSES", lambda e: joined(e.addresses)),
            ("PORTS", lambda e: joined(e.ports)),
            ("SETS OUT/IN", lambda e: f"{e.egress_set or '-'}/{e.ingress_set or '-'}"),
            ("LINK", lambda e: e.link),
            ("NAMESPACE", lambda e: Path(e.network_namespace).name),
        ),
    ),
    Show.POLICIES: Listing(
        Client.policies,
        (
            ("POLICY", lambda p: p.policy),
            ("EGRESS RULES", lambda p: rules(p.egress_rules)),
            ("INGRESS RULES", lambda p: rules(p.ingress_rules)),
            ("PROTECTS", lambda p: joined(p.subjects)),
            ("WRITTEN AT", lambda p: p.origin),
        ),
    ),
    Show.CLASSES: Listing(
        Client.classes,
        (
            ("CLASS", lambda c: c.number),
            ("ADDRESSES", lambda c: c.addresses),
            ("PREFIXES", lambda c: c.prefixes),
            ("AMONG THEM", lambda c: joined(c.members)),
        ),
    ),
    Show.GENERATIONS: Listing(
        Client.generations,
        (
            ("GENERATION", lambda g: f"{g.generation}{' *' if g.active else ''}"),
            ("DIGEST", lambda g: g.digest[:12]),
            ("WRITES", lambda g: g.writes),
            ("COMPILED IN", lambda g: f"{g.compile_ms:.1f} ms"),
            ("KEPT", lambda g: "yes" if g.kept else ""),
            ("CAUSE", lambda g: g.cause),
        ),
    ),
    Show.SERVICES: Listing(
        Client.services,
        (
            ("SERVICE", lambda s: s.service),
            ("ADDRESSES", lambda s: joined(s.addresses)),
            ("PORT", lambda s: s.port),
            ("AFFINITY", lambda s: f"{s.affinity_seconds} s" if s.affinity_seconds else ""),
            ("BACKENDS", lambda s: joined(s.backends) or "none"),
        ),
    ),
    Show.FLOWS: Listing(
        Client.live_flows,
        (
            ("SOURCE", lambda f: f"{f.source or f.source_address}:{f.source_port}"),
            ("DESTINATION", lambda f: f.destination or f.destination_address),
            ("PORT", lambda f: f.port),
            ("SERVICE", lambda f: f.service),
            ("STATE", lambda f: f.state),
            ("ACTION", lambda f: f.reason or f.action),
            ("AGE", lambda f: f"{f.age_s} s"),
            ("IDLE", lambda f: f"{f.idle_s} s"),
        ),
    ),
    Show.MAPS: Listing(
        Client.maps,
        (
            ("MAP", lambda m: m.map),
            ("ENTRIES", lambda m: "" if m.entries < 0 else str(m.entries)),
            ("CAPACITY", lambda m: m.capacity),
        ),
    ),
    Show.DEVICES: Listing(
        Client.devices,
        (
            ("DEVICE", lambda d: d.device),
            ("ROLE", lambda d: d.role),
            ("ADDRESSES", lambda d: joined(d.addresses)),
        ),
    ),
}


def show(
    what: Annotated[Show, typer.Argument(help="What to list.", show_choices=True)],
    instance: Instance = DEFAULT_INSTANCE,
    system: System = False,
    json: Json = False,
) -> None:
    """List what a running sandbox holds.

    The model's objects, and what became of them in the kernel. A set is an endpoint's rules in one
    direction, shared by equals; a class is a set of peers that no policy can tell apart. In show
    generations, * is the active one, and one can roll back to those that are kept.

    Example: cloche show endpoints
    """
    listing = LISTINGS[what]
    with connect(instance) as client:
        rows = [row for row in listing.ask(client) if system or not getattr(row, "system", False)]
        status = client.status() if what is Show.GENERATIONS else None
    if json:
        parts: dict[str, object] = {what.value: rows}
        render.answer_json(**parts, **({"held": status.held, "waiting": status.waiting} if status else {}))
        return
    headers = [title for title, _ in listing.columns]
    cells = ([str(value(row)) for _, value in listing.columns] for row in rows)
    render.show(render.table(headers, cells))
    if status is not None:
        render.show(*standing.held_lines(status))

"""The verbs about what stands in the kernel: attest, rollback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from cloche.agent.client import connect
from cloche.agent.messages import Status
from cloche.cli import lines, render
from cloche.cli.options import Instance, Json
from cloche.config import DEFAULT_INSTANCE
from cloche.errors import Finding, InputError


def attest(instance: Instance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Say whether this host enforces exactly the active generation.

    What the kernel holds is read back, the model is compiled anew from nothing, in a process of its own,
    and the two are compared by hashes that do not depend on numbering. Status 1 when they differ; then
    each part that differs is named. Changes go on meanwhile.

    Example: cloche attest
    """
    with connect(instance) as client, render.working("attesting"):
        said = client.attest()
    if json:
        render.answer_json(attested=said)
    else:
        for difference in said.differences:
            render.show(difference)
        if said.count > len(said.differences):
            render.show(f"and {said.count - len(said.differences)} more")
        took = f"  ({said.kernel[:12]}; read in {said.read_ms:.0f} ms, compiled in {said.compile_ms:.0f} ms)"
        verdict = "enforces exactly" if said.exact else "does not enforce"
        render.show(Text(f"this host {verdict} generation {said.generation}").append(took, render.dim))
    if not said.exact:
        raise typer.Exit(1)


def rollback(
    generation: Annotated[
        int | None,
        typer.Argument(
            help="The generation whose policies to take; without it, those before the last change of policy.",
            metavar="GENERATION",
            min=1,
            show_default=False,
        ),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="End the roll-back: what is wanted by now comes into force.")
    ] = False,
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Put the policies of an earlier generation in force again.

    They are compiled with today's pods, namespaces and services, as a new generation, and hold until
    --release: changes of policy that arrive meanwhile are queued and named, all others take effect at
    once. It outlives the agent. show generations tells which generations are kept and what waits.

    Example: cloche rollback
    """
    if release and generation:
        raise InputError([Finding("", 0, "--release", "a release takes no generation", "leave it out")])
    with connect(instance) as client:
        with render.working("releasing" if release else "rolling back"):
            applied = client.release() if release else client.rollback(generation or 0)
        status = client.status()
    if json:
        render.answer_json(applied=applied, held=status.held, waiting=status.waiting)
        return
    render.findings(applied.findings)
    render.show(lines.applied(applied))
    render.show(*held_lines(status))


def held_lines(status: Status) -> Sequence[str]:
    """Which generation's policies are held, and what waits for the release; nothing when none are."""
    if not status.held:
        return ()
    head = f"the policies of generation {status.held} hold until: cloche rollback --release"
    head += lines.instance_option(status.instance)
    return (head, *(f"waiting: {one.policy} ({one.change})" for one in status.waiting))

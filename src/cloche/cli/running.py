"""The verbs that run a sandbox and change it: up, apply, delete, exec, down, clean, agent."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cloche.agent import launch
from cloche.agent.client import Client, connect
from cloche.agent.disk import Disk
from cloche.agent.messages import Applied, Mode
from cloche.cli import bars, enter, lines, render, signals, watching, worlds
from cloche.cli.options import (
    Devices,
    Files,
    Instance,
    Json,
    PodRanges,
    ReplayMs,
    ServiceRanges,
    configuration,
    required,
)
from cloche.cli.places import find_pod
from cloche.config import DEFAULT_INSTANCE, DEFAULT_REPLAY_MS, Config
from cloche.errors import ClocheError, MachineError, NotRunningError, TooBigError
from cloche.orchestrators.sandbox import Manifest, World, build, read_noting


def up(
    filename: Files,
    pod_cidr: PodRanges,
    service_cidr: ServiceRanges,
    devices: Devices,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all is up; end it with down.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Apply the manifests again whenever a file of theirs changes.")
    ] = False,
    replay_ms: ReplayMs = DEFAULT_REPLAY_MS,
    instance: Instance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Make manifests real and enforce their policies.

    Each pod becomes a network namespace. Bad input is refused before anything is made. Without --detach
    it stays, tells of every flow, and takes everything down again on Ctrl-C, SIGTERM or SIGHUP. On an
    instance that runs already, the manifests replace what is there.

    Example: cloche up -f examples/shop --detach
    """
    config = configuration(instance, pod_cidr, service_cidr, devices, replay_ms)
    seen = watching.first_look(filename) if watch else {}
    manifests = read_telling(filename)
    world = build(manifests, config.pod_ranges, config.service_ranges)
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals.as_interrupt())
        with bars.following(f"bringing up instance {config.instance}", config):
            client, applied = bring_up(config, manifests, world)
        stack.enter_context(client)
        if not detach:
            beside = watching.reapplied(client, filename, seen) if watch else contextlib.nullcontext()
            stay(client, applied, beside, json)
            return
        tell(applied, json)
        if not json:
            render.aside(f"it keeps running; end it with: cloche down{lines.instance_option(instance)}")
        end(applied)


def stay(
    client: Client, applied: Applied, beside: contextlib.AbstractContextManager[None], json: bool
) -> None:
    """Tell what came up and every flow, with ``beside`` entered, until interrupted or read no more; then take
    it down."""
    try:
        tell(applied, json)
        if not json:
            render.aside("telling of every flow; Ctrl-C takes everything down", render.dim)
        with beside:
            follow(client, json)
    except (KeyboardInterrupt, OSError) as end:
        with bars.following(f"taking down instance {client.config.instance}", client.config):
            client.down()
        if isinstance(end, OSError):
            raise


def bring_up(config: Config, manifests: tuple[Manifest, ...], world: World) -> tuple[Client, Applied]:
    """The agent of the instance, started if need be, with these manifests, which mean ``world``, in force.

    Of an instance that was new with this, nothing stays when it cannot come up or refuses the manifests.
    """
    launch.require_root()
    new = not Disk(config).exists()
    if new:
        launch.check_machine(config, world)
    try:
        client = launch.start(config)
        try:
            return client, client.apply(manifests, Mode.REPLACE)
        except BaseException:
            client.close()
            raise
    except BaseException as error:
        if new:
            undo(config)
            if isinstance(error, TooBigError):
                error.note = ""
        raise


def undo(config: Config) -> None:
    """Remove what was begun. What goes wrong with that is said, and hides no error before it."""
    from cloche.agent import removal  # what drives the kernel is slow to import

    try:
        removal.clean(config)
    except (ClocheError, OSError) as error:
        again = f"cloche clean{lines.instance_option(config.instance)}"
        render.aside(f"what was begun could not all be removed: {error}; try again with: {again}", "bold red")


def read_telling(paths: list[str]) -> tuple[Manifest, ...]:
    """The manifests behind the paths; what there is to say about the files is said. Raises InputError."""
    manifests, notes = read_noting(required(paths))
    render.findings(notes)
    return manifests


def follow(client: Client, json: bool) -> None:
    """Tell of every flow event from now on, without end."""
    for event in client.flows(follow=True):
        render.answer_json(flow=event) if json else render.show(lines.event(event))


def tell(applied: Applied, json: bool) -> None:
    """Say what a change came to, and which of its policies a roll-back holds back."""
    if json:
        render.answer_json(applied=applied)
        return
    render.findings(applied.findings)
    render.show(lines.applied(applied))
    for line in lines.queued(applied):
        render.aside(line, "yellow")


def end(applied: Applied) -> None:
    """End with status 1 when something of the change is only queued."""
    if applied.queued:
        raise typer.Exit(1)


def apply(filename: Files, instance: Instance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Put objects into a running sandbox.

    What has the same kind, namespace and name is replaced. The change takes effect in one step, on
    connections that are open too. Bad input changes nothing. Status 1 when policies are only queued,
    because a roll-back holds.

    Example: cloche apply -f examples/shop-lockdown.yaml
    """
    manifests = read_telling(filename)
    with connect(instance) as client:
        with bars.following("applying", client.config):
            applied = client.apply(manifests)
        tell(applied, json)
    end(applied)


def delete(filename: Files, instance: Instance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Take objects out of a running sandbox.

    Only their kinds, namespaces and names count. With a namespace goes everything in it.

    Example: cloche delete -f examples/shop/3-policies.yaml
    """
    manifests = read_telling(filename)
    with connect(instance) as client:
        with bars.following("deleting", client.config):
            applied = client.delete(manifests)
        tell(applied, json)
    end(applied)


def execute(
    pod: Annotated[str, typer.Argument(help="The pod, as namespace/name.", metavar="POD")],
    command: Annotated[
        list[str], typer.Argument(help="The program and its arguments.", metavar="COMMAND")
    ] = ["sh"],  # noqa: B006
    instance: Instance = DEFAULT_INSTANCE,
) -> None:
    """Run a program in a pod's network.

    It is a program of this machine, with the pod's addresses, routes and DNS. Files and processes stay
    the machine's own. The program's exit status is returned.

    Example: cloche exec shop/front-0 -- python3 -c "import socket; print(socket.gethostbyname('api'))"
    """
    program = command[1:] if command[0] == "--" else command
    with connect(instance) as client:
        key = find_pod(worlds.running(client), pod).key
        netns = next((shown.network_namespace for shown in client.endpoints() if shown.endpoint == key), "")
    if not netns:
        raise MachineError(f"{key} has no network namespace of its own")
    enter.become(netns, program or ["sh"])


def down(instance: Instance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Stop a sandbox and remove everything of it.

    Namespaces, links, programs, maps and files of the instance go. Other instances are not touched.
    Without a running agent, use clean.

    Example: cloche down
    """
    try:
        client = connect(instance)
    except NotRunningError:
        if not Disk(configuration(instance)).exists():
            raise
        message = f"the agent of instance {instance} is gone, but the instance is still there"
        raise NotRunningError(message, f"remove it with: cloche clean --instance {instance}") from None
    with client, bars.following(f"taking down instance {instance}", client.config):
        client.down()
    gone(instance, [], json)


def clean(instance: Instance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Remove what is left of an instance, with or without an agent.

    What down does, when the agent does not answer or is gone. Other instances are not touched.

    Example: cloche clean --instance demo
    """
    launch.require_root()
    from cloche.agent import removal  # what drives the kernel is slow to import, and few verbs need it

    what = f"removing instance {instance}"
    with render.steps(what) as show:
        removed = removal.clean(configuration(instance), lambda done, total: show(what, done, total))
    gone(instance, removed, json)


def agent(
    pod_cidr: PodRanges,
    service_cidr: ServiceRanges,
    devices: Devices,
    replay_ms: ReplayMs = DEFAULT_REPLAY_MS,
    instance: Instance = DEFAULT_INSTANCE,
) -> None:
    """Run an instance's agent in the foreground.

    up starts one by itself; this is for supervisors. An instance that exists keeps the ranges that it was
    made with. On SIGTERM it ends and the datapath goes on; the next one adopts it.

    Example: cloche agent --instance cloche0
    """
    launch.require_root()
    from cloche.agent import main  # a server and the kernel's drivers: only this verb is one

    config = configuration(instance, pod_cidr, service_cidr, devices, replay_ms)
    disk = Disk(config)
    kept = disk.load_config()
    if kept is None:
        disk.save_config(config)
    raise typer.Exit(main.main(kept or config))


def gone(instance: str, removed: list[str], json: bool) -> None:
    """Say that nothing of the instance is left, and what there was."""
    if json:
        render.answer_json(removed=instance, things=removed)
        return
    for thing in removed:
        render.aside(f"removed {thing}", render.dim)
    render.show(f"instance {instance} is gone")

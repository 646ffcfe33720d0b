"""The options that verbs share, each with one meaning, and how they become a configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from cloche.config import (
    DEFAULT_INSTANCE,
    DEFAULT_POD_RANGES,
    DEFAULT_REPLAY_MS,
    DEFAULT_SERVICE_RANGES,
    Config,
    Loader,
    check,
)
from cloche.errors import Finding, InputError
from cloche.model.address import Block, parse_block

Files = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        metavar="PATH",
        help="Manifests: a file, a folder, or - for standard input. May be repeated.",
        default_factory=list,
        show_default=False,
    ),
]
Instance = Annotated[
    str,
    typer.Option(
        "--instance",
        metavar="NAME",
        envvar="CLOCHE_INSTANCE",
        help="Which installation: a lower-case letter, then up to seven letters and digits.",
    ),
]
PodRanges = Annotated[
    list[str],
    typer.Option(
        "--pod-cidr",
        metavar="CIDR",
        help="Where pods without an address take theirs from; one per family.",
        default_factory=list,
        show_default=" and ".join(map(str, DEFAULT_POD_RANGES)),
    ),
]
ServiceRanges = Annotated[
    list[str],
    typer.Option(
        "--service-cidr",
        metavar="CIDR",
        help="Where services take their addresses from; one per family.",
        default_factory=list,
        show_default=" and ".join(map(str, DEFAULT_SERVICE_RANGES)),
    ),
]
Devices = Annotated[
    list[str],
    typer.Option(
        "--devices",
        metavar="NAME",
        help="A device by which packets come in from other machines. May be repeated.",
        default_factory=list,
        show_default="those that hold addresses or default routes, lo excepted",
    ),
]
ReplayMs = Annotated[
    float,
    typer.Option(
        "--replay-ms",
        metavar="MS",
        envvar="CLOCHE_REPLAY_MS",
        help="How long a generation is replayed against its policies before it is active; 0: never.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
System = Annotated[
    bool, typer.Option("--system", help="List the sandbox's own endpoints (the resolver) too.")
]


def configuration(
    instance: str = DEFAULT_INSTANCE,
    pods: Sequence[str] = (),
    services: Sequence[str] = (),
    devices: Sequence[str] = (),
    replay_ms: float = DEFAULT_REPLAY_MS,
) -> Config:
    """The configuration that the options ask for. Raises InputError for one that cannot be."""
    config = Config(
        instance=instance,
        pod_ranges=ranges("--pod-cidr", pods, DEFAULT_POD_RANGES),
        service_ranges=ranges("--service-cidr", services, DEFAULT_SERVICE_RANGES),
        loader=loader(),
        devices=tuple(sorted(set(devices))),
        replay_ms=replay_ms,
    )
    check(config)
    return config


def loader() -> Loader:
    """What CLOCHE_LOADER says: auto, tcx or clsact."""
    text = os.environ.get("CLOCHE_LOADER", Loader.AUTO)
    if text not in set(Loader):
        hint = f"one of {', '.join(Loader)}"
        raise InputError([Finding("environment", 0, "CLOCHE_LOADER", f"{text!r} is no loader", hint)])
    return Loader(text)


def ranges(option: str, texts: Sequence[str], defaults: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks written, and the default of a family that none is written for."""
    try:
        blocks = [parse_block(text) for text in texts]
    except ValueError as error:
        raise InputError([Finding(option, 0, "", str(error), "like 10.9.0.0/16 or fd00:9::/64")]) from None
    families = {block.ipv4 for block in blocks}
    chosen = blocks + [block for block in defaults if block.ipv4 not in families]
    return tuple(sorted(chosen, key=lambda block: not block.ipv4))


def required(paths: Sequence[str]) -> Sequence[str]:
    """The paths, of which there must be one. Raises InputError."""
    if not paths:
        raise InputError([Finding("-f", 0, "", "no manifests named", "-f PATH, or -f - for standard input")])
    return paths

"""Sandboxes for the tests of the command line: each with a name and ranges of its own, always removed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cloche.agent.client import Client, connect
from cloche.agent.messages import Applied, Mode
from cloche.analysis import Matrix, matrix
from cloche.cli.live import probe_matrix
from cloche.cli.worlds import running
from cloche.model.ports import Port
from cloche.orchestrators.sandbox import read

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
_names = (f"t{os.getpid() % 100000:05d}{letter}" for letter in itertools.cycle("abcdefghijklmnopqrstuvwxyz"))


class Said(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


def where(change: str, words: list[str]) -> list[str]:
    """Words that are run where a shell's commands changed what is mounted, for them alone."""
    return ["unshare", "--mount", "sh", "-c", f'{change} && exec "$@"', "sh", *words]


class Sandbox:
    """One instance, driven by the command line; nothing of it is there before ``up``."""

    def __init__(self, pods: Sequence[str], services: Sequence[str]) -> None:
        self.name = next(_names)
        self.ranges = [
            *(word for block in pods for word in ("--pod-cidr", block)),
            *(word for block in services for word in ("--service-cidr", block)),
        ]

    def command(self, *arguments: str) -> list[str]:
        """The command as a list of words."""
        return [sys.executable, "-m", "cloche", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """With the instance's name in it."""
        return {**os.environ, "CLOCHE_INSTANCE": self.name}

    def run(self, *arguments: str, stdin: str = "") -> Said:
        """Run a command on the instance, in the repository's root."""
        return self.said(self.command(*arguments), stdin)

    def said(self, words: list[str], stdin: str = "") -> Said:
        """What these words say, run as they are."""
        done = subprocess.run(
            words,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environment,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def up(self, *paths: str, stdin: str = "") -> Said:
        """Bring it up, detached."""
        files = [word for path in paths for word in ("-f", path)]
        return self.run("up", "--detach", *files, *self.ranges, stdin=stdin)

    def answer(self, *arguments: str) -> Any:
        """A command's answer in JSON."""
        return json.loads(self.run(*arguments, "--json").out)

    def client(self) -> Client:
        """A connection to its agent."""
        return connect(self.name)


def second_octet(slot: int) -> int:
    """A number for ranges that other runs of the tests, at the same time, do not have: 100 to 239."""
    return 100 + (os.getpid() * 5 + slot) % 140


@contextmanager
def sandbox(slot: int) -> Iterator[Sandbox]:
    """A sandbox in the ranges of a slot, 0 to 4, removed at the end whatever happened."""
    number = second_octet(slot)
    pods = (f"10.{number}.0.0/17", f"fd00:{number}::/64")
    made = Sandbox(pods, (f"10.{number}.128.0/17", f"fd00:{number}:1::/112"))
    try:
        yield made
    finally:
        made.run("clean")


def replace(client: Client, text: str) -> Applied:
    """Make these manifests the whole world of a sandbox."""
    return client.apply(read(["-"], stdin=text), Mode.REPLACE)


def live_matrix(client: Client, ports: Sequence[Port] | None = None) -> Matrix:
    """What policy says and what real packets did, of everything that runs."""
    state = running(client)
    return probe_matrix(client, state, matrix(state, ports), lambda done: None)


def leftovers(name: str) -> list[str]:
    """Whatever the machine still has that carries an instance's name."""
    found = []
    for command in (("ip", "-o", "link"), ("ip", "netns"), ("nft", "list", "tables")):
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        found += [line for line in lines if name in line]
    for folder in ("/sys/fs/bpf", "/run", "/var/lib", "/etc/netns"):
        found += [str(path) for path in Path(folder).glob(f"*/{name}*")]
        found += [str(path) for path in Path(folder).glob(f"{name}*")]
    return found

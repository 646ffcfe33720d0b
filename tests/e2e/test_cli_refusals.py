"""Users and machines that cannot: each verb says why, with status 2, and leaves everything as it was."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

from e2e.cli_lab import Said, Sandbox, leftovers, sandbox, where

POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {containers: [{name: c, image: c, ports: [{containerPort: 80}]}]}
"""
NOBODY = 65534
AS_NOBODY = f"""
import contextlib, io, os, sys
from cloche.agent import main as whatever_it_imports, removal
from cloche.cli.main import main

def run(*words):
    sys.argv = ["cloche", *words]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0

words = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    assert run("show", "maps", "--instance", "nobody7") == 3
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(run(*words))
"""
"""The command line as another user. Privileges are dropped after the imports, as nobody but root may be able
to read this folder."""


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """An instance that runs, which nobody but root may touch."""
    with sandbox(4) as made:
        up = made.up("-", stdin=POD)
        assert up.status == 0, up.err
        yield made


def as_nobody(made: Sandbox, *words: str) -> Said:
    """What a command said to a user without any privilege."""
    return made.said([sys.executable, "-c", AS_NOBODY, *words], POD)


@pytest.mark.parametrize(
    "words",
    [
        "up --detach -f -",
        "apply -f -",
        "delete -f -",
        "exec a -- true",
        "probe a a 80/tcp",
        "matrix --live",
        "explain a a 80/tcp",
        "flows",
        "show endpoints",
        "down",
        "clean",
        "agent",
    ],
)
def test_who_is_not_root_is_told_so(running: Sandbox, words: str) -> None:
    """Status 2 and the word root, never that nothing runs; and the instance goes on as it was."""
    answer = as_nobody(running, *words.split())
    assert answer.status == 2, answer
    assert "not root" in answer.err
    assert "nothing is running" not in answer.err
    assert "nft" not in answer.err
    with running.client() as client:
        assert client.status().endpoints == 2


def test_who_is_not_root_starts_nothing() -> None:
    """up and clean of an instance that is not there say that root is needed and leave nothing; asking one
    that does not run has the status that it has for root."""
    with sandbox(3) as made:
        for words in (("up", "--detach", "-f", "-"), ("clean",)):
            answer = as_nobody(made, *words)
            assert answer.status == 2
            assert answer.err.startswith("error: not root")
        assert as_nobody(made, "show", "endpoints").status == 3
        assert leftovers(made.name) == []


def test_a_machine_without_btf_is_told_so() -> None:
    """Where the kernel's BTF is missing up names it and the option that makes it, and leaves nothing."""
    with sandbox(3) as made:
        up = made.command("up", "--detach", "-f", "-", *made.ranges)
        answer = made.said(where("mount -t tmpfs none /sys/kernel/btf", up), POD)
        assert answer.status == 2
        assert "BTF of the kernel is needed" in answer.err
        assert "CONFIG_DEBUG_INFO_BTF" in answer.err
        assert leftovers(made.name) == []


def test_a_machine_without_ipv6_is_told_so() -> None:
    """Where the kernel was booted without IPv6 up says so, with the option to change, and leaves nothing."""
    with sandbox(3) as made:
        up = made.command("up", "--detach", "-f", "-", *made.ranges)
        answer = made.said(where("mount -t tmpfs none /proc/sys/net", up), POD)
        assert answer.status == 2
        assert "IPv6 is needed" in answer.err
        assert "ipv6.disable=1" in answer.err
        assert leftovers(made.name) == []


@pytest.mark.skipif(not shutil.which("setarch"), reason="no setarch here (Debian: util-linux)")
def test_a_kernel_that_is_too_old_is_told_so() -> None:
    """A release before the floor is named with what it lacks, and nothing is left."""
    with sandbox(3) as made:
        up = made.command("up", "--detach", "-f", "-", *made.ranges)
        answer = made.said(["setarch", "--uname-2.6", *up], POD)
        assert answer.status == 2
        assert "this kernel is 2.6." in answer.err
        assert "is needed (kernel 6." in answer.err
        assert leftovers(made.name) == []

"""The command line as a person or a program meets it: answers, messages and exit statuses, offline."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cloche.cli.fitting import refusals
from cloche.cli.main import main
from cloche.config import Config
from cloche.orchestrators.sandbox import build, read
from cloche.tables.schema import Capacity

ROOT = Path(__file__).resolve().parents[2]
SHOP = "examples/shop"
ALLOWED = ("explain", "shop/front-0", "shop/api-0", "http/tcp", "-f", SHOP)
DENIED = ("explain", "attacker/eve", "shop/db-0", "sql/tcp", "-f", SHOP)
BAD_PORT = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {}
  ingress:
    - ports: [{port: 70000}]
"""
BLOCKS = "\n".join(
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: c}]}\n---",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}",
        "spec:\n  podSelector: {}\n  ingress:",
        *(f"  - from: [ipBlock: {{cidr: 192.0.{n}.0/24}}]\n    ports: [port: {n + 1}]" for n in range(20)),
    )
)
UNUSUAL = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
"""


Run = Callable[..., "Said"]


class Said(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def cloche(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the repository's root, with nothing running under the name that it uses."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CLOCHE_INSTANCE", "nobody7")
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str, stdin: str = "", **environment: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["cloche", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            status = 0
            try:
                main()
            except SystemExit as end:
                status = int(end.code or 0)
        return Said(status, *capfd.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("check", "-f", SHOP), 0),
        (("matrix", "-f", SHOP), 0),
        (ALLOWED, 0),
        (DENIED, 1),
        (("matrix", "-f", "no/such/file.yaml"), 2),
        (("explain", "shop/front-0", "shop/api-0", "http", "-f", SHOP), 2),
        (("explain", "shop/nobody", "shop/api-0", "http/tcp", "-f", SHOP), 2),
        (("matrix", "-f", SHOP, "--live"), 2),
        (("matrix", "-f", SHOP, "--pod-cidr", "10.0.0.0/99"), 2),
        (("matrix", "--instance", "Not-A-Name", "-f", SHOP), 2),
        (("apply",), 2),
        (("nonsense",), 2),
        (("matrix",), 3),
        (("show", "endpoints"), 3),
        (("probe", "a", "b", "80/tcp"), 3),
        (("down",), 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_exit_status_is_the_promised_one(cloche: Run, arguments: tuple[str, ...], status: int) -> None:
    """0 fine, 1 denied, 2 bad input, 3 not running; and whatever is not fine says why on standard error."""
    said = cloche(*arguments)
    assert said.status == status, said
    assert status == 0 or said.err or said.out
    assert "Traceback" not in said.err


def test_matrix_json_has_the_documented_shape(cloche: Run) -> None:
    """One object on one line, with version and pairs, and exactly the documented fields."""
    said = cloche("matrix", "-f", SHOP, "--port", "5432/tcp", "--json")
    answer = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert answer["version"] == 1
    assert {
        "source": "shop/api-0",
        "destination": "shop/db-0",
        "port": "5432/tcp",
        "verdict": "allow",
        "egress": "allow",
        "ingress": "allow",
    } in answer["pairs"]
    assert len(answer["pairs"]) == 6 * 5


def test_matrix_lists_the_resolver_only_with_system(cloche: Run) -> None:
    """The sandbox's own pod is left out unless it is asked for."""
    assert "kube-dns" not in cloche("matrix", "-f", SHOP).out
    assert "kube-system/kube-dns" in cloche("matrix", "-f", SHOP, "--system").out


def test_matrix_reads_standard_input(cloche: Run) -> None:
    """-f - is a world like any other."""
    world = (ROOT / "examples/recipes/01-deny-all-to-an-app.yaml").read_text()
    answer = json.loads(cloche("matrix", "-f", "-", "--json", stdin=world).out)
    assert {pair["verdict"] for pair in answer["pairs"]} == {"allow", "deny"}


def test_explain_names_rule_file_and_line(cloche: Run) -> None:
    """A person sees who isolates, the nearest rule, where both are written, and what was missed."""
    said = cloche(*DENIED)
    assert "ingress-not-allowed" in said.out
    assert f"{SHOP}/3-policies.yaml:" in said.out
    assert "NetworkPolicy/shop/db" in said.out
    assert "missed by: namespaceSelector" in said.out


def test_check_tells_file_line_field_and_hint(cloche: Run) -> None:
    """An error is found with its place, up would refuse it, and the status is 2."""
    said = cloche("check", "-f", "-", "--json", stdin=BAD_PORT)
    (finding,) = [f for f in json.loads(said.out)["findings"] if f["severity"] == "error"]
    assert said.status == 2
    assert (finding["file"], finding["line"]) == ("<stdin>", 8)
    assert finding["field"] == "spec.ingress[0].ports[0].port"


def test_check_refuses_what_does_not_fit(cloche: Run) -> None:
    """More pods than one instance holds, as up would: status 2, with the place and what to do."""
    template = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: c}]}}"
    head = "apiVersion: apps/v1, kind: Deployment, metadata: {name: d}"
    many = f"{{{head}, spec: {{replicas: 1100, template: {template}}}}}"
    said = cloche("check", "-f", "-", "--json", stdin=many)
    (finding,) = json.loads(said.out)["findings"]
    assert said.status == 2
    assert (finding["file"], finding["line"], finding["severity"]) == ("<stdin>", 1, "error")
    assert finding["message"] == "endpoints: 1101 needed, 1023 fit"
    assert "fewer replicas" in finding["hint"]


def test_check_names_the_policy_that_does_not_fit() -> None:
    """The refusal is at the costliest policy; what fits has none."""
    world = build(read(["-"], stdin=BLOCKS))
    config = Config(capacity=Capacity(classes=16))
    (finding,) = refusals(config, world)
    assert (finding.file, finding.line, finding.severity) == ("<stdin>", 6, "error")
    assert "classes: " in finding.message
    assert "NetworkPolicy/default/p (20 classes, <stdin>:6)" in finding.message
    assert refusals(Config(), world) == ()


@pytest.mark.parametrize(("fail_on", "status"), [("error", 0), ("warning", 0), ("note", 1)])
def test_check_fails_from_the_severity_asked_for(cloche: Run, fail_on: str, status: int) -> None:
    """A note is status 1 only when notes are asked to be."""
    assert cloche("check", "-f", "-", "--fail-on", fail_on, stdin=UNUSUAL).status == status


def test_no_colour_in_a_pipe(cloche: Run) -> None:
    """Output that is no terminal's carries no escape sequences, and no table is cut off."""
    said = cloche("matrix", "-f", SHOP)
    assert "\x1b" not in said.out + said.err
    assert "shop/front-1" in said.out.splitlines()[0]


def test_every_help_text_teaches_by_an_example(cloche: Run) -> None:
    """Each verb's help has an example that names the verb."""
    listing = cloche("--help").out
    verbs = [
        line.split()[0] for line in listing.partition("Commands:")[2].splitlines() if line.startswith("  ")
    ]
    verbs = [verb for verb in verbs if verb != "Status:"]
    assert len(verbs) >= 14
    for verb in verbs:
        assert f"cloche {verb}" in cloche(verb, "--help", COLUMNS="200").out.partition("Example:")[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_command(cloche: Run, shell: str) -> None:
    """The script for each shell is for cloche, and asks cloche itself."""
    said = cloche("completion", shell)
    assert said.status == 0
    assert "_CLOCHE_COMPLETE" in said.out


def test_completion_completes_verbs_and_choices(cloche: Run) -> None:
    """What the scripts ask is answered: verbs, and what show can list."""
    verbs = cloche(_CLOCHE_COMPLETE="complete_bash", COMP_WORDS="cloche ma", COMP_CWORD="1").out
    lists = cloche(_CLOCHE_COMPLETE="complete_bash", COMP_WORDS="cloche show cl", COMP_CWORD="2").out
    assert (verbs.split(), lists.split()) == (["matrix"], ["classes"])


def test_pages_are_not_stale() -> None:
    """docs/cli.md is what the command line says of itself now."""
    done = subprocess.run(
        [sys.executable, "tools/cli_reference.py", "--check"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()

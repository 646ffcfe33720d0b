"""A person's session with the shop: up, look, ask, change, and down, each by its command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.agent.disk import Disk
from cloche.agent.processes import has_ended
from cloche.config import Config
from e2e.cli_lab import ROOT, Sandbox, leftovers, sandbox, second_octet, where

SHOP = "examples/shop"
TALK = """
import socket, time
line = socket.create_connection(("api", 80), timeout=5)
line.settimeout(1)
while True:
    line.sendall(b"still there?\\n")
    print(line.recv(4096).decode().strip(), flush=True)
    time.sleep(0.05)
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec: {{containers: [{{name: c, image: c, ports: [{{containerPort: 80}}]}}]}}
"""
CLOSED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: []}
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Sandbox]:
    """The shop, running."""
    with sandbox(2) as made:
        up = made.up(SHOP)
        assert up.status == 0, up.err
        yield made


@pytest.fixture
def whole_shop(shop: Sandbox) -> Sandbox:
    """The shop with the policies that it is told with."""
    said = shop.run("apply", "-f", SHOP)
    assert said.status == 0, said.err
    return shop


def test_every_pair_does_what_policy_says(whole_shop: Sandbox) -> None:
    """matrix --live probes all pairs of the shop, services too, finds no difference and says how many."""
    said = whole_shop.run("matrix", "--live", "--services")
    assert said.status == 0, said.out + said.err
    assert "packets do what policy says" in said.err
    assert "could not be probed" not in said.err


def test_live_matrix_is_the_example_s(whole_shop: Sandbox) -> None:
    """The JSON of the live matrix is the example's own, with live beside each verdict."""
    promised = json.loads((ROOT / "examples/shop.matrix.json").read_text())["pairs"]
    answer = whole_shop.answer("matrix", "--live")
    assert answer["version"] == 1
    assert answer["pairs"] == [{**pair, "live": pair["verdict"]} for pair in promised]


def test_probe_tells_who_answered(whole_shop: Sandbox) -> None:
    """An allowed probe names the pod that answered, also behind a service, and ends with status 0."""
    said = whole_shop.run("probe", "shop/front-0", "service/shop/api", "http/tcp", "--json")
    probes = json.loads(said.out)["probes"]
    assert said.status == 0
    assert {probe["outcome"] for probe in probes} == {"allow"}
    assert {probe["answered_by"] for probe in probes} <= {"shop/api-0", "shop/api-1"}
    assert len(probes) == 2


def test_denied_probe_is_status_1(whole_shop: Sandbox) -> None:
    """Silence is deny."""
    assert whole_shop.run("probe", "attacker/eve", "shop/db-0", "5432/tcp").status == 1


def test_explain_of_what_runs_names_the_file(whole_shop: Sandbox) -> None:
    """Without -f the running sandbox answers, with the file and line that its manifests came from."""
    said = whole_shop.run("explain", "attacker/eve", "shop/db-0", "sql/tcp")
    assert said.status == 1
    assert f"{SHOP}/3-policies.yaml:" in said.out


def test_exec_is_in_the_pod(whole_shop: Sandbox) -> None:
    """A program run in a pod has the pod's addresses alone, and its exit status comes back."""
    addresses = whole_shop.run(
        "exec", "shop/front-0", "--", "ip", "-o", "addr", "show", "scope", "global"
    ).out
    (shown,) = (
        endpoint
        for endpoint in whole_shop.answer("show", "endpoints")["endpoints"]
        if endpoint["endpoint"] == "shop/front-0"
    )
    assert set(re.findall(r"inet6? ([0-9a-f.:]+)/", addresses)) == set(shown["addresses"])
    assert whole_shop.run("exec", "shop/front-0", "--", "sh", "-c", "exit 7").status == 7


def test_names_resolve_in_a_pod(whole_shop: Sandbox) -> None:
    """A service's short name is found by the pod's own resolver, and answers."""
    talk = "import socket; print(len(socket.create_connection(('api', 80), timeout=5).getpeername()))"
    said = whole_shop.run("exec", "shop/front-0", "--", sys.executable, "-c", talk)
    assert (said.status, said.out.strip()) in ((0, "2"), (0, "4")), said.err


def test_a_machine_without_a_resolv_conf_is_told(whole_shop: Sandbox, tmp_path: Path) -> None:
    """Where there is none that the pod's own could stand in for, that is said, and the program runs."""
    etc = tmp_path / "etc"
    hide = f"cp -a /etc {etc} && rm -f {etc}/resolv.conf && mount --bind {etc} /etc"
    said = whole_shop.said(where(hide, whole_shop.command("exec", "shop/front-0", "--", "true")))
    assert said.status == 0
    assert "no /etc/resolv.conf, so the pod's own is not seen" in said.err
    assert "resolv.conf" not in whole_shop.run("exec", "shop/front-0", "--", "true").err


def test_names_do_not_resolve_where_policy_forgets_them(whole_shop: Sandbox) -> None:
    """Without the policy that lets names through, a pod of the closed namespace resolves nothing."""
    names = (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: names, namespace: shop}}"
    )
    assert whole_shop.run("delete", "-f", "-", stdin=names).status == 0
    ask = "import socket; socket.getaddrinfo('api', 80)"
    command = ("exec", "shop/front-0", "--", "timeout", "3", sys.executable, "-c", ask)
    assert whole_shop.run(*command).status != 0


def test_a_change_cuts_an_open_connection(whole_shop: Sandbox) -> None:
    """A connection that answers ten times is silent after one apply, and flows tells that it was cut."""
    command = whole_shop.command("exec", "shop/front-0", "--", sys.executable, "-c", TALK)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=whole_shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as talking:
        assert talking.stdout is not None
        answers = [talking.stdout.readline() for _ in range(10)]
        assert all(answers)
        assert whole_shop.run("apply", "-f", "examples/shop-lockdown.yaml").status == 0
        rest, error = talking.communicate(timeout=15)
    assert "TimeoutError" in error or "timed out" in error
    assert len(rest.splitlines()) < 100
    events = [json.loads(line)["flow"] for line in whole_shop.run("flows", "--json").out.splitlines()]
    cuts = [event for event in events if event["kind"] == "cut" and event["source"] == "shop/front-0"]
    assert cuts
    assert cuts[-1]["reason"] == "ingress-not-allowed"


def test_flows_tells_drops_with_the_reason(whole_shop: Sandbox) -> None:
    """A denied probe is in flows, by name, with its reason and the policy that isolates."""
    whole_shop.run("probe", "attacker/eve", "shop/db-0", "5432/tcp")
    lines = [line for line in whole_shop.run("flows").out.splitlines() if "attacker/eve > shop/db-0" in line]
    assert any("drop" in line and "ingress-not-allowed" in line for line in lines)


def test_flows_tells_a_ping_by_its_type(whole_shop: Sandbox) -> None:
    """An echo request is 8/icmp, and 128/icmp6, whatever its identifier."""
    for port in ("8/icmp", "128/icmp6"):
        whole_shop.run("probe", "attacker/eve", "shop/db-0", port)
        said = whole_shop.run("flows").out.splitlines()
        lines = [line for line in said if "attacker/eve > shop/db-0" in line and "/icmp" in line]
        assert lines[-1].split(" > ")[1].split()[1] == port, lines


def test_a_start_tells_nothing_that_says_nothing() -> None:
    """What new namespaces send by themselves before they are in force is in no line of flows."""
    with sandbox(3) as made:
        assert made.up("-", stdin="---".join(POD.format(name=name) for name in "abcdef")).status == 0
        time.sleep(2)  # a namespace reports its multicast groups for about a second
        assert made.run("flows").out == ""


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ("endpoints", "shop/front-0"),
        ("policies", "NetworkPolicy/shop/closed"),
        ("classes", "1"),
        ("generations", "*"),
        ("services", "shop/api"),
        ("flows", "SOURCE"),
        ("maps", "addresses"),
        ("devices", "stack"),
    ],
)
def test_show_lists(whole_shop: Sandbox, what: str, holds: str) -> None:
    """Each list is there for people and for programs, and ends with status 0."""
    said = whole_shop.run("show", what)
    assert said.status == 0
    assert holds in said.out
    answer = whole_shop.answer("show", what)
    assert (answer["version"], type(answer[what])) == (1, list)


def test_a_namespace_goes_with_its_pods(whole_shop: Sandbox) -> None:
    """delete of a Namespace takes what is in it, and says so; what was said of the rest is not said again."""
    unused = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}"
    assert "ConfigMap objects are not used" in whole_shop.run("apply", "-f", "-", stdin=unused).err
    space = "{apiVersion: v1, kind: Namespace, metadata: {name: attacker}}"
    said = whole_shop.run("delete", "-f", "-", stdin=space)
    assert said.status == 0
    assert "with the namespace attacker went Pod eve" in said.err
    assert "ConfigMap" not in said.err
    names = [shown["endpoint"] for shown in whole_shop.answer("show", "endpoints")["endpoints"]]
    assert "shop/db-0" in names
    assert not [name for name in names if name.startswith("attacker/")]


def test_bad_input_changes_nothing(whole_shop: Sandbox) -> None:
    """A typo in a policy refuses the whole file with file, line and field; the generation stays."""
    before = whole_shop.answer("show", "generations")["generations"][0]["generation"]
    said = whole_shop.run("apply", "-f", "-", stdin=CLOSED.replace("ingress:", "ingres:"))
    assert said.status == 2
    assert "<stdin>:5" in said.err
    assert whole_shop.answer("show", "generations")["generations"][0]["generation"] == before


def test_bad_input_starts_nothing() -> None:
    """up refuses bad manifests before it makes anything."""
    with sandbox(3) as made:
        said = made.up("-", stdin=CLOSED.replace("podSelector", "podSelecter"))
        assert said.status == 2
        assert leftovers(made.name) == []


def test_ranges_of_another_instance_are_refused(whole_shop: Sandbox) -> None:
    """A second instance in the same ranges is refused, said with a hint, and leaves nothing."""
    with sandbox(2) as made:
        said = made.up("-", stdin=POD.format(name="a"))
        assert said.status == 2, said.err
        assert f"10.{second_octet(2)}.0.0/17" in said.err
        assert leftovers(made.name) == []


def test_a_kept_address_of_the_machine_is_refused_with_its_pod(whole_shop: Sandbox) -> None:
    """A pod that was dumped with an address that another instance has is named, with its place."""
    taken = f"10.{second_octet(2)}.3.9"
    pod = POD.format(name="dumped") + f"status: {{podIPs: [{{ip: {taken}}}]}}"
    with sandbox(3) as made:
        said = made.up("-", stdin=pod)
        assert said.status == 2
        assert (
            f"<stdin>:2: error: status.podIPs: the address {taken} of pod default/dumped overlaps" in said.err
        )
        assert "leave status.podIPs out" in said.err
        assert leftovers(made.name) == []


def test_two_instances_side_by_side(whole_shop: Sandbox) -> None:
    """A second instance comes and goes; the first one's pods answer before, meanwhile and after."""
    with sandbox(3) as other:
        assert other.up("-", stdin=POD.format(name="a") + "---" + POD.format(name="b")).status == 0
        assert other.run("probe", "a", "b", "80/tcp").status == 0
        assert whole_shop.run("probe", "shop/front-0", "shop/api-0", "http/tcp").status == 0
        assert other.run("down").status == 0
        assert leftovers(other.name) == []
        assert whole_shop.run("probe", "shop/front-0", "shop/api-0", "http/tcp").status == 0


def test_up_in_the_foreground_tells_flows_and_takes_down(tmp_path: Path) -> None:
    """It tells of flows until it is interrupted, applies a changed file, and leaves nothing behind."""
    manifest = tmp_path / "world.yaml"
    pods = POD.format(name="a") + "---" + POD.format(name="b")
    manifest.write_text(pods)
    with sandbox(3) as made:
        words = made.command("up", "--watch", "-f", str(manifest), *made.ranges)
        running = subprocess.Popen(words, cwd=ROOT, env=made.environment, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert "is active" in running.stdout.readline()
        assert made.run("probe", "a", "b", "80/tcp").status == 0
        manifest.write_text(f"{pods}---{CLOSED}")
        wait_for(lambda: made.run("probe", "a", "b", "80/tcp").status == 1)
        running.send_signal(signal.SIGINT)
        told, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        assert "default/a > default/b 80/tcp" in told
        assert "ingress-not-allowed" in told
        assert leftovers(made.name) == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(sent: signal.Signals) -> None:
    """Whoever runs up in the foreground and ends it, by whichever signal, finds nothing left."""
    with sandbox(3) as made:
        words = made.command("up", "-f", "examples/recipes/01-deny-all-to-an-app.yaml", *made.ranges)
        running = subprocess.Popen(words, cwd=ROOT, env=made.environment, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert "is active" in running.stdout.readline()
        running.send_signal(sent)
        running.communicate(timeout=60)
        assert running.returncode == 0
        assert leftovers(made.name) == []


def test_down_without_an_agent_says_how_to_clean() -> None:
    """After the agent was killed what it made is still there; down says which command removes it."""
    with sandbox(3) as made:
        assert made.up("-", stdin=POD.format(name="a")).status == 0
        with made.client() as client:
            pid = client.status().pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: has_ended(pid))
        said = made.run("down")
        assert said.status == 3
        assert f"cloche clean --instance {made.name}" in said.err
        assert made.run("clean").status == 0
        assert "cloche up" in made.run("down").err


def test_an_edit_while_the_sandbox_comes_up_is_applied(tmp_path: Path) -> None:
    """A file that changes after it was read counts, before all is up too; an emptied one is told."""
    manifest = tmp_path / "world.yaml"
    pods = POD.format(name="a") + "---" + POD.format(name="b")
    manifest.write_text(pods)
    with sandbox(3) as made:
        words = made.command("up", "--watch", "-f", str(manifest), *made.ranges)
        running = subprocess.Popen(
            words, cwd=ROOT, env=made.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: Disk(Config(instance=made.name)).exists())
        manifest.write_text(f"{pods}---{CLOSED}")
        wait_for(lambda: made.run("probe", "a", "b", "80/tcp").status == 1)
        manifest.write_text("")
        wait_for(lambda: made.answer("show", "endpoints") == {"version": 1, "endpoints": []})
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert f"{manifest}: note: no object in this file" in said
        assert leftovers(made.name) == []


def wait_for(condition: object, seconds: float = 20) -> None:
    """Until the condition holds; fails when it does not in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)

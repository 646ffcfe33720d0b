"""Pods, workloads, namespaces and their addresses, as manifests and dumps have them."""

from __future__ import annotations

import pytest
from manifest_builders import documents, findings, of_kind, only, pod_text, refused, world

from cloche.model.address import format_address, parse_address, parse_block
from cloche.model.topology import SCTP, TCP, UDP, Endpoint, NamedPort, Namespace, Network
from cloche.orchestrators.sandbox import World, build, highest_free, read


def shown(built: World) -> dict[str, list[str]]:
    """Every endpoint's addresses as text."""
    return {found.key: [format_address(a) for a in found.addresses] for found in of_kind(built, Endpoint)}


def workload_text(kind: str, name: str, more: str = "", labels: str = "{app: web}") -> str:
    """A workload in namespace x with further fields of its spec."""
    group = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    return f"""\
apiVersion: {group}
kind: {kind}
metadata: {{name: {name}, namespace: x}}
spec:
  {more or "paused: false"}
  template:
    metadata: {{labels: {labels}}}
    spec: {{containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}
"""


def owned(kind: str, name: str) -> str:
    """A pod's or ReplicaSet's reference to its controller, for metadata."""
    return f"ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: {name}, controller: true}}]"


def test_pods_take_addresses_of_both_families_in_the_order_of_their_names() -> None:
    """Lowest first, the range's own address left out; kept addresses stay and are not given again."""
    built = world(
        pod_text("b"),
        pod_text("c", "status: {podIPs: [{ip: 10.244.0.2}, {ip: 'fd00:244::1'}]}"),
        pod_text("a"),
        pod_text("d", "status: {podIP: 192.0.2.7}"),
    )
    assert shown(built) == {
        "x/a": ["10.244.0.1", "fd00:244::2"],
        "x/b": ["10.244.0.3", "fd00:244::3"],
        "x/c": ["10.244.0.2", "fd00:244::1"],
        "x/d": ["192.0.2.7"],
    }
    assert built.assumed == {"x/a", "x/b"}
    assert only(built, Network).ranges == (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))


def test_a_pod_that_was_there_keeps_the_address_it_was_assigned() -> None:
    """Pods that come and go around it do not move it, and what a dump keeps wins."""
    before = world(pod_text("b"), pod_text("c"), pod_text("d"))
    after = world(
        pod_text("a"),
        pod_text("c"),
        pod_text("d"),
        pod_text("e", "status: {podIPs: [{ip: 10.244.0.3}]}"),
        previous=before,
    )
    assert shown(after) == {
        "x/a": ["10.244.0.1", "fd00:244::1"],
        "x/c": ["10.244.0.2", "fd00:244::2"],
        "x/d": ["10.244.0.4", "fd00:244::3"],
        "x/e": ["10.244.0.3"],
    }


def test_ranges_may_be_small_and_of_one_family() -> None:
    """A /30 has two addresses; a third pod is refused, by number of pods and range."""
    small = (parse_block("10.1.0.0/30"),)
    assert shown(world(pod_text("a"), pod_text("b"), pod_cidrs=small)) == {
        "x/a": ["10.1.0.1"],
        "x/b": ["10.1.0.2"],
    }
    more = (*small, parse_block("10.9.0.0/24"))
    assert shown(world(*(pod_text(n) for n in "abc"), pod_cidrs=more))["x/c"] == ["10.9.0.1"]
    with pytest.raises(Exception, match=r"10.1.0.0/30\) have no address left for 1 pods"):
        world(*(pod_text(n) for n in "abc"), pod_cidrs=small)


def test_the_highest_free_addresses_are_for_what_is_put_beside_the_endpoints() -> None:
    """The last address of each range but IPv4's broadcast one, less those taken."""
    blocks = (parse_block("10.1.0.0/30"), parse_block("fd00::/126"))
    taken = [parse_address("fd00::3")]
    assert [format_address(a) for a in highest_free(blocks, taken)] == ["10.1.0.2", "fd00::2"]


def test_pod_and_service_ranges_must_not_overlap() -> None:
    """An address is a pod's or a service's."""
    with pytest.raises(Exception, match="overlap"):
        build((), (parse_block("10.0.0.0/8"),), (parse_block("10.96.0.0/16"),))


BAD_ADDRESSES = [
    "10.0.0",
    "10.0.0.300",
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "169.254.1.1",
    "255.255.255.255",
]
BAD_ADDRESSES += ["fe80::1", "::1", "::", "ff02::1", "::ffff:10.0.0.1", "fd00::1%eth0"]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_that_no_pod_can_have_is_refused(address: str) -> None:
    """Text that is none, and addresses that no packet may carry."""
    (error,) = refused(pod_text("a", f"status: {{podIPs: [{{ip: '{address}'}}]}}"))
    assert error.field == "status.podIPs[0].ip"


def test_two_pods_with_one_address_are_refused() -> None:
    """Unless one of them is over, or both are on the host network."""
    status = "status: {phase: %s, podIPs: [{ip: 10.244.7.7}]}"
    (error,) = refused(pod_text("a", status % "Running"), pod_text("b", status % "Running"))
    assert "pod x/b has the address 10.244.7.7 of pod x/a" in error.message
    over = world(pod_text("a", status % "Running"), pod_text("b", status % "Succeeded"))
    assert shown(over) == {"x/a": ["10.244.7.7"]}
    host = (pod_text(name, status % "Running", spec="hostNetwork: true") for name in "ab")
    assert shown(world(*host)) == {"x/a": [], "x/b": []}


def test_a_pods_ports_are_those_of_containers_and_sidecars() -> None:
    """Protocol TCP by default; a name used twice means its first port; other init containers have none."""
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  initContainers:
  - {name: i, ports: [{containerPort: 1}]}
  - {name: s, restartPolicy: Always, ports: [{containerPort: 2, name: side, protocol: SCTP}]}
  containers:
  - {name: a, ports: [{containerPort: 80, name: http}, {containerPort: 53, name: dns, protocol: UDP}]}
  - name: b
    ports: [{containerPort: 81, name: http}, {containerPort: 54, name: dns}, {containerPort: 80, name: http}]
"""
    assert only(world(text), Endpoint).ports == (
        NamedPort("http", TCP, 80),
        NamedPort("dns", UDP, 53),
        NamedPort("", TCP, 81),
        NamedPort("dns", TCP, 54),
        NamedPort("side", SCTP, 2),
    )
    (warning,) = findings(text)
    assert (warning.line, warning.message) == (11, "the port name http/tcp already means 80")


BAD_PORTS = [
    ("{containerPort: 0}", "must be 1 to 65535"),
    ("{containerPort: '80'}", "must be a number"),
    ("{name: a}", "containerPort is missing"),
    ("{containerPort: 80, name: Web}", "only a-z"),
    ("{containerPort: 80, protocol: udp}", "is no protocol here"),
    ("80", "must be a mapping"),
]


@pytest.mark.parametrize(("port", "message"), BAD_PORTS)
def test_an_impossible_container_port_is_refused(port: str, message: str) -> None:
    """As the API does."""
    assert message in refused(pod_text("a", ports=f"[{port}]"))[0].message


MADE = [
    ("Deployment", "replicas: 2", ["w-0", "w-1"]),
    ("Deployment", "", ["w-0"]),
    ("Deployment", "replicas: 0", []),
    ("ReplicaSet", "replicas: 1", ["w-0"]),
    ("StatefulSet", "replicas: 2", ["w-0", "w-1"]),
    ("DaemonSet", "replicas: 5", ["w-0"]),
    ("Job", "parallelism: 3", ["w-0"]),
    ("Job", "suspend: true", []),
    ("CronJob", "", []),
]


@pytest.mark.parametrize(("kind", "more", "names"), MADE)
def test_a_workload_makes_its_pods(kind: str, more: str, names: list[str]) -> None:
    """As many as replicas says, one by default, one of a DaemonSet and a Job, none of a CronJob."""
    made = list(of_kind(world(workload_text(kind, "w", more)), Endpoint))
    assert [pod.name for pod in made] == names
    assert all(pod.workload == f"{kind}/w" and dict(pod.labels)["app"] == "web" for pod in made)
    assert all(pod.ports == (NamedPort("", TCP, 80),) for pod in made)
    said = [finding.message for finding in findings(workload_text(kind, "w", more))]
    assert bool(said) == (not names and more != "replicas: 0")


def test_pods_that_controllers_label_by_name_are_labelled_here_too() -> None:
    """A StatefulSet's pods by pod name and index, a Job's by job name."""
    pods = list(of_kind(world(workload_text("StatefulSet", "db"), workload_text("Job", "once")), Endpoint))
    assert dict(pods[0].labels) == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "0",
        "statefulset.kubernetes.io/pod-name": "db-0",
    }
    assert dict(pods[1].labels)["batch.kubernetes.io/job-name"] == "once"


def test_made_pods_never_take_the_name_of_another() -> None:
    """A pod of that name, or another workload's, is left alone; the StatefulSet chooses first."""
    built = world(
        workload_text("Deployment", "w", "replicas: 2"),
        workload_text("StatefulSet", "w"),
        workload_text("DaemonSet", "v"),
        pod_text("v-0"),
    )
    names = {pod.name: pod.workload for pod in of_kind(built, Endpoint)}
    assert names == {
        "w-0": "StatefulSet/w",
        "w-deployment-0": "Deployment/w",
        "w-deployment-1": "Deployment/w",
        "v-0": "",
        "v-daemonset-0": "DaemonSet/v",
    }


def with_metadata(text: str, more: str) -> str:
    """The same object with one more field in its metadata."""
    return text.replace("namespace: x", f"namespace: x, {more}", 1)


def test_a_workload_whose_pods_are_present_makes_none() -> None:
    """Also through a ReplicaSet, whether that is in the input or only named by its pods' hash."""
    deployment = workload_text("Deployment", "w", "replicas: 3")
    middle = with_metadata(workload_text("ReplicaSet", "w-5d8f", "replicas: 3"), owned("Deployment", "w"))
    pod = with_metadata(
        pod_text("w-5d8f-abc", labels="{pod-template-hash: 5d8f}"), owned("ReplicaSet", "w-5d8f")
    )
    for texts in ((deployment, middle, pod), (deployment, pod)):
        (endpoint,) = of_kind(world(*texts), Endpoint)
        assert (endpoint.name, endpoint.workload) == ("w-5d8f-abc", "Deployment/w")
    alone = with_metadata(pod_text("w-0"), owned("StatefulSet", "w"))
    assert [
        p.name for p in of_kind(world(workload_text("StatefulSet", "w", "replicas: 2"), alone), Endpoint)
    ] == ["w-0"]


def test_a_deployment_and_its_replicaset_make_their_pods_once() -> None:
    """The Deployment stands for the set; a set whose Deployment is not there makes its own."""
    deployment = workload_text("Deployment", "w", "replicas: 2")
    middle = with_metadata(workload_text("ReplicaSet", "w-5d8f", "replicas: 2"), owned("Deployment", "w"))
    assert [pod.name for pod in of_kind(world(deployment, middle), Endpoint)] == ["w-0", "w-1"]
    assert [pod.name for pod in of_kind(world(middle), Endpoint)] == ["w-5d8f-0", "w-5d8f-1"]


def test_more_pods_than_can_be_are_refused_without_being_made() -> None:
    """A replica count is a number anyone can write."""
    (error,) = refused(workload_text("Deployment", "w", "replicas: 2000000000"))
    assert "more than 65536 pods" in error.message


def test_a_selector_that_does_not_match_its_own_template_is_warned_of() -> None:
    """Kubernetes refuses such a Deployment."""
    (warning,) = findings(workload_text("Deployment", "w", "selector: {matchLabels: {app: wbe}}"))
    assert (warning.severity.value, warning.field) == ("warning", "spec.selector")


def test_finished_pods_are_left_out_and_host_pods_have_no_address() -> None:
    """Succeeded and Failed pods are gone; a pod on the host network is its host."""
    built = world(
        pod_text("a", "status: {phase: Failed}"),
        pod_text("b", "status: {phase: Pending}"),
        pod_text("c", "status: {phase: Running, podIPs: [{ip: 192.0.2.1}]}", spec="hostNetwork: true"),
    )
    assert [(pod.name, pod.host_network) for pod in of_kind(built, Endpoint)] == [("b", False), ("c", True)]
    assert shown(built)["x/c"] == []
    assert built.assumed == {"x/b"}


def test_namespaces_are_those_given_and_those_named() -> None:
    """All have the label that names them; one without a namespace is in default."""
    built = world(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}",
        pod_text("a"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: []}",
    )
    label = "kubernetes.io/metadata.name"
    assert [(found.name, found.labels) for found in of_kind(built, Namespace)] == [
        ("default", ((label, "default"),)),
        ("shop", ((label, "shop"), ("team", "a"))),
        ("x", ((label, "x"),)),
    ]
    assert [pod.key for pod in of_kind(built, Endpoint)] == ["default/b", "x/a"]


def test_a_namespace_cannot_be_labelled_with_anothers_name() -> None:
    """The API server sets that label itself."""
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {kubernetes.io/metadata.name: b}}"
    assert only(world(text), Namespace).labels == (("kubernetes.io/metadata.name", "a"),)
    assert [finding.severity.value for finding in findings(text)] == ["warning"]


def test_the_order_of_the_input_does_not_matter() -> None:
    """The same documents the other way round are the same world, but for lines."""
    texts = [pod_text("b"), pod_text("a"), workload_text("Deployment", "w", "replicas: 2")]
    forth, back = (build(read(["-"], stdin=documents(*order))) for order in (texts, texts[::-1]))
    assert shown(forth) == shown(back)

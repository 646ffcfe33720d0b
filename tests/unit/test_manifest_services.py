"""Services and EndpointSlices: cluster addresses, backends, families, affinity."""

from __future__ import annotations

import pytest
from manifest_builders import findings, only, pod_text, refused, world

from cloche.model.address import format_address, parse_block
from cloche.model.topology import SCTP, TCP, UDP, Service, ServicePort


def service_text(spec: str, name: str = "s") -> str:
    """A service in namespace x with the fields of its spec in flow style."""
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: x}}\nspec: {{{spec}}}\n"


def slice_text(name: str, body: str, labels: str = "kubernetes.io/service-name: s") -> str:
    """An EndpointSlice in namespace x."""
    head = f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: x, "
    return head + f"labels: {{{labels}}}}}\n{body}\n"


def backends(port: ServicePort) -> list[str]:
    """A port's backends as text."""
    return [f"{format_address(b.address)} {b.port} {b.endpoint}".strip() for b in port.backends]


def addresses(text: str, *more: str, **options: object) -> list[str]:
    """The first service's addresses as text."""
    found = next(o for o in world(text, *more, **options).objects if isinstance(o, Service))
    return [format_address(address) for address in found.addresses]


WEB = pod_text("web", labels="{app: web}", ports="[{containerPort: 8080, name: http}]")
PORTS = "ports: [{port: 80}]"


def test_a_services_backends_are_the_ready_pods_that_it_selects() -> None:
    """On the target port, by number or by each pod's own name, of both families."""
    other = pod_text("api", labels="{app: web}", ports="[{containerPort: 9090, name: http}]")
    spec = "selector: {app: web}, ports: [{port: 80, targetPort: http, name: a}, {port: 81, name: b}]"
    service = only(world(WEB, other, pod_text("other"), service_text(spec)), Service)
    assert (service.key, service.affinity_seconds) == ("x/s", 0)
    assert [(port.name, port.protocol, port.port) for port in service.ports] == [
        ("a", TCP, 80),
        ("b", TCP, 81),
    ]
    assert backends(service.ports[0]) == [
        "10.244.0.1 9090 x/api",
        "10.244.0.3 8080 x/web",
        "fd00:244::1 9090 x/api",
        "fd00:244::3 8080 x/web",
    ]
    assert backends(service.ports[1])[0] == "10.244.0.1 81 x/api"


def test_a_named_target_is_resolved_by_protocol() -> None:
    """A pod's name of another protocol is no target, which is warned of."""
    spec = "selector: {app: web}, ports: [{port: 80, targetPort: http, protocol: UDP}]"
    service = only(world(WEB, service_text(spec)), Service)
    assert (service.ports[0].protocol, service.ports[0].backends) == (UDP, ())
    (warning,) = findings(WEB, service_text(spec))
    assert warning.message == "no selected pod has a port named http/udp"


READY = [
    ("", True),
    ("status: {}", True),
    ("status: {phase: Running}", True),
    ("status: {phase: Pending}", False),
    ("status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", True),
    ("status: {phase: Running, conditions: [{type: Ready, status: 'False'}]}", False),
    ("status: {phase: Running, conditions: [{type: Initialized, status: 'False'}]}", True),
    ("status: {phase: Unknown}", False),
]


@pytest.mark.parametrize(("status", "ready"), READY)
def test_a_pod_that_is_not_ready_is_no_backend_unless_published(status: str, ready: bool) -> None:
    """By its Ready condition, or its phase when it has none."""
    pod = pod_text("a", status, labels="{app: web}")
    text = service_text("selector: {app: web}, " + PORTS)
    assert bool(only(world(pod, text), Service).ports[0].backends) is ready
    published = service_text("selector: {app: web}, publishNotReadyAddresses: true, " + PORTS)
    assert only(world(pod, published), Service).ports[0].backends


def test_pods_that_go_or_are_on_the_host_network_are_no_backends() -> None:
    """A pod being deleted is not ready; a host's address is not an endpoint's."""
    going = pod_text("a", labels="{app: web}").replace("name: a,", "name: a, deletionTimestamp: now,")
    host = pod_text("b", labels="{app: web}", spec="hostNetwork: true")
    text = service_text("selector: {app: web}, " + PORTS)
    assert only(world(going, host, text), Service).ports[0].backends == ()
    assert [finding.severity.value for finding in findings(going, host, text)] == ["warning", "note"]


FAMILIES = [
    ("", ["10.96.0.16", "fd00:96::10"]),
    ("clusterIP: ''", ["10.96.0.16", "fd00:96::10"]),
    ("clusterIP: 10.96.0.10", ["10.96.0.10"]),
    ("clusterIP: 172.20.0.10", ["172.20.0.10"]),
    ("clusterIP: 'fd00:96::10', ipFamilyPolicy: PreferDualStack", ["fd00:96::10", "10.96.0.16"]),
    ("clusterIPs: [10.96.0.10, 'fd00:96::a']", ["10.96.0.10", "fd00:96::a"]),
    ("clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ipFamilies: [IPv4]", ["10.96.0.10"]),
    ("ipFamilies: [IPv6]", ["fd00:96::10"]),
    ("ipFamilies: [IPv6, IPv4]", ["fd00:96::10", "10.96.0.16"]),
    ("ipFamilyPolicy: SingleStack", ["10.96.0.16"]),
    ("ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]", ["fd00:96::10"]),
    ("ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]", ["fd00:96::10", "10.96.0.16"]),
    ("ipFamilyPolicy: RequireDualStack", ["10.96.0.16", "fd00:96::10"]),
    ("clusterIP: None", []),
    ("clusterIPs: [None]", []),
]


@pytest.mark.parametrize(("spec", "expected"), FAMILIES)
def test_cluster_addresses_are_kept_or_assigned_by_family(spec: str, expected: list[str]) -> None:
    """The first sixteen of each range are left to those that ask for them."""
    assert addresses(service_text(", ".join(part for part in (spec, PORTS) if part))) == expected


def test_a_service_of_one_family_has_backends_of_that_family() -> None:
    """An address serves only its own family."""
    text = service_text("selector: {app: web}, ipFamilies: [IPv6], " + PORTS)
    assert backends(only(world(WEB, text), Service).ports[0]) == ["fd00:244::1 80 x/web"]


def test_a_service_keeps_the_address_it_was_assigned() -> None:
    """Services that come before it in name do not move it."""
    before = world(service_text(PORTS, "m"))
    after = world(service_text(PORTS, "a"), service_text(PORTS, "m"), previous=before)
    shown = {o.name: format_address(o.addresses[0]) for o in after.objects if isinstance(o, Service)}
    assert shown == {"a": "10.96.0.17", "m": "10.96.0.16"}


def test_service_ranges_of_one_family_make_single_stack_services() -> None:
    """Asking for the other family is refused then."""
    ranges = (parse_block("10.96.0.0/24"),)
    assert addresses(service_text(PORTS), service_cidrs=ranges) == ["10.96.0.16"]
    assert addresses(service_text("ipFamilyPolicy: PreferDualStack, " + PORTS), service_cidrs=ranges) == [
        "10.96.0.16"
    ]
    with pytest.raises(Exception, match="RequireDualStack needs"):
        world(service_text("ipFamilyPolicy: RequireDualStack, " + PORTS), service_cidrs=ranges)
    with pytest.raises(Exception, match="no service range for IPv6"):
        world(service_text("ipFamilies: [IPv6], " + PORTS), service_cidrs=ranges)
    with pytest.raises(Exception, match="no address left"):
        world(*(service_text(PORTS, f"s{n}") for n in range(3)), service_cidrs=(parse_block("10.96.0.0/30"),))


AFFINITY = [
    ("", 0),
    ("sessionAffinity: None", 0),
    ("sessionAffinity: ClientIP", 10_800),
    ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}", 60),
    ("sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}", 0),
]


@pytest.mark.parametrize(("spec", "seconds"), AFFINITY)
def test_session_affinity_lasts_three_hours_unless_it_says(spec: str, seconds: int) -> None:
    """By client address only."""
    text = service_text(", ".join(part for part in (spec, PORTS) if part))
    assert only(world(text), Service).affinity_seconds == seconds


SLICE = "addressType: IPv4\nports: [{name: a, port: 8080}]\nendpoints:\n- addresses: [192.0.2.5]\n"


def test_a_service_without_selector_has_the_backends_of_its_slices() -> None:
    """By port name and protocol; ready where nothing else is said; known endpoints are named."""
    body = SLICE + "- {addresses: [192.0.2.6], conditions: {ready: false}}\n- addresses: [10.244.0.1]\n"
    ports = "ports: [{port: 80, name: a}, {port: 81, name: b}, {port: 80, name: a, protocol: SCTP}]"
    service = only(world(WEB, service_text(ports), slice_text("s-1", body)), Service)
    assert backends(service.ports[0]) == ["10.244.0.1 8080 x/web", "192.0.2.5 8080"]
    assert service.ports[1].backends == ()
    assert (service.ports[2].protocol, service.ports[2].backends) == (SCTP, ())


def test_slices_that_repeat_a_selector_are_not_counted_twice() -> None:
    """Those the selector's controller wrote are ignored, others add to the selected pods."""
    spec = service_text("selector: {app: web}, ports: [{port: 80, name: a, targetPort: 8080}]")
    managed = "endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io"
    stale = slice_text("s-1", SLICE, f"kubernetes.io/service-name: s, {managed}")
    known = slice_text("s-2", SLICE.replace("192.0.2.5", "10.244.0.1"))
    service = only(world(WEB, spec, stale, known), Service)
    assert backends(service.ports[0]) == ["10.244.0.1 8080 x/web", "fd00:244::1 8080 x/web"]
    added = only(world(WEB, spec, stale, slice_text("s-3", SLICE)), Service)
    assert backends(added.ports[0])[1] == "192.0.2.5 8080"


def test_a_headless_service_has_backends_and_no_address() -> None:
    """Without ports it has a nameless port 0, so that its pods' addresses are known."""
    service = only(world(WEB, service_text("selector: {app: web}, clusterIP: None")), Service)
    assert service.addresses == ()
    (port,) = service.ports
    assert (port.name, port.protocol, port.port) == ("", TCP, 0)
    assert backends(port) == ["10.244.0.1 0 x/web", "fd00:244::1 0 x/web"]


def test_what_is_not_used_of_a_service_is_noted() -> None:
    """ExternalName is left out; of NodePort and LoadBalancer the cluster address counts."""
    name = service_text("type: ExternalName, externalName: example.com")
    assert [o for o in world(name).objects if isinstance(o, Service)] == []
    assert [finding.severity.value for finding in findings(name)] == ["note"]
    for kind in ("NodePort", "LoadBalancer"):
        text = service_text(f"type: {kind}, " + PORTS)
        assert len(addresses(text)) == 2
        assert [(f.severity.value, f.field) for f in findings(text)] == [("note", "spec.type")]


BAD_SERVICES = [
    ("type: Clusterip, " + PORTS, "spec.type", "did you mean 'ClusterIP'?"),
    ("selector: {app: web}", "spec", "ports is missing"),
    ("ports: [{port: 0}]", "spec.ports[0].port", "must be 1 to 65535"),
    ("ports: [{port: 80, protocol: HTTP}]", "spec.ports[0].protocol", "no protocol here"),
    ("ports: [{targetPort: 80}]", "spec.ports[0]", "port is missing"),
    ("ports: [{port: 80, targetPort: '80'}]", "spec.ports[0].targetPort", "remove the quotes"),
    ("ports: [{port: 80, targetPort: 70000}]", "spec.ports[0].targetPort", "must be 0 to 65535"),
    ("clusterIP: 10.96.0.300, " + PORTS, "spec.clusterIP", "is not an IP address"),
    ("clusterIP: 127.0.0.1, " + PORTS, "spec.clusterIP", "no unicast address"),
    (
        "clusterIP: 10.96.0.3, clusterIPs: [10.96.0.4], " + PORTS,
        "spec.clusterIP",
        "not the first of clusterIPs",
    ),
    (
        "clusterIPs: [10.96.0.3, 10.96.0.4], " + PORTS,
        "spec.clusterIPs[1]",
        "two cluster addresses of one family",
    ),
    ("clusterIPs: [None, 10.96.0.4], " + PORTS, "spec.clusterIPs[0]", "None cannot be beside"),
    ("clusterIP: 10.96.0.3, ipFamilies: [IPv6], " + PORTS, "spec", "does not list the family of 10.96.0.3"),
    ("ipFamilies: [ipv4], " + PORTS, "spec.ipFamilies[0]", "did you mean 'IPv4'?"),
    ("ipFamilies: [IPv4, IPv4], " + PORTS, "spec.ipFamilies[1]", "here twice"),
    ("ipFamilyPolicy: DualStack, " + PORTS, "spec.ipFamilyPolicy", "unknown policy"),
    ("sessionAffinity: clientip, " + PORTS, "spec.sessionAffinity", "did you mean 'ClientIP'?"),
    (
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}, " + PORTS,
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "must be 1 to 86400",
    ),
]


@pytest.mark.parametrize(("spec", "field", "message"), BAD_SERVICES)
def test_an_impossible_service_is_refused(spec: str, field: str, message: str) -> None:
    """With its field, and what is wrong or was meant."""
    errors = refused(service_text(spec))
    assert field in {error.field for error in errors}
    assert any(message in f"{error.message} {error.hint}" for error in errors if error.field == field), errors


def test_two_owners_of_one_address_are_refused() -> None:
    """Two services, or a service and a pod."""
    text = "clusterIP: 10.96.0.3, " + PORTS
    assert "that of service x/a" in refused(service_text(text, "a"), service_text(text, "b"))[0].message
    pod = pod_text("p", "status: {podIP: 10.96.0.3}")
    assert "that of pod x/p" in refused(pod, service_text(text))[0].message


def test_an_assigned_address_is_never_one_that_another_asks_for() -> None:
    """Neither a service's nor a pod's."""
    pod = pod_text("p", "status: {podIP: 10.96.0.16}")
    built = world(pod, service_text(PORTS, "a"), service_text("clusterIP: 10.96.0.17, " + PORTS, "z"))
    first = next(o for o in built.objects if isinstance(o, Service))
    assert format_address(first.addresses[0]) == "10.96.0.18"


PORT_WARNINGS = [
    ("ports: [{port: 80, name: a}, {port: 80, name: b}]", "80/tcp is here twice", 1),
    ("ports: [{port: 80, name: a}, {port: 81, name: a}]", "two ports are named 'a'", 2),
    ("ports: [{port: 80}, {port: 81}]", "several ports need names", 2),
]


@pytest.mark.parametrize(("spec", "message", "count"), PORT_WARNINGS)
def test_ports_that_clash_are_warned_of(spec: str, message: str, count: int) -> None:
    """Of two equal ports the first counts."""
    (warning,) = findings(service_text(spec))
    assert warning.severity.value == "warning"
    assert message in warning.message
    assert len(only(world(service_text(spec)), Service).ports) == count


BAD_SLICES = [
    ("endpoints: []", "addressType is missing"),
    ("addressType: ipv4", "did you mean 'IPv4'?"),
    ("addressType: IPv6\nendpoints:\n- addresses: [192.0.2.1]", "not of the slice's addressType"),
    ("addressType: IPv4\nendpoints:\n- addresses: [nowhere]", "is not an IP address"),
    ("addressType: IPv4\nports: [{port: 99999}]", "must be 1 to 65535"),
]


@pytest.mark.parametrize(("body", "message"), BAD_SLICES)
def test_an_impossible_slice_is_refused(body: str, message: str) -> None:
    """As the API does."""
    (error,) = refused(slice_text("s-1", body))
    assert message in f"{error.message} {error.hint}"

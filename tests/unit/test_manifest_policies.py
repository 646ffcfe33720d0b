"""NetworkPolicy manifests as policies: what each field means, and that nothing doubtful is let through."""

from __future__ import annotations

import pytest
from manifest_builders import documents, findings, only, pod_text, policy, policy_text, refused, world

from cloche.model.address import parse_block
from cloche.model.labels import EVERYTHING, Operator, Requirement, Selector, match_labels
from cloche.model.policy import BlockPeer, Peer, PodPeer, Policy, PortMatch
from cloche.model.topology import SCTP, TCP, UDP, Origin

WEB = match_labels({"app": "web"})


DIRECTIONS = [
    ("podSelector: {}", False, True),
    ("podSelector: {}\ningress: []", False, True),
    ("podSelector: {}\npolicyTypes: []", False, True),
    ("podSelector: {}\npolicyTypes: [Ingress]", False, True),
    ("podSelector: {}\negress: []", False, True),
    ("podSelector: {}\negress:", False, True),
    ("podSelector: {}\negress: [{}]", True, True),
    ("podSelector: {}\npolicyTypes: [Egress]", True, False),
    ("podSelector: {}\npolicyTypes: [Egress]\ningress: [{}]", True, False),
    ("podSelector: {}\npolicyTypes: [Ingress]\negress: [{}]", False, True),
    ("podSelector: {}\npolicyTypes: [Egress, Ingress]", True, True),
    ("podSelector: {}\npolicyTypes: [Ingress, Ingress]", False, True),
]


@pytest.mark.parametrize(("spec", "egress", "ingress"), DIRECTIONS)
def test_a_policy_speaks_of_ingress_and_of_egress_when_it_has_rules_unless_it_says(
    spec: str, egress: bool, ingress: bool
) -> None:
    """policyTypes' defaults, as the API documents them."""
    found = policy(spec)
    assert (found.egress is not None, found.ingress is not None) == (egress, ingress)


def test_no_rules_isolate_and_an_empty_rule_allows_everything() -> None:
    """Absent and empty lists of rules are no rules; an empty rule has every peer and port."""
    assert policy("podSelector: {}").ingress == ()
    assert policy("podSelector: {}\ningress: []").ingress == ()
    (rule,) = policy("podSelector: {}\ningress:\n- {}").ingress or ()
    assert (rule.index, rule.peers, rule.ports) == (0, None, None)


PEERS: list[tuple[str, tuple[Peer, ...] | None]] = [
    ("", None),
    ("from:", None),
    ("from: []", None),
    ("from: [podSelector: {}]", (PodPeer(EVERYTHING, "x"),)),
    ("from: [podSelector: {matchLabels: {app: web}}]", (PodPeer(WEB, "x"),)),
    ("from: [namespaceSelector: {}]", (PodPeer(EVERYTHING, "", EVERYTHING),)),
    (
        "from: [{namespaceSelector: {matchLabels: {app: web}}, podSelector: }]",
        (PodPeer(EVERYTHING, "", WEB),),
    ),
    (
        "from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]",
        (PodPeer(WEB, "", EVERYTHING),),
    ),
    (
        "from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {app: web}}}]",
        (PodPeer(EVERYTHING, "", EVERYTHING), PodPeer(WEB, "x")),
    ),
    ("from: [ipBlock: {cidr: 10.0.0.0/8}]", (BlockPeer(parse_block("10.0.0.0/8")),)),
    ("from: [ipBlock: {cidr: '::/0'}]", (BlockPeer(parse_block("::/0")),)),
    (
        "from: [ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.1/32]}]",
        (BlockPeer(parse_block("0.0.0.0/0"), (parse_block("10.0.0.0/8"), parse_block("192.168.0.1/32"))),),
    ),
]


@pytest.mark.parametrize(("text", "peers"), PEERS)
def test_peers_mean_what_the_api_says(text: str, peers: tuple[Peer, ...] | None) -> None:
    """Absent and empty peers are all peers; selectors together are both, apart are either."""
    spec = "podSelector: {}\ningress:\n- " + (text or "{}")
    (rule,) = policy(spec).ingress or ()
    assert rule.peers == peers


PORTS: list[tuple[str, tuple[PortMatch, ...] | None]] = [
    ("", None),
    ("ports: []", None),
    ("ports: [{}]", (PortMatch(TCP),)),
    ("ports: [protocol: UDP]", (PortMatch(UDP, 0, 65535),)),
    ("ports: [port: 80]", (PortMatch(TCP, 80, 80),)),
    ("ports: [{port: 1, endPort: 65535, protocol: SCTP}]", (PortMatch(SCTP, 1, 65535),)),
    ("ports: [{port: 80, endPort: 80}]", (PortMatch(TCP, 80, 80),)),
    ("ports: [port: http]", (PortMatch(TCP, name="http"),)),
    ("ports: [{port: 53, protocol: UDP}, {port: a1}]", (PortMatch(UDP, 53, 53), PortMatch(TCP, name="a1"))),
]


@pytest.mark.parametrize(("text", "ports"), PORTS)
def test_ports_mean_what_the_api_says(text: str, ports: tuple[PortMatch, ...] | None) -> None:
    """Absent and empty ports are every protocol; a protocol alone is all of its ports."""
    (rule,) = policy("podSelector: {}\negress:\n- " + (text or "{}")).egress or ()
    assert rule.ports == ports


def test_a_selector_is_its_labels_and_expressions_together() -> None:
    """All four operators, in canonical order, values sorted and once."""
    found = policy("""
    podSelector:
      matchLabels: {example.com/b: ""}
      matchExpressions:
      - {key: d, operator: NotIn, values: [y1, x1, y1]}
      - {key: a, operator: In, values: [z1]}
      - {key: c, operator: Exists}
      - {key: c, operator: DoesNotExist, values: []}
    """)
    assert found.subject.pods == Selector(
        (
            Requirement("a", Operator.IN, ("z1",)),
            Requirement("c", Operator.DOES_NOT_EXIST),
            Requirement("c", Operator.EXISTS),
            Requirement("d", Operator.NOT_IN, ("x1", "y1")),
            Requirement("example.com/b", Operator.IN, ("",)),
        )
    )


def test_policies_and_rules_know_their_lines() -> None:
    """The policy's is where its document begins, a rule's is where the rule begins."""
    text = policy_text("""
    podSelector: {}
    ingress:
    - ports: [port: 80]

    - from:
      - podSelector: {}
    """)
    found = only(world(pod_text("a"), text), Policy)
    start = found.origin.line
    assert documents(pod_text("a"), text).splitlines()[start - 1] == "apiVersion: networking.k8s.io/v1"
    assert [rule.origin for rule in found.ingress or ()] == [
        Origin("<stdin>", start + 6),
        Origin("<stdin>", start + 8),
    ]


BLOCK = "podSelector: {}\ningress:\n- from:\n  - ipBlock: "
PORT = "podSelector: {}\ningress:\n- ports:\n  - "
PEER = "podSelector: {}\ningress:\n- from:\n  - "
SELECT = "podSelector:\n  matchExpressions:\n  - "
RULE = "spec.ingress[0]"
BAD_SPECS = [
    ("podSelectr: {}", 5, "spec.podSelectr", "did you mean 'podSelector'?"),
    ("podSelector: {matchLabel: {a: b}}", 5, "spec.podSelector.matchLabel", "did you mean 'matchLabels'?"),
    ("podSelector: []", 5, "spec.podSelector", "must be a mapping, not a list"),
    ("podSelector: {}\npolicyTypes: [Egres]", 6, "spec.policyTypes[0]", "did you mean 'Egress'?"),
    ("podSelector: {}\npolicyTypes: Egress", 6, "spec.policyTypes", "must be a list"),
    ("podSelector: {}\ningress: {}", 6, "spec.ingress", "must be a list"),
    ("podSelector: {}\ningress:\n-", 7, RULE, "an empty list entry"),
    ("podSelector: {}\ningress:\n- to: []", 7, f"{RULE}.to", "unknown field 'to'"),
    ("podSelector: {}\negress:\n- from: []", 7, "spec.egress[0].from", "unknown field 'from'"),
    ("podSelector: {}\ningress:\n- frm: []", 7, f"{RULE}.frm", "did you mean 'from'?"),
    ("podSelector: {}\ningress:\n- from: {podSelector: {}}", 7, f"{RULE}.from", "must be a list"),
    (PEER + "{}", 8, f"{RULE}.from[0]", "a peer needs"),
    (PEER + "podSelector:", 8, f"{RULE}.from[0]", "a peer needs"),
    (PEER + "podselector: {}", 8, f"{RULE}.from[0].podselector", "did you mean 'podSelector'?"),
    (PEER + "{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}", 8, f"{RULE}.from[0]", "cannot be together"),
    (BLOCK + "{}", 8, f"{RULE}.from[0].ipBlock", "cidr is missing"),
    (BLOCK + "{cidr: 10.0.0.0}", 8, f"{RULE}.from[0].ipBlock.cidr", "add the prefix length"),
    (BLOCK + "{cidr: 10.0.0.0/33}", 8, f"{RULE}.from[0].ipBlock.cidr", "prefix length over 32"),
    (BLOCK + "{cidr: 010.0.0.0/8}", 8, f"{RULE}.from[0].ipBlock.cidr", "leading zeros"),
    (BLOCK + "{cidr: 10.0.0.0/08}", 8, f"{RULE}.from[0].ipBlock.cidr", "leading zeros"),
    (BLOCK + "{cidr: 'fd00::/129'}", 8, f"{RULE}.from[0].ipBlock.cidr", "prefix length over 128"),
    (BLOCK + "{cidr: '::ffff:10.0.0.0/104'}", 8, f"{RULE}.from[0].ipBlock.cidr", "IPv4-mapped"),
    (BLOCK + "{cidr: 10.0.0/24}", 8, f"{RULE}.from[0].ipBlock.cidr", "is not an IP address"),
    (BLOCK + "{cidr: 10}", 8, f"{RULE}.from[0].ipBlock.cidr", "must be text"),
    (
        BLOCK + "\n      cidr: 10.0.0.0/8\n      except:\n      - 11.0.0.0/16",
        11,
        f"{RULE}.from[0].ipBlock.except[0]",
        "is not strictly inside 10.0.0.0/8",
    ),
    (BLOCK + "{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}", 8, f"{RULE}.from[0].ipBlock.except[0]", "strictly"),
    (BLOCK + "{cidr: 10.0.0.0/8, except: [0.0.0.0/0]}", 8, f"{RULE}.from[0].ipBlock.except[0]", "strictly"),
    (BLOCK + "{cidr: '::/0', except: [10.0.0.0/8]}", 8, f"{RULE}.from[0].ipBlock.except[0]", "family"),
    (BLOCK + "{cidr: 10.0.0.0/8, excpt: []}", 8, f"{RULE}.from[0].ipBlock.excpt", "did you mean 'except'?"),
    (PORT + "port: 0", 8, f"{RULE}.ports[0].port", "must be 1 to 65535, not 0"),
    (PORT + "port: 70000", 8, f"{RULE}.ports[0].port", "must be 1 to 65535, not 70000"),
    (PORT + "port: -1", 8, f"{RULE}.ports[0].port", "must be 1 to 65535"),
    (PORT + "port: 80.5", 8, f"{RULE}.ports[0].port", "must be a whole number, not 80.5"),
    (PORT + "port: yes", 8, f"{RULE}.ports[0].port", "must be a number, not true"),
    (PORT + "port: '80'", 8, f"{RULE}.ports[0].port", "remove the quotes"),
    (PORT + "port: HTTP", 8, f"{RULE}.ports[0].port", "only a-z"),
    (PORT + "port: a-name-far-too-long", 8, f"{RULE}.ports[0].port", "1 to 15 characters"),
    (PORT + "port: a--b", 8, f"{RULE}.ports[0].port", "two in a row"),
    (PORT + "{port: 80, endPort: 79}", 8, f"{RULE}.ports[0].endPort", "endPort 79 is below port 80"),
    (PORT + "{port: 80, endPort: 65536}", 8, f"{RULE}.ports[0].endPort", "must be 1 to 65535"),
    (PORT + "{port: http, endPort: 90}", 8, f"{RULE}.ports[0].endPort", "cannot be with a named port"),
    (PORT + "{endPort: 90}", 8, f"{RULE}.ports[0].endPort", "needs a port"),
    (PORT + "{port: 80, protocol: tcp}", 8, f"{RULE}.ports[0].protocol", "did you mean 'TCP'?"),
    (
        PORT + "{port: 8, protocol: ICMP}",
        8,
        f"{RULE}.ports[0].protocol",
        "without ports allows every protocol",
    ),
    (PORT + "{prot: 80}", 8, f"{RULE}.ports[0].prot", "did you mean"),
    (
        SELECT + "{key: a, operator: in, values: [b]}",
        7,
        "spec.podSelector.matchExpressions[0].operator",
        "'In'",
    ),
    (SELECT + "{key: a, operator: In}", 7, "spec.podSelector.matchExpressions[0]", "In needs values"),
    (
        SELECT + "{key: a, operator: NotIn, values: []}",
        7,
        "spec.podSelector.matchExpressions[0]",
        "NotIn needs",
    ),
    (
        SELECT + "{key: a, operator: Exists, values: [b]}",
        7,
        "spec.podSelector.matchExpressions[0]",
        "no values",
    ),
    (
        SELECT + "{key: a, operator: DoesNotExist, values: [b]}",
        7,
        "spec.podSelector.matchExpressions[0]",
        "no v",
    ),
    (SELECT + "{operator: Exists}", 7, "spec.podSelector.matchExpressions[0]", "key is missing"),
    (SELECT + "{key: a}", 7, "spec.podSelector.matchExpressions[0]", "operator is missing"),
    (SELECT + "{key: a/b/c, operator: Exists}", 7, "spec.podSelector.matchExpressions[0].key", "prefix"),
    (
        SELECT + "{key: a, operator: In, values: [b!]}",
        7,
        "spec.podSelector.matchExpressions[0].values[0]",
        "63",
    ),
    ("podSelector: {matchLabels: {a: 5}}", 5, "spec.podSelector.matchLabels.a", "write it in quotes"),
    ("podSelector: {matchLabels: {a: yes}}", 5, "spec.podSelector.matchLabels.a", "write it in quotes"),
    ("podSelector: {matchLabels: {a: }}", 5, "spec.podSelector.matchLabels.a", "must be text, not nothing"),
    ("podSelector: {matchLabels: {-a: b}}", 5, "spec.podSelector.matchLabels.-a", "label's key"),
    ("podSelector: {matchLabels: {a: " + "b" * 64 + "}}", 5, "spec.podSelector.matchLabels.a", "at most 63"),
]


@pytest.mark.parametrize(("spec", "line", "field", "message"), BAD_SPECS)
def test_a_policy_that_cannot_be_honoured_is_refused(spec: str, line: int, field: str, message: str) -> None:
    """Each with its line, its field, and what is wrong or was meant."""
    errors = refused(policy_text(spec))
    shown = [(error.line, error.field) for error in errors]
    assert (line, field) in shown
    assert any(message in f"{error.message} {error.hint}" for error in errors if error.field == field), errors


def test_all_errors_of_all_policies_are_told_at_once() -> None:
    """Two policies with two mistakes each are four errors."""
    errors = refused(
        policy_text(PORT + "port: 0\n  - port: 70000", "a"), policy_text(BLOCK + "{cidr: a/b, x: 1}", "b")
    )
    assert [error.line for error in errors] == [8, 9, 18, 18]


def test_a_spec_that_is_missing_is_refused() -> None:
    """An absent spec would isolate every pod, which nobody means."""
    header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n"
    assert "spec is missing" in refused(header)[0].message
    assert [error.field for error in refused(header + "spc: {podSelector: {}}")] == ["", "spc"]


WARNINGS = [
    ("podSelector: {}\ningress:\n- from: []", 7, "an empty 'from' matches every peer"),
    ("podSelector: {}\negress:\n- to:\n  ports: [port: 80]", 7, "an empty 'to' matches every peer"),
    ("policyTypes: [Ingress]", 5, "podSelector is missing"),
    (
        BLOCK + "{cidr: 10.0.0.1/8}",
        8,
        "10.0.0.1/8 has bits set beyond its prefix length; it means 10.0.0.0/8",
    ),
    ("podSelector: {}\npolicyTypes: [Ingress]\negress:\n- {}", 8, "policyTypes does not list Egress"),
    (
        "podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{}]",
        6,
        "Egress is listed and has no rules",
    ),
    (PORT + "port: htpt", 7, "no selected pod has a port named htpt/tcp"),
    (PORT + "{port: http, protocol: UDP}", 7, "no selected pod has a port named http/udp"),
    ("podSelector: {}\negress:\n- ports: [port: htpt]", 7, "no pod of these peers has a port named htpt/tcp"),
]


@pytest.mark.parametrize(("spec", "line", "message"), WARNINGS)
def test_what_is_likely_a_mistake_is_warned_of(spec: str, line: int, message: str) -> None:
    """Valid, and built as the API says, but worth a second look."""
    pod = pod_text("a", ports="[{containerPort: 80, name: http}]")
    offset = len(documents(pod).splitlines()) + 1
    (finding,) = findings(pod, policy_text(spec))
    assert (finding.severity.value, finding.line - offset) == ("warning", line)
    assert message in finding.message


NO_WARNINGS = [
    "podSelector: {}\npolicyTypes: [Ingress, Egress]",
    "podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{}]\negress: []",
    "podSelector: {}\ningress:\n- {}",
    PORT + "port: http",
    "podSelector: {}\negress:\n- ports: [port: http]",
    "podSelector: {}\negress:\n- {to: [ipBlock: {cidr: 10.244.0.0/16}], ports: [port: http]}",
    """
    podSelector: {}
    egress:
    - to:
      - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
        podSelector: {matchLabels: {k8s-app: kube-dns}}
      ports: [{port: 53, protocol: UDP}, {port: dns-tcp}]
    """,
]


@pytest.mark.parametrize("spec", NO_WARNINGS)
def test_what_is_common_and_meant_is_not_warned_of(spec: str) -> None:
    """Default deny, allow all, named ports that exist, and DNS, which every world has."""
    assert findings(pod_text("a", ports="[{containerPort: 80, name: http}]"), policy_text(spec)) == ()


NOTHING_MATCHES = [
    ("podSelector: {matchLabels: {app: wbe}}", "spec.podSelector", "app: web"),
    ("podSelector: {matchLabels: {ap: web}}", "spec.podSelector", "app"),
    (PEER + "podSelector: {matchLabels: {app: webb}}", f"{RULE}.from[0]", "app: web"),
    (
        PEER + "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-sytem}}",
        f"{RULE}.from[0]",
        "kubernetes.io/metadata.name: kube-system",
    ),
    (PEER + "namespaceSelector: {matchExpressions: [{key: q, operator: Exists}]}", f"{RULE}.from[0]", ""),
]


@pytest.mark.parametrize(("spec", "field", "meant"), NOTHING_MATCHES)
def test_a_selector_that_matches_nothing_is_noted_with_what_may_be_meant(
    spec: str, field: str, meant: str
) -> None:
    """A label that is written much like it, when there is one; who is protected counts more than a peer."""
    (finding,) = findings(pod_text("a", labels="{app: web}"), policy_text(spec))
    severity = "warning" if field == "spec.podSelector" else "note"
    assert (finding.severity.value, finding.field) == (severity, field)
    assert finding.hint == (f"did you mean {meant}?" if meant else "")


@pytest.mark.parametrize("labels", ["{k8s-ap: web}", "{k8s-app: kube-dsn}", "{tier: front}"])
def test_a_subject_unlike_any_pod_is_but_noted(labels: str) -> None:
    """Its pods may come later; and what the sandbox's own resolver is called is never what is meant."""
    spec = f"podSelector: {{matchLabels: {labels}}}"
    (finding,) = findings(pod_text("a", labels="{app: web}"), policy_text(spec))
    assert (finding.severity.value, finding.hint) == ("note", "")


def test_a_pod_on_the_host_network_that_a_policy_selects_is_warned_of() -> None:
    """It is its host, so the policy neither isolates it nor matches it; everyone's selector is but a note."""
    host = pod_text("h", labels="{app: web}", spec="hostNetwork: true")
    spec = "podSelector: {matchLabels: {app: web}}\ningress:\n- from:\n  - podSelector: {}\n" + (
        "  - podSelector: {matchLabels: {app: web}}"
    )
    found = findings(host, pod_text("a", labels="{app: web}"), policy_text(spec))
    assert [(finding.severity.value, finding.field) for finding in found] == [
        ("warning", "spec.podSelector"),
        ("warning", f"{RULE}.from[1]"),
        ("note", f"{RULE}.from[0]"),
    ]
    assert all("pod x/h is on the host network" in finding.message for finding in found)

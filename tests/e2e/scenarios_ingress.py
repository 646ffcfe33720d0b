"""The scenarios about what may reach a pod."""

from __future__ import annotations

from e2e.scenarios import Scenario, Step, policy

DENY_ALL_INGRESS = policy("deny-ingress", "{podSelector: {}, policyTypes: [Ingress]}")
DENY_ALL = policy("deny-all", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
ALLOW_ALL_INGRESS = policy("allow-all", "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}")


def to_a(name: str, rule: str) -> Step:
    """Lets into x/a what the rule says; the truth about 80/tcp is filled in by the caller."""
    spec = f"{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Ingress], ingress: [{rule}]}}"
    return Step((policy(name, spec),), {})


def only(step: Step, *sources: str, port: str = "80/tcp") -> Step:
    """The step with a truth table in which nobody but the sources reaches x/a."""
    allowed = "".join(f"; allow {source} x/a" for source in sources)
    return step._replace(truth={port: f"deny * x/a{allowed}"})


FROM_Y = "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]%s}"
NAME = "kubernetes.io/metadata.name"
NOT_X = f"namespaceSelector: {{matchExpressions: [{{key: {NAME}, operator: NotIn, values: [x]}}]}}"
A_IN_Y = (
    "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}},"
    " podSelector: {matchLabels: {pod: a}}}]}"
)
POD_B = "{podSelector: {matchLabels: {pod: b}}}"
POD_C = "{podSelector: {matchLabels: {pod: c}}}"
PORT_81_FROM_Y = to_a("y-on-81", FROM_Y % ", ports: [{protocol: TCP, port: 81}]")
PORT_80_FROM_Y = to_a("y-on-80", FROM_Y % ", ports: [{protocol: TCP, port: 80}]")
ONLY_Y = "deny * x/a; allow y/* x/a"

PEERS = (
    Scenario(
        "a policy that allows no ingress closes its namespace, from inside it too, and leaves all else open",
        (Step((DENY_ALL_INGRESS,), {"80/tcp": "deny * x/*"}),),
    ),
    Scenario(
        "a policy that allows neither direction closes its namespace in both",
        (Step((DENY_ALL,), {"80/tcp": "deny * x/*; deny x/* *"}),),
    ),
    Scenario(
        "a peer with a pod selector alone means pods of the policy's own namespace",
        (only(to_a("b-reaches-a", f"{{from: [{POD_B}]}}"), "x/b"),),
    ),
    Scenario(
        "an allow for one pod opens that pod in a namespace that another policy closed",
        (
            Step(
                (
                    DENY_ALL_INGRESS,
                    *to_a("open-a", "{from: [{podSelector: {}, namespaceSelector: {}}]}").policies,
                ),
                {"80/tcp": "deny * x/*; allow * x/a"},
            ),
        ),
    ),
    Scenario(
        "an empty namespace selector means pods of every namespace, the policy's own included",
        (to_a("from-everywhere", "{from: [{namespaceSelector: {}}]}")._replace(truth={"80/tcp": ""}),),
    ),
    Scenario(
        "a namespace selector alone means all pods of those namespaces and no others, not even its own",
        (only(to_a("from-y", FROM_Y % ""), "y/*"),),
    ),
    Scenario(
        "a pod selector by expression selects like one by labels",
        (
            only(
                to_a(
                    "b-by-expression",
                    "{from: [{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b]}]}}]}",
                ),
                "x/b",
            ),
        ),
    ),
    Scenario(
        "a namespace selector by expression selects like one by labels",
        (
            only(
                to_a(
                    "y-by-expression",
                    "{from: [{namespaceSelector: {matchExpressions:"
                    " [{key: kubernetes.io/metadata.name, operator: In, values: [y]}]}}]}",
                ),
                "y/*",
            ),
        ),
    ),
    Scenario(
        "two peers in a rule add up: other namespaces, or a pod of the own one",
        (only(to_a("others-or-b", f"{{from: [{{{NOT_X}}}, {POD_B}]}}"), "y/*", "z/*", "x/b"),),
    ),
    Scenario(
        "both selectors in one peer must both hold",
        (
            only(
                to_a("b-of-others", f"{{from: [{{{NOT_X}, podSelector: {{matchLabels: {{pod: b}}}}}}]}}"),
                "y/b",
                "z/b",
            ),
        ),
    ),
    Scenario(
        "both selectors in one peer may each match several",
        (
            only(
                to_a(
                    "b-and-c-of-others",
                    f"{{from: [{{{NOT_X}, podSelector:"
                    " {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}}]}",
                ),
                "y/[bc]",
                "z/[bc]",
            ),
        ),
    ),
    Scenario(
        "several pod selectors in a rule add up",
        (only(to_a("b-or-c", f"{{from: [{POD_B}, {POD_C}]}}"), "x/b", "x/c"),),
    ),
    Scenario(
        "one pod of one other namespace may be let in alone",
        (only(to_a("a-of-y", A_IN_Y), "y/a"),),
    ),
    Scenario(
        "a pod selector that matches everything still means the policy's own namespace only",
        (
            Step(
                (
                    policy(
                        "same-namespace",
                        "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}",
                    ),
                ),
                {"80/tcp": "deny * x/*; allow x/* x/*"},
            ),
        ),
    ),
    Scenario(
        "namespaces may be selected by the name label that Kubernetes gives them",
        (only(to_a("y-by-its-name", FROM_Y % ""), "y/*"),),
    ),
)

PORTS = (
    Scenario(
        "a rule with a port lets in that port only, from its peers only",
        (only(PORT_81_FROM_Y, "y/*", port="81/tcp"),),
    ),
    Scenario(
        "policies on one pod add up, port by port",
        (
            Step(PORT_81_FROM_Y.policies, {"81/tcp": ONLY_Y, "80/tcp": "deny * x/a"}),
            Step(PORT_81_FROM_Y.policies + PORT_80_FROM_Y.policies, {"80/tcp": ONLY_Y, "81/tcp": ONLY_Y}),
        ),
    ),
    Scenario(
        "an empty rule allows everything, on every port",
        (Step((ALLOW_ALL_INGRESS,), {"80/tcp": "", "81/tcp": ""}),),
    ),
    Scenario(
        "a named port opens the port that has the name in the receiver",
        (
            Step(
                (
                    policy(
                        "named-81",
                        "{podSelector: {}, policyTypes: [Ingress],"
                        " ingress: [{ports: [{port: serve-81-tcp}]}]}",
                    ),
                ),
                {"81/tcp": "", "80/tcp": "deny * x/*"},
            ),
        ),
    ),
    Scenario(
        "a named port may be opened to one namespace",
        (
            to_a("named-80-from-y", FROM_Y % ", ports: [{protocol: TCP, port: serve-80-tcp}]")._replace(
                truth={"80/tcp": ONLY_Y, "81/tcp": "deny * x/a"}
            ),
        ),
    ),
    Scenario(
        "a rule with a protocol and no port opens every port of that protocol and no other protocol",
        (
            to_a("tcp-only", "{ports: [{protocol: TCP}]}")._replace(
                truth={"80/tcp": "", "81/tcp": "", "80/udp": "deny * x/a"}
            ),
        ),
    ),
    Scenario(
        "an allow-all beside a narrower policy wins",
        (
            Step(
                (
                    policy(
                        "only-80",
                        "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}",
                    ),
                ),
                {"81/tcp": "deny * x/*"},
            ),
            Step(
                (
                    policy(
                        "only-80",
                        "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}",
                    ),
                    ALLOW_ALL_INGRESS,
                ),
                {"81/tcp": ""},
            ),
        ),
    ),
    Scenario(
        "a rule about SCTP opens no TCP",
        (
            Step(
                (DENY_ALL_INGRESS, *to_a("sctp-81", "{ports: [{protocol: SCTP, port: 81}]}").policies),
                {"81/tcp": "deny * x/*"},
            ),
        ),
    ),
    Scenario(
        "a policy whose only rule is about SCTP still isolates its pods for everything else",
        (only(to_a("sctp-80", "{ports: [{protocol: SCTP, port: 80}]}"), port="81/tcp"),),
    ),
    Scenario(
        "a rule about UDP opens no TCP",
        (only(to_a("udp-81", "{ports: [{protocol: UDP, port: 81}]}"), port="81/tcp"),),
    ),
)

CHANGES = (
    Scenario(
        "a policy that is changed counts as changed",
        (
            Step((ALLOW_ALL_INGRESS,), {"81/tcp": ""}),
            Step(
                (policy("allow-all", "{podSelector: {}, policyTypes: [Ingress], ingress: []}"),),
                {"81/tcp": "deny * x/*"},
            ),
        ),
    ),
    Scenario(
        "a namespace that gets a label is selected by it",
        (
            only(to_a("by-new-label", "{from: [{namespaceSelector: {matchLabels: {ns2: updated}}}]}")),
            only(
                to_a("by-new-label", "{from: [{namespaceSelector: {matchLabels: {ns2: updated}}}]}"), "y/*"
            )._replace(labels={"y": {"ns2": "updated"}}),
        ),
    ),
    Scenario(
        "a pod that gets a label is selected by it as a peer",
        (
            only(to_a("by-new-label", "{from: [{podSelector: {matchLabels: {pod: b, pod2: updated}}}]}")),
            only(
                to_a("by-new-label", "{from: [{podSelector: {matchLabels: {pod: b, pod2: updated}}}]}"), "x/b"
            )._replace(labels={"x/b": {"pod2": "updated"}}),
        ),
    ),
    Scenario(
        "a pod that gets a label is isolated by the policy that selects it",
        (
            Step(
                (
                    policy(
                        "closed", "{podSelector: {matchLabels: {target: isolated}}, policyTypes: [Ingress]}"
                    ),
                ),
                {"80/tcp": ""},
            ),
            Step(
                (
                    policy(
                        "closed", "{podSelector: {matchLabels: {target: isolated}}, policyTypes: [Ingress]}"
                    ),
                ),
                {"80/tcp": "deny * x/a"},
                {"x/a": {"target": "isolated"}},
            ),
        ),
    ),
    Scenario(
        "policies that are gone are enforced no more",
        (
            Step((DENY_ALL,), {"80/tcp": "deny * x/*; deny x/* *"}),
            Step((), {"80/tcp": ""}),
        ),
    ),
)

PROTOCOLS = (
    *(
        Scenario(
            f"over {name}, a policy that allows no ingress closes its namespace",
            (Step((DENY_ALL_INGRESS,), {f"80/{name}": "deny * x/*"}),),
        )
        for name in ("udp", "sctp")
    ),
    *(
        Scenario(
            f"over {name}, a rule with a port lets in that port only",
            (
                to_a("y-on-81", FROM_Y % f", ports: [{{protocol: {name.upper()}, port: 81}}]")._replace(
                    truth={f"81/{name}": ONLY_Y, f"80/{name}": "deny * x/a"}
                ),
            ),
        )
        for name in ("udp", "sctp")
    ),
    *(
        Scenario(
            f"over {name}, one pod of one other namespace may be let in alone",
            (only(to_a("a-of-y", A_IN_Y), "y/a", port=f"80/{name}"),),
        )
        for name in ("udp", "sctp")
    ),
)

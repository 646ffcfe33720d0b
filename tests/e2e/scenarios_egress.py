"""The scenarios about what a pod may reach, and about both directions at once."""

from __future__ import annotations

from e2e.scenarios import Scenario, Step, addresses, policy

OF_A = "podSelector: {matchLabels: {pod: a}}"
NAME = "kubernetes.io/metadata.name"
A_IN = f"{{namespaceSelector: {{matchLabels: {{{NAME}: %s}}}}, podSelector: {{matchLabels: {{pod: a}}}}}}"
A_IN_X, A_IN_Y = A_IN % "x", A_IN % "y"
ONLY_80 = policy("only-80", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}")
ALLOW_ALL = policy("allow-egress", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}")
TO_A_OF_Y = policy("to-a-of-y", f"{{{OF_A}, policyTypes: [Egress], egress: [{{to: [{A_IN_Y}]}}]}}")
BLOCKS = {4: "0.0.0.0/4", 6: "f000::/4"}
"""The blocks of 4 bits that hold every pod's address, by family."""


def blocks(name: str, *texts: str) -> Step:
    """Lets x/a reach these blocks only; each text is an ipBlock's content."""
    peers = ", ".join(f"{{ipBlock: {{{text}}}}}" for text in texts)
    return Step((policy(name, f"{{{OF_A}, policyTypes: [Egress], egress: [{{to: [{peers}]}}]}}"),), {})


def exactly(pod: str) -> tuple[str, str]:
    """The pod's own addresses as blocks."""
    ipv4, ipv6 = addresses(pod)
    return f'cidr: "{ipv4}/32"', f'cidr: "{ipv6}/128"'


def all_but(pod: str) -> tuple[str, str]:
    """A wide block around the pod's addresses, less these."""
    ipv4, ipv6 = addresses(pod)
    return (
        f'cidr: "{BLOCKS[4]}", except: ["{ipv4}/32"]',
        f'cidr: "{BLOCKS[6]}", except: ["{ipv6}/128"]',
    )


EGRESS = (
    Scenario(
        "a named port opens the port that has the name in each receiver, for what a pod sends too",
        (
            Step(
                (
                    policy(
                        "named-80",
                        "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: serve-80-tcp}]}]}",
                    ),
                ),
                {"80/tcp": "", "81/tcp": "deny x/* *"},
            ),
        ),
    ),
    Scenario(
        "a policy that allows a pod no egress closes that pod's egress and no other's",
        (Step((policy("mute-a", f"{{{OF_A}, policyTypes: [Egress]}}"),), {"80/tcp": "deny x/a *"}),),
    ),
    Scenario(
        "a policy that allows a namespace no egress closes it, towards itself too",
        (Step((policy("mute", "{podSelector: {}, policyTypes: [Egress]}"),), {"80/tcp": "deny x/* *"}),),
    ),
    Scenario(
        "one pod of one other namespace may be reached alone",
        (Step((TO_A_OF_Y,), {"80/tcp": "deny x/a *; allow x/a y/a"}),),
    ),
    Scenario(
        "an allow-all for egress beside a narrower policy wins",
        (
            Step((ONLY_80,), {"81/tcp": "deny x/* *"}),
            Step((ONLY_80, ALLOW_ALL), {"81/tcp": ""}),
        ),
    ),
    Scenario(
        "a block of one address opens that pod only",
        (blocks("to-b-of-y", *exactly("y/b"))._replace(truth={"80/tcp": "deny x/a *; allow x/a y/b"}),),
    ),
    Scenario(
        "an except takes its addresses out of the block",
        (blocks("all-but-b", *all_but("x/b"))._replace(truth={"80/tcp": "deny x/a x/b"}),),
    ),
    Scenario(
        "an address in one block's except may be opened by another block",
        (
            blocks("blocks", *all_but("x/b"))._replace(truth={"80/tcp": "deny x/a x/b"}),
            blocks("blocks", *exactly("x/b"))._replace(truth={"80/tcp": "deny x/a *; allow x/a x/b"}),
            Step(
                blocks("blocks", *all_but("x/b")).policies + blocks("more", *exactly("x/b")).policies,
                {"80/tcp": ""},
            ),
        ),
    ),
    Scenario(
        "a selector by expression on the name label takes one namespace out of a pod's reach",
        (
            Step(
                (
                    policy(
                        "not-y",
                        f"{{{OF_A}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector:"
                        f" {{matchExpressions: [{{key: {NAME}, operator: NotIn, values: [y]}}]}}}}]}}]}}",
                    ),
                ),
                {"80/tcp": "deny x/a y/*"},
            ),
        ),
    ),
)

BOTH = (
    Scenario(
        "one policy may hold rules of both directions, each judged by itself",
        (
            Step(
                (
                    policy(
                        "both",
                        f"{{{OF_A}, policyTypes: [Egress, Ingress], egress: [{{ports: [{{port: 80}}]}}],"
                        " ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}",
                    ),
                ),
                {
                    "80/tcp": "deny * x/a; allow x/b x/a",
                    "81/tcp": "deny * x/a; deny x/a *; allow x/b x/a",
                },
            ),
        ),
    ),
    Scenario(
        "what the sender may not send does not arrive, though the receiver would take it",
        (
            Step(
                (
                    TO_A_OF_Y,
                    *(
                        policy(
                            f"a-of-x-reaches-{pod}",
                            f"{{podSelector: {{matchLabels: {{pod: {pod}}}}}, policyTypes: [Ingress],"
                            f" ingress: [{{from: [{A_IN_X}]}}]}}",
                            "y",
                        )
                        for pod in "ab"
                    ),
                ),
                {"80/tcp": "deny x/a *; deny * y/[ab]; allow x/a y/a"},
            ),
        ),
    ),
    Scenario(
        "ingress and egress of one pod are controlled independently",
        (
            Step(
                (policy("free-egress", f"{{{OF_A}, policyTypes: [Egress], egress: [{{}}]}}"),),
                {"80/tcp": ""},
            ),
            Step(
                (
                    policy("free-egress", f"{{{OF_A}, policyTypes: [Egress], egress: [{{}}]}}"),
                    policy("no-ingress", f"{{{OF_A}, policyTypes: [Ingress]}}"),
                ),
                {"80/tcp": "deny * x/a"},
            ),
        ),
    ),
)

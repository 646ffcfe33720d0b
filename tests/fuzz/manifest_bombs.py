"""Documents of up to 1 MB made to take all time or memory: each is named, and yields text or bytes."""

from __future__ import annotations

from collections.abc import Callable

SIZE = 1_000_000
HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\n"
POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x, labels: {app: a}}\nspec: {containers: []}\n"
)


def filled(piece: str, head: str = "", tail: str = "") -> str:
    """As many pieces as fit; ``{n}`` in a piece is its number."""
    parts, left, number = [head], SIZE - len(head) - len(tail), 0
    while True:
        part = piece.replace("{n}", str(number))
        if len(part) > left:
            return "".join([*parts, tail])
        parts.append(part)
        left -= len(part)
        number += 1


def bomb(levels: int, width: int) -> str:
    """Aliases of aliases: ``width`` to the ``levels``."""
    lines = ["a0: &a0 [x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return HEAD + "spec:\n  podSelector: {}\n  x:\n" + "".join(f"    {line}\n" for line in lines)


def policy(rules: str) -> str:
    """A policy and a pod that it selects."""
    return f"{POD}---\n{HEAD}spec:\n  podSelector: {{}}\n{rules}"


def workload(kind: str, replicas: str) -> str:
    """A workload of very many pods."""
    return (
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: w, namespace: x}}\nspec:\n"
        f"  replicas: {replicas}\n"
        "  selector: {matchLabels: {app: w}}\n  template:\n    metadata: {labels: {app: w}}\n"
        "    spec: {containers: [{name: c, image: c}]}\n"
    )


BOMBS: dict[str, Callable[[], str | bytes]] = {
    "aliases of aliases": lambda: bomb(30, 10),
    "aliases side by side": lambda: filled("  - *a\n", "a: &a " + "x" * 1000 + "\nb:\n"),
    "merges of merges": lambda: filled("m{n}: {<<: [*a, *a, *a, *a]}\n", "a: &a {x: 1, y: 2}\n"),
    "lists in lists": lambda: "[" * SIZE,
    "mappings in mappings": lambda: "{a: " * (SIZE // 4),
    "indented for ever": lambda: "".join(" " * n + "a:\n" for n in range(1400)),
    "dashes in dashes": lambda: "- " * (SIZE // 2),
    "question marks": lambda: "? " * (SIZE // 2),
    "anchors alone": lambda: filled("&a{n} "),
    "one long word": lambda: HEAD + "spec: " + "x" * (SIZE - 200),
    "one long number": lambda: (
        HEAD + "spec: {podSelector: {}, egress: [{ports: [{port: " + "9" * (SIZE - 300) + "}]}]}"
    ),
    "one long comment": lambda: "#" * SIZE,
    "empty documents": lambda: "---\n" * (SIZE // 4),
    "very many objects": lambda: filled("---\n" + POD.replace("name: a,", "name: a{n},")),
    "very many policies": lambda: filled(
        "---\n" + HEAD.replace("name: p,", "name: p{n},") + "spec: {podSelector: {}}\n"
    ),
    "one field a hundred thousand times": lambda: filled("a: 1\n"),
    "very many fields": lambda: filled("a{n}: 1\n"),
    "very many unknown fields": lambda: policy(filled("  podSelecto{n}: 1\n")[: SIZE - 500]),
    "very many labels": lambda: POD.replace("app: a", filled("l{n}: a, ")[: SIZE - 300] + "app: a"),
    "very many excepts": lambda: policy(
        "  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/8\n        except:\n"
        + "".join(f"        - 10.{n >> 8}.{n & 255}.0/24\n" for n in range(30_000))
    ),
    "very many blocks": lambda: policy(
        "  ingress:\n  - from:\n"
        + "".join(f"    - ipBlock: {{cidr: 10.{n >> 8}.{n & 255}.0/24}}\n" for n in range(20_000))
    ),
    "very many ports": lambda: policy(
        "  ingress:\n  - ports:\n" + "".join(f"    - {{port: {n}}}\n" for n in range(1, 50_000, 2))
    ),
    "very many rules": lambda: policy(
        "  ingress:\n" + "".join(f"  - ports: [{{port: {n}}}]\n" for n in range(1, 40_000, 2))
    ),
    "very many selectors": lambda: policy(
        "  ingress:\n  - from:\n"
        + "".join(f"    - podSelector: {{matchLabels: {{a{n}: b}}}}\n" for n in range(16_000))
    ),
    "very many values": lambda: policy(
        "  ingress:\n  - from:\n    - podSelector:\n        matchExpressions:\n"
        "        - {key: app, operator: In, values: [" + ", ".join(f"v{n}" for n in range(90_000)) + "]}\n"
    ),
    "a thousand million replicas": lambda: workload("Deployment", "1000000000"),
    "a million replicas": lambda: workload("StatefulSet", "1000000"),
    "more replicas than 64 bits count": lambda: workload("Deployment", "9" * 90),
    "NULs": lambda: b"\0" * SIZE,
    "no UTF-8": lambda: b"\xff\xfe" * (SIZE // 2),
    "UTF-16": lambda: filled("a{n}: 1\n")[: SIZE // 2].encode("utf-16"),
    "byte order marks": lambda: "\ufeff" * (SIZE // 3),
    "every sort of blank": lambda: "a\u00a0\u2028\u2029\u0085\t\u3000:" * (SIZE // 20),
    "emoji and marks": lambda: HEAD + "spec: {podSelector: {matchLabels: {" + "é👩\u200d👩\u0301: " * 40_000,
    "tabs": lambda: HEAD + "\t" * (SIZE - 200),
    "quotes that never end": lambda: HEAD + 'spec: "' + "\\n" * (SIZE // 2 - 200),
    "a block that never ends": lambda: HEAD + "spec: |\n" + "  x\n" * (SIZE // 4 - 100),
    "JSON in JSON": lambda: '{"a":' * (SIZE // 5),
    "surrogates": lambda: '{"a": "' + "\\ud83d\\ude00" * (SIZE // 12 - 10) + '"}',
    "tags": lambda: "!!python/object/apply:os.system " * (SIZE // 33),
    "directives": lambda: "%TAG ! tag:x,2000:\n" * (SIZE // 20),
}
"""Each in under five seconds and 512 MB, whatever comes of it."""

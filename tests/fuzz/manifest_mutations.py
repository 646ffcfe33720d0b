"""Manifests as somebody would write them, spoilt: fields, numbers, indents, encodings, whole lines."""

from __future__ import annotations

from random import Random

FIELDS = (
    "podSelector", "namespaceSelector", "ipBlock", "cidr", "except", "ports", "port", "endPort", "protocol",
    "matchLabels", "matchExpressions", "key", "operator", "values", "from", "to", "ingress", "egress",
    "policyTypes", "metadata", "name", "namespace", "labels", "spec", "kind", "apiVersion", "<<", "items",
)  # fmt: skip
SCALARS = (
    "", "~", "null", "yes", "on", "NO", "010", "0o17", "0x1F", "1_000", "1:30", "190:20:30", "2001-01-01",
    "2001-12-14t21:59:43.10-05:00", "1e3", "-0", "+80", ".5", ".inf", "-.nan", "80.0", "80.5",
    "99999999999999999999", "-1", "0", "65535", "65536", "80", "http", "TCP", "tcp", "SCTP", "ICMP", "In",
    "NotIn", "Exists", "{}", "[]", "[{}]", "[null]", "'80'", '"http"', "10.0.0.0/8", "10.0.0.1",
    "10.0.0.0/33", "010.0.0.0/8", "::/0", "fd00::/129", "::ffff:10.0.0.0/104", "a", "é", "\u202ea",
    "a\u0301", "\ufeff", "👩", "x" * 70, "*a", "&a b", "!!int 80", "!!binary aGk=", "!!set {a}", "|", ">-",
    "'", '"', "%", "@", "`", "{{ .Values.x }}", "\\ud83d",
)  # fmt: skip
INSERTED = (
    "\t",
    "\0",
    "\ufeff",
    "\u00a0",
    "\u2028",
    "\x85",
    "\r",
    "\x07",
    "---\n",
    "...\n",
    "- ",
    ": ",
    "#",
    "  ",
    "\ud800",
)
NUMBERS = ("1", "79", "80", "81", "8080", "65535", "0")


def workload(draw: Random) -> str:
    """A pod with labels and perhaps a named port."""
    space, name = draw.choice("xz"), draw.choice("abc")
    ports = ""
    if draw.random() < 0.5:
        port, protocol = draw.choice(NUMBERS[:6]), draw.choice(("TCP", "UDP"))
        ports = f", ports: [{{name: http, containerPort: {port}, protocol: {protocol}}}]"
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-{space}\n  namespace: {space}\n"
        f"  labels: {{app: {name}, tier: {draw.choice('ab')}}}\n"
        f"spec:\n  containers:\n  - {{name: c, image: c{ports}}}\n"
    )


def selector(draw: Random) -> str:
    """A label selector in flow style."""
    kind = draw.random()
    if kind < 0.3:
        return "{}"
    if kind < 0.7:
        return f"{{matchLabels: {{{draw.choice(('app', 'tier'))}: {draw.choice('abc')}}}}}"
    operator = draw.choice(("In", "NotIn"))
    return f"{{matchExpressions: [{{key: app, operator: {operator}, values: [{draw.choice('ab')}, c]}}]}}"


def peer(draw: Random) -> str:
    """One entry of from or to."""
    kind = draw.random()
    if kind < 0.3:
        cut = ", except: [10.244.0.0/28]" if draw.random() < 0.5 else ""
        return f"ipBlock: {{cidr: {draw.choice(('10.0.0.0/8', '0.0.0.0/0', '10.244.0.0/16'))}{cut}}}"
    if kind < 0.6:
        return f"podSelector: {selector(draw)}"
    spaces = draw.choice(
        ("{}", "{matchLabels: {kubernetes.io/metadata.name: z}}", "{matchLabels: {team: red}}")
    )
    more = f"\n      podSelector: {selector(draw)}" if kind < 0.8 else ""
    return f"namespaceSelector: {spaces}{more}"


def rules(draw: Random, side: str) -> str:
    """The rules of one direction."""
    text = ""
    for _ in range(draw.choice((1, 1, 2))):
        text += "  - " + (f"{side}:\n    - {peer(draw)}\n" if draw.random() < 0.8 else "{}\n")
        if not text.endswith("{}\n") and draw.random() < 0.6:
            port = draw.choice((*NUMBERS[:6], "http"))
            end = (
                f", endPort: {draw.choice(('8080', '65535'))}"
                if port not in ("http", "65535", "8080")
                else ""
            )
            end = end if draw.random() < 0.5 else ""
            protocol = draw.choice(("TCP", "UDP", "SCTP"))
            text += f"    ports: [{{port: {port}{end}, protocol: {protocol}}}]\n"
    return text


def policy(draw: Random, number: int) -> str:
    """A NetworkPolicy."""
    text = (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p{number}\n"
        f"  namespace: {draw.choice('xz')}\nspec:\n  podSelector: {selector(draw)}\n"
    )
    if draw.random() < 0.3:
        text += f"  policyTypes: [{draw.choice(('Ingress', 'Egress', 'Ingress, Egress'))}]\n"
    if draw.random() < 0.8:
        text += "  ingress:\n" + rules(draw, "from")
    if draw.random() < 0.5:
        text += "  egress:\n" + rules(draw, "to")
    return text


def manifests(draw: Random) -> str:
    """A small world, as a person would write it."""
    spaces = [
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: red}}}}\n"
        for name in "xz"
    ]
    names: dict[str, str] = {}
    for _ in range(4):
        text = workload(draw)
        names[text.split("labels")[0]] = text
    texts = [
        *spaces[: draw.choice((0, 1, 2))],
        *names.values(),
        *(policy(draw, n) for n in range(draw.choice((1, 2)))),
    ]
    return "---\n".join(texts)


def spoilt(draw: Random, text: str) -> str:
    """The text changed in one place."""
    kind = draw.random()
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    if kind < 0.35:
        name, colon, _ = lines[at].partition(": ")
        lines[at] = f"{name}{colon}{draw.choice(SCALARS)}"
    elif kind < 0.45:
        lines[at] = lines[at].replace(draw.choice(FIELDS), draw.choice(FIELDS))
    elif kind < 0.55:
        lines.insert(at, draw.choice(lines))
    elif kind < 0.62:
        del lines[at]
    elif kind < 0.72:
        lines[at] = draw.choice((" ", "  ", "\t")) + lines[at] if draw.random() < 0.5 else lines[at][1:]
    elif kind < 0.8:
        indent = len(lines[at]) - len(lines[at].lstrip())
        lines[at] = f"{' ' * indent}{draw.choice(FIELDS)}: {draw.choice(SCALARS)}"
    elif kind < 0.9:
        where = draw.randrange(len(text) + 1)
        return text[:where] + draw.choice(INSERTED) + text[where:]
    else:
        where = draw.randrange(len(text) + 1)
        return text[:where] + text[min(len(text), where + draw.choice((1, 3, 10))) :]
    return "\n".join(lines)


def document(draw: Random) -> bytes:
    """A document, spoilt in no, one or several places, seldom in another encoding."""
    text = manifests(draw)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        text = spoilt(draw, text)
    kind = draw.random()
    if kind < 0.96:
        return text.encode(errors="surrogatepass")
    encoding = draw.choice(("utf-16", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp1140"))
    return text.encode(encoding, errors="replace")

"""Text to trees to manifests: YAML as Kubernetes reads it, every limit, and the line of every mistake."""

from __future__ import annotations

import json
import pathlib

import msgspec
import pytest
from manifest_builders import documents, findings, of_kind, pod_text, world

from cloche.errors import InputError
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import Manifest, check, delete, merge, read
from cloche.orchestrators.sandbox.scalars import resolve

SCALARS = [
    ("80", 80),
    ("0x50", 80),
    ("010", 8),
    ("0o10", 8),
    ("0b11", 3),
    ("1_000", 1000),
    ("-3", -3),
    ("+3", 3),
    ("080", 80.0),
    ("1e3", 1000.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("1.2.3", "1.2.3"),
    ("10:30", "10:30"),
    ("2024-01-01", "2024-01-01"),
    ("yes", True),
    ("y", True),
    ("Off", False),
    ("N", False),
    ("tRue", "tRue"),
    ("~", None),
    ("", None),
    ("null", None),
    ("nil", "nil"),
    ("-", "-"),
    ("0x", "0x"),
    ("1 2", "1 2"),
    ("123456789012345678901", 123456789012345678901.0),
    ("-.inf", float("-inf")),
    ("web-1", "web-1"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_an_unquoted_scalar_means_what_it_means_to_kubernetes(text: str, value: object) -> None:
    """YAML 1.1 booleans and octals, no times of day, no integer beyond 64 bits."""
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


BAD_TEXTS = [
    ("a: [1, 2", 1, "not YAML"),
    ("a: 1\nb: 2\na: 3\n", 3, "the field 'a' is here twice (first on line 1)"),
    ("a: 1\n\tb: 2\n", 2, "not YAML"),
    ("a: *x\n", 1, "the alias *x has no anchor"),
    ("a: &x [*x]\n", 1, "the alias *x has no anchor"),
    ("? [a]\n: b\n", 1, "cannot be a field name"),
    ("a:\n  !made b\n", 2, "the YAML tag '!made' is not supported"),
    ("a\x00b", 1, "not YAML"),
    ("a: 1\nb: \x07\n", 2, "not YAML"),
    ("- 1\n", 1, "must be a mapping"),
    ("just text\n", 1, "must be a mapping"),
    ("\n\nkind: Pod\n", 3, "apiVersion is missing"),
    ("\napiVersion: v1\n", 2, "kind is missing"),
    ("apiVersion: v1\nkind: Pod\n", 1, "metadata is missing"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", 3, "metadata.name is missing"),
    ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: A_b\n", 4, "a Pod's name has 1 to 253"),
    ("apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\n", 3, "a Service's name has 1 to 63"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: 5}\n", 3, "must be text, not the number 5"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b.c}\n", 3, "a namespace's name has"),
    ("apiVersion: v1\nkind: Pdo\nmetadata: {name: a}\n", 2, "unknown kind 'Pdo'"),
    ("apiVersion: v1\nkind: networkpolicy\nmetadata: {name: a}\n", 2, "unknown kind 'networkpolicy'"),
    (
        "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: a}\n",
        1,
        "NetworkPolicy is not in",
    ),
    ("apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n", 1, "Deployment is not in 'v1'"),
    ("{{- if .Values.x }}\na: b\n", 1, "cannot be a field name"),
    ("y: 1\nx: \ud800", 2, "not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD_TEXTS)
def test_bad_text_is_an_error_at_its_line(tmp_path: pathlib.Path, text: str, line: int, message: str) -> None:
    """Each bad text gives an error that says what is wrong, where; reading it raises all of them."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(InputError):
        read([str(path)])
    found = check([str(path)])
    assert any(message in finding.message and finding.line == line for finding in found), found
    assert {finding.file for finding in found} == {str(path)}


def test_a_template_that_was_not_rendered_is_recognised() -> None:
    """The hint says what to do about double braces."""
    assert "render a template first" in findings("a:\n{{ x }}: 3")[0].hint
    assert "render it first" in findings("a: b {{ x }}: 3")[0].hint


def test_all_errors_of_a_text_are_told_at_once() -> None:
    """Two duplicate fields, and a broken kind, are three errors."""
    found = findings("a: {b: 1, b: 2}\nc: {d: 1, d: 2}\nkind: Pod")
    assert [finding.line for finding in found if finding.severity == "error"] == [1, 1, 2]


BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "long aliases": 'a: &a "' + "x" * 500_000 + '"\nb: [' + ",".join(["*a"] * 1000) + "]",
    "merges": "a: &a {b: 1}\nc: [" + ",".join(["{<<: *a}"] * 60_000) + "]",
    "flow depth": "a: " + "[" * 100_000,
    "flow depth in lines": "a: " + "[\n" * 100_000,
    "mapping depth": "a: " + "{a: " * 50_000,
    "block depth": "\n".join(" " * depth + "a:" for depth in range(1000)),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_is_refused_at_once(name: str) -> None:
    """Texts that would expand or nest without end are refused for that, before they do."""
    found = findings(BOMBS[name])
    assert found[0].severity == "error"
    assert "nested deeper" in found[0].message or "aliases stand for" in found[0].message


def test_aliases_and_merges_mean_what_they_say() -> None:
    """An alias repeats its anchor, a merge key fills in what is not there."""
    text = """
    apiVersion: v1
    kind: Pod
    metadata: {name: a, labels: &l {app: web, tier: front}}
    spec: {containers: []}
    ---
    apiVersion: v1
    kind: Pod
    metadata:
      name: b
      labels: {<<: &m {app: web, tier: front}, tier: back}
    spec: {containers: []}
    """
    labels = [endpoint.labels for endpoint in of_kind(world(text), Endpoint)]
    assert labels == [(("app", "web"), ("tier", "front")), (("app", "web"), ("tier", "back"))]


def test_json_is_read_with_tabs_and_surrogate_pairs() -> None:
    """JSON as kubectl and others write it, escapes beyond 16 bits included."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "annotations": {"x": "\U0001f600 a/b"}},
        "spec": {"containers": []},
    }
    text = json.dumps(pod, indent="\t").replace("a/b", "a\\/b")
    assert "\\ud83d\\ude00" in text
    assert [endpoint.key for endpoint in of_kind(world(text), Endpoint)] == ["default/a"]


def test_lists_hold_objects_also_when_their_items_leave_out_the_kind() -> None:
    """A List of whole objects, and a PodList as the API sends it."""
    text = documents(
        """
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}
        - apiVersion: v1
          kind: List
          items:
          - {apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: []}}
        """,
        """
        apiVersion: v1
        kind: PodList
        items:
        - metadata: {name: c}
          spec: {containers: []}
        """,
    )
    manifests = read(["-"], stdin=text)
    assert [(manifest.name, manifest.line) for manifest in manifests] == [("a", 4), ("b", 8), ("c", 13)]
    assert [endpoint.name for endpoint in of_kind(world(text), Endpoint)] == ["a", "b", "c"]


def test_kinds_that_are_not_used_are_named_once_each() -> None:
    """Two ConfigMaps are one note; another group's policy is a warning, and its Service is no Service."""
    found = findings(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}",
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: c}",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: d}",
    )
    assert [(finding.severity.value, finding.line, finding.message) for finding in found] == [
        ("warning", 9, "NetworkPolicy.projectcalico.org objects are not used"),
        ("note", 1, "ConfigMap objects are not used"),
        ("note", 13, "Service.serving.knative.dev objects are not used"),
    ]


def test_the_same_object_twice_is_an_error_that_names_both_places(tmp_path: pathlib.Path) -> None:
    """Even when the two are identical, and in different files."""
    for name in ("b.yaml", "a.yaml"):
        (tmp_path / name).write_text("\n" + pod_text("web"))
    with pytest.raises(InputError) as raised:
        read([str(tmp_path)])
    (finding,) = raised.value.findings
    assert (finding.file, finding.line) == (str(tmp_path / "b.yaml"), 2)
    assert f"{tmp_path / 'a.yaml'}:2" in finding.message


def test_a_folder_is_read_recursively_and_a_file_only_once(tmp_path: pathlib.Path) -> None:
    """*.yaml, *.yml and *.json, sorted; hidden files and others are left alone."""
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("z.yml", "deep/b.yaml", "a.json", ".git/h.yaml", "readme.txt", ".hidden.yaml"):
        stem = pathlib.Path(name).stem.strip(".")
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": stem}, "spec": {"containers": []}}
        (tmp_path / name).write_text(json.dumps(pod))
    manifests = read([str(tmp_path), str(tmp_path / "a.json")])
    assert [manifest.name for manifest in manifests] == ["a", "z", "b"]


def test_what_cannot_be_read_is_an_error(tmp_path: pathlib.Path) -> None:
    """A path that is not there, a folder without manifests, a path with a NUL."""
    found = check([str(tmp_path / "none.yaml"), str(tmp_path), "a\0b"])
    assert {finding.severity for finding in found} == {"error"}
    assert len(found) == 3


def test_an_empty_file_is_worth_a_note() -> None:
    """No document at all is likely a mistake, and no error."""
    assert [finding.severity for finding in findings("# nothing\n---\n")] == ["note"]


def test_manifests_survive_msgpack() -> None:
    """A manifest that was sent over a socket is the manifest, and builds the same world."""
    manifests = read(
        ["-"], stdin=documents(pod_text("a"), "apiVersion: v1\nkind: Secret\nmetadata: {name: s}")
    )
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(manifests), type=tuple[Manifest, ...])
    assert again == manifests


def test_manifests_are_merged_and_removed_by_kind_namespace_and_name() -> None:
    """A later manifest of the same key takes the earlier one's place."""
    old = read(["-"], stdin=documents(pod_text("a"), pod_text("b")))
    new = read(["-"], stdin=documents(pod_text("b", labels="{v: two}"), pod_text("c")))
    merged = merge(old, new)
    assert [manifest.name for manifest in merged] == ["a", "b", "c"]
    assert merged[1] is new[0]
    assert [manifest.name for manifest in delete(merged, old)[0]] == ["c"]


def test_metadata_that_is_never_used_is_not_kept() -> None:
    """managedFields and annotations make most of a dump; they are not sent on."""
    long = "x" * 10_000
    metadata = f"{{name: a, annotations: {{a: {long}}}, managedFields: [{long}]}}"
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {metadata}"
    assert len(msgspec.msgpack.encode(read(["-"], stdin=text))) < 200

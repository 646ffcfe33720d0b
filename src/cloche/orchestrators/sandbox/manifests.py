"""Files, folders and standard input as manifests: one Kubernetes object each, knowing every field's line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from cloche.errors import Finding, InputError, Severity
from cloche.orchestrators.sandbox.fields import Field
from cloche.orchestrators.sandbox.kinds import API_VERSIONS, UNUSED, classify
from cloche.orchestrators.sandbox.syntax import is_dns_label, is_dns_subdomain
from cloche.orchestrators.sandbox.tree import Mapping, Node, Scalar, compose

MAX_BYTES = 128 << 20
"""The most that one file may hold."""
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "<stdin>"
DEFAULT_NAMESPACE = "default"

_KEY = attrgetter("kind", "namespace", "name")
_SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """One object as it was written: encodes to msgpack and back, so it can be sent, kept and built again.

    ``kind`` is one of ``kinds.API_VERSIONS``, or begins with ``unused:``, and then ``root`` is empty.
    ``namespace`` is empty for a Namespace.
    """

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    root: Mapping

    @property
    def key(self) -> tuple[str, str, str]:
        """(kind, namespace, name): one object of the world."""
        return self.kind, self.namespace, self.name

    def field(self, findings: list[Finding]) -> Field:
        """The cursor on the whole object."""
        return Field(self.root, "", self.file, findings)


class Source(NamedTuple):
    """A text and the name that findings give it."""

    file: str
    text: str


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each finding once, worst first, then by file and line."""
    return tuple(sorted(set(findings), key=lambda finding: (_SEVERITIES.index(finding.severity), finding)))


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raises InputError with all findings when one of them is an error."""
    found = ordered(findings)
    if any(finding.severity is Severity.ERROR for finding in found):
        raise InputError(found)


def read(paths: Sequence[str], stdin: str | None = None) -> tuple[Manifest, ...]:
    """The manifests of files, folders (recursive) and ``-`` (standard input, or ``stdin`` when given).

    Raises InputError with every finding when anything cannot be read or an object is there twice.
    """
    return read_noting(paths, stdin)[0]


def read_noting(
    paths: Sequence[str], stdin: str | None = None
) -> tuple[tuple[Manifest, ...], tuple[Finding, ...]]:
    """What ``read`` gives, and the warnings and notes about the files themselves. Raises InputError."""
    sources, findings = gather(paths, stdin)
    manifests, more = load(sources)
    found = [*findings, *more, *duplicates(manifests)]
    refuse_errors(found)
    return manifests, ordered(found)


def gather(paths: Sequence[str], stdin: str | None = None) -> tuple[list[Source], list[Finding]]:
    """The texts behind the paths, each file once, and what could not be read."""
    sources: list[Source] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    for path in paths:
        for file in _files(path, findings):
            identity = file if file == "-" or "\0" in file else os.path.realpath(file)
            if identity not in seen:
                seen.add(identity)
                text = _read_one(file, stdin, findings)
                if text is not None:
                    sources.append(Source(STDIN if file == "-" else file, text))
    return sources, findings


def files(paths: Sequence[str]) -> list[str]:
    """The files that ``gather`` would read now, standard input left out."""
    ignored: list[Finding] = []
    return [file for path in paths if path != "-" for file in _files(path, ignored)]


def _files(path: str, findings: list[Finding]) -> Iterator[str]:
    if path == "-" or "\0" in path or not os.path.isdir(path):
        yield path
        return
    empty = True
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                empty = False
                yield os.path.join(folder, name)
    if empty:
        findings.append(
            Finding(path, 0, "", "no *.yaml, *.yml or *.json file in this folder", "name another")
        )


def _read_one(file: str, stdin: str | None, findings: list[Finding]) -> str | None:
    name = STDIN if file == "-" else file
    try:
        if file != "-":
            with open(file, "rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
        elif stdin is not None:
            raw = stdin.encode(errors="surrogatepass")
        else:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        findings.append(
            Finding(
                name, 0, "", f"cannot be read: {reason}", "name a file, a folder, or - for standard input"
            )
        )
        return None
    if len(raw) > MAX_BYTES:
        findings.append(Finding(name, 0, "", f"larger than {MAX_BYTES >> 20} MiB", "split it"))
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        findings.append(Finding(name, line, "", "not UTF-8 text", "save it as UTF-8"))
        return None


def load(sources: Iterable[Source]) -> tuple[tuple[Manifest, ...], list[Finding]]:
    """The manifests in the texts, and what is wrong with those that are none. Never raises for bad text."""
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    for file, text in sources:
        roots, problems = compose(text, file)
        findings += problems
        if not roots and not problems:
            findings.append(Finding(file, 0, "", "no object in this file", severity=Severity.NOTE))
        for root in roots:
            for document in _objects(Field(root, "", file, findings)):
                manifest = _manifest(document)
                if manifest is not None:
                    manifests.append(manifest)
    return tuple(manifests), findings


def _objects(document: Field) -> Iterator[Field]:
    """The objects in a document: itself, or a List's items (typed lists' items may leave out their kind)."""
    if not isinstance(document.node, Mapping):
        document.error("a Kubernetes object must be a mapping", "name its apiVersion and kind")
        return
    kinds = [node for name, _, node in document.node.items if name == "kind"]
    kind = getattr(kinds[0], "value", None) if kinds else None
    if not isinstance(kind, str) or not kind.endswith("List") or document.present("items") is None:
        yield document
        return
    version = document.get("apiVersion")
    for item in document.list_of("items"):
        entry = item._replace(path="")
        if kind != "List" and version is not None and isinstance(item.node, Mapping):
            entry = entry._replace(node=_typed(item.node, kind.removesuffix("List"), version.node))
        if kind == "List":
            yield from _objects(entry)
        else:
            yield entry


def _typed(item: Mapping, kind: str, version: Node) -> Mapping:
    """A typed list's item with the kind and apiVersion that the list stands for."""
    named = {name for name, _, _ in item.items}
    kind_node = Scalar(version.line, kind)
    missing = [(n, item.line, v) for n, v in (("kind", kind_node), ("apiVersion", version)) if n not in named]
    return Mapping(item.line, item.items + tuple(missing))


def _manifest(document: Field) -> Manifest | None:
    kind = classify(document)
    if kind is None:
        return None
    assert isinstance(document.node, Mapping)  # classify has read its fields
    if kind.startswith(UNUSED):
        return Manifest(kind, "", "", document.file, document.line, Mapping(document.line))
    metadata = document.get("metadata")
    if metadata is None:
        document.error("metadata is missing", "give the object a name")
        return None
    name, namespace = _name(metadata, kind), _namespace(metadata, kind)
    if name is None or namespace is None:
        return None
    return Manifest(kind, namespace, name, document.file, document.line, document.node)


def _name(metadata: Field, kind: str) -> str | None:
    field = metadata.get("name")
    if field is None:
        generated = metadata.get("generateName") is not None
        hint = "generateName is not enough here" if generated else "add one, like name: web"
        metadata.error("metadata.name is missing", hint)
        return None
    name = field.text()
    if name is None:
        return None
    label = kind in ("Namespace", "Service")
    if not (is_dns_label(name) if label else is_dns_subdomain(name)):
        what = "63" if label else "253"
        dot = "" if label else " and ."
        message = f"a {kind}'s name has 1 to {what} of a-z, 0-9, -{dot}, and no - at an end"
        field.error(message, "like web or web-1")
        return None
    return name


def _namespace(metadata: Field, kind: str) -> str | None:
    field = metadata.get("namespace")
    if kind == "Namespace":
        if field is not None and field.text():
            field.warn("a Namespace is in no namespace; this is ignored")
        return ""
    namespace = (field.text() if field else "") or DEFAULT_NAMESPACE
    if field is not None and field.text() is None:
        return None
    if not is_dns_label(namespace):
        message = "a namespace's name has 1 to 63 of a-z, 0-9, -, and no - at an end"
        (field or metadata).error(message, "like shop or team-1")
        return None
    return namespace


def duplicates(manifests: Iterable[Manifest]) -> list[Finding]:
    """An error at each further place of an object that is there more than once."""
    manifests = tuple(manifests)
    if len(set(map(_KEY, manifests))) == len(manifests):
        return []
    first: dict[tuple[str, str, str], Manifest] = {}
    findings = []
    for manifest in manifests:
        if manifest.kind not in API_VERSIONS:
            continue
        earlier = first.setdefault(manifest.key, manifest)
        if earlier is not manifest:
            place = f"{earlier.file}:{earlier.line}"
            shown = f"{manifest.kind} {manifest.namespace}/{manifest.name}".replace(" /", " ")
            findings.append(
                Finding(
                    manifest.file,
                    manifest.line,
                    "metadata.name",
                    f"{shown} is here twice, also at {place}",
                    "keep one",
                )
            )
    return findings


def merge(old: Iterable[Manifest], new: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The old manifests with the new ones in place of those of the same key."""
    fresh = {manifest.key: manifest for manifest in new}
    names = {manifest.name for manifest in fresh.values()}
    merged = [fresh.pop(found.key, found) if found.name in names else found for found in old]
    return (*merged, *fresh.values())

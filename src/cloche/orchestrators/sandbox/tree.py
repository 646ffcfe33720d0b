"""YAML and JSON text as a small tree that knows the line of everything, built without recursion or surprise.

Parser events are used rather than constructed objects: every limit (depth, nodes, what aliases would
expand to) is checked as the text is read, so no text can exhaust the stack or the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from cloche.errors import Finding
from cloche.orchestrators.sandbox.scalars import resolve
from cloche.orchestrators.sandbox.slips import not_yaml

MAX_DEPTH = 200
MAX_NODES = 4_000_000
MAX_MISTAKES = 1000
"""How many findings one text may bring before its reading ends."""
MAX_ALIASED = 100_000
"""How many values, or times 64 characters, the aliases of one text may stand for."""


class Scalar(msgspec.Struct, frozen=True, tag=0, array_like=True):
    """A text, number, boolean or null, and the line (from 1) it begins on."""

    line: int
    value: str | int | float | bool | None


class Mapping(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """Named values in the order of the text: (name, line of the name, value). Names are unique."""

    line: int
    items: tuple[tuple[str, int, Scalar | Mapping | Sequence], ...] = ()


class Sequence(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """Values in order."""

    line: int
    items: tuple[Scalar | Mapping | Sequence, ...] = ()


Node = Scalar | Mapping | Sequence


class _RefusedError(Exception):
    """The text cannot be read beyond this line."""

    def __init__(self, line: int, message: str, hint: str) -> None:
        self.line, self.message, self.hint = line, message, hint
        super().__init__(message)


_TEXT_TAGS = frozenset(("!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:binary"))
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "timestamp"))
_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _line(event: Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 0


class _Frame:
    """A mapping or sequence that is still open."""

    __slots__ = ("anchor", "elements", "entries", "key", "line", "mapping", "merges", "weight")

    def __init__(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        self.mapping = isinstance(event, MappingStartEvent)
        self.anchor: str | None = event.anchor
        self.line: int = _line(event)
        self.elements: list[Node] = []
        self.entries: dict[str, tuple[str, int, Node]] = {}
        self.key: tuple[str, int, bool] | None = None
        self.merges: list[Mapping] = []
        self.weight = 1


class _Composer:
    """One text's events folded into trees; findings that need not stop the reading are kept aside."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._aliased = 0
        self._root: Node | None = None

    def documents(self, events: Iterator[Event]) -> Iterator[Node]:
        """Each document's root, empty documents left out. Raises _RefusedError and yaml.YAMLError."""
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self._anchors.clear()
                self._root = None
            elif isinstance(event, DocumentEndEvent):
                root = self._root
                if root is not None and not (isinstance(root, Scalar) and root.value is None):
                    yield root
            else:
                self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close()
        elif isinstance(event, AliasEvent):
            self._alias(event)

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        line = _line(event)
        if self._wants_key():
            raise _RefusedError(
                line,
                "a mapping or list cannot be a field name",
                "quote text that begins with a brace; render a template first",
            )
        if len(self._frames) >= MAX_DEPTH:
            raise _RefusedError(line, f"nested deeper than {MAX_DEPTH} levels", "no object of Kubernetes is")
        self._count(line)
        self._frames.append(_Frame(event))

    def _close(self) -> None:
        frame = self._frames.pop()
        node: Node
        if frame.mapping:
            for merged in frame.merges:
                for item in merged.items:
                    frame.entries.setdefault(item[0], item)
            node = Mapping(frame.line, tuple(frame.entries.values()))
        else:
            node = Sequence(frame.line, tuple(frame.elements))
        self._put(node, frame.weight, frame.anchor)

    def _scalar(self, event: ScalarEvent) -> None:
        line = _line(event)
        self._count(line)
        plain = bool(event.implicit[0]) and event.tag is None
        if self._wants_key():
            self._frames[-1].key = (event.value, line, plain)
            if event.anchor:
                self._anchors[event.anchor] = (Scalar(line, event.value), 1)
            return
        tag = event.tag
        if tag is not None and tag not in _TEXT_TAGS and tag not in _PLAIN_TAGS:
            self._say(line, f"the YAML tag {tag!r} is not supported", "write the value without it")
        value = resolve(event.value) if plain or tag in _PLAIN_TAGS else event.value
        self._put(Scalar(line, value), 1 + len(event.value) // 64, event.anchor)

    def _alias(self, event: NodeEvent) -> None:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise _RefusedError(
                line, f"the alias *{event.anchor} has no anchor before it", "quote text with a *"
            )
        node, weight = self._anchors[event.anchor]
        self._aliased += weight
        if self._aliased > MAX_ALIASED:
            raise _RefusedError(
                line, f"aliases stand for more than {MAX_ALIASED} values", "write the values out"
            )
        if not self._wants_key():
            self._put(node, weight, None)
        elif isinstance(node, Scalar) and isinstance(node.value, str):
            self._frames[-1].key = (node.value, line, False)
        else:
            raise _RefusedError(line, "only text can be a field name", "write the field's name itself")

    def _put(self, node: Node, weight: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (node, weight)
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        frame.weight += weight
        if not frame.mapping:
            frame.elements.append(node)
            return
        assert frame.key is not None  # a value follows its name: the parser's own grammar
        (name, line, plain), frame.key = frame.key, None
        if name == "<<" and plain:
            self._merge(frame, node)
        elif name in frame.entries:
            first = frame.entries[name][1]
            self._say(line, f"the field {name!r} is here twice (first on line {first})", "keep one of them")
        elif not (name in ("managedFields", "annotations") and self._in_metadata()):
            frame.entries[name] = (name, line, node)

    def _in_metadata(self) -> bool:
        """True inside ``metadata``, two of whose fields are long and never used."""
        if len(self._frames) < 2:
            return False
        key = self._frames[-2].key
        return key is not None and key[0] == "metadata"

    def _merge(self, frame: _Frame, node: Node) -> None:
        parts = node.items if isinstance(node, Sequence) else (node,)
        for part in parts:
            if isinstance(part, Mapping):
                frame.merges.append(part)
            else:
                self._say(part.line, "<< merges mappings only", "name an anchor of a mapping")

    def _wants_key(self) -> bool:
        return bool(self._frames) and self._frames[-1].mapping and self._frames[-1].key is None

    def _count(self, line: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _RefusedError(line, f"more than {MAX_NODES} values in one text", "split the input")

    def _say(self, line: int, message: str, hint: str) -> None:
        self.findings.append(Finding(self.file, line, "", message, hint))
        if len(self.findings) > MAX_MISTAKES:
            message = f"more than {MAX_MISTAKES} mistakes in one text; reading ends here"
            raise _RefusedError(line, message, "put the first ones right")


def compose(text: str, file: str) -> tuple[list[Node], list[Finding]]:
    """Every document of the text, and what is wrong with it (errors only); never raises for bad text."""
    if text.lstrip()[:1] in ("{", "["):
        text = _SURROGATES.sub(_join_surrogates, text)
    composer = _Composer(file)
    roots: list[Node] = []
    findings = composer.findings
    try:
        for root in composer.documents(yaml.parse(text, Loader=yaml.CSafeLoader)):
            roots.append(root)
    except _RefusedError as refusal:
        findings.append(Finding(file, refusal.line, "", refusal.message, refusal.hint))
    except yaml.MarkedYAMLError as error:
        findings.append(not_yaml(error, text, file))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(0, int(error.position))) + 1
        findings.append(Finding(file, line, "", f"not YAML: {error.reason}", "remove the character"))
    except UnicodeEncodeError as error:
        findings.append(
            Finding(
                file,
                text.count("\n", 0, error.start) + 1,
                "",
                "not YAML: a lone surrogate",
                "save it as UTF-8",
            )
        )
    return roots, findings


def _join_surrogates(match: re.Match[str]) -> str:
    """JSON writes characters beyond 16 bits as two escapes, which YAML does not know."""
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"

"""A cursor over a manifest's tree: typed reading of fields that reports what is wrong, with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from cloche.errors import Finding, Severity
from cloche.model.topology import Origin
from cloche.orchestrators.sandbox.tree import Mapping, Node, Scalar, Sequence

AS_MAPPING = "write its fields below it, indented, as in name: value"
AS_LIST = "begin each entry with a dash"
_SIMPLE = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)


class Field(NamedTuple):
    """A value, its dotted path in its object, its file, and where findings about it go."""

    node: Node
    path: str
    file: str
    findings: list[Finding]

    @property
    def line(self) -> int:
        """The line the value begins on."""
        return self.node.line

    @property
    def origin(self) -> Origin:
        """The value's place."""
        return Origin(self.file, self.node.line)

    def error(self, message: str, hint: str, *, line: int = 0) -> None:
        """Say why the input is refused, and what to do about it."""
        self.findings.append(Finding(self.file, line or self.line, self.path, message, hint))

    def warn(self, message: str, hint: str = "") -> None:
        """Say what is likely a mistake."""
        self.findings.append(
            Finding(self.file, self.line, self.path, message, hint, severity=Severity.WARNING)
        )

    def note(self, message: str, hint: str = "") -> None:
        """Say what is worth knowing."""
        self.findings.append(Finding(self.file, self.line, self.path, message, hint, severity=Severity.NOTE))

    def at(self, name: str) -> str:
        """The path of a field inside this one."""
        if not self.path:
            return name
        return f"{self.path}.{name}" if _SIMPLE.match(name) else f"{self.path}[{name}]"

    def entries(self) -> Iterator[tuple[str, Field]]:
        """The fields of a mapping, nulls included; anything else is an error and has none."""
        if not isinstance(self.node, Mapping):
            self.error(f"must be a mapping, not {describe(self.node)}", AS_MAPPING)
            return
        for name, _, node in self.node.items:
            yield name, Field(node, self.at(name), self.file, self.findings)

    def get(self, name: str) -> Field | None:
        """The field of that name; None where it is absent or null, which the API takes as the same."""
        found = self.present(name)
        if found is None or (isinstance(found.node, Scalar) and found.node.value is None):
            return None
        return found

    def required(self, name: str, hint: str = "") -> Field | None:
        """The field of that name; an error where it is absent or null."""
        found = self.get(name)
        if found is None and isinstance(self.node, Mapping):
            self.error(f"{name} is missing", hint or f"add {name}")
        return found

    def present(self, name: str) -> Field | None:
        """The field of that name, null included."""
        if not isinstance(self.node, Mapping):
            self.error(f"must be a mapping, not {describe(self.node)}", AS_MAPPING)
            return None
        for key, _, node in self.node.items:
            if key == name:
                return Field(node, self.at(name), self.file, self.findings)
        return None

    def strict(self, known: Collection[str]) -> bool:
        """Report fields that the API does not have; False when there is one or this is no mapping."""
        if not isinstance(self.node, Mapping):
            self.error(f"must be a mapping, not {describe(self.node)}", AS_MAPPING)
            return False
        fine = True
        for name, line, node in self.node.items:
            if name not in known:
                field = Field(node, self.at(name), self.file, self.findings)
                field.error(f"unknown field {name!r}", did_you_mean(name, known), line=line)
                fine = False
        return fine

    def elements(self) -> Iterator[Field]:
        """The values of a list; anything else, and a null among them, is an error."""
        if not isinstance(self.node, Sequence):
            self.error(f"must be a list, not {describe(self.node)}", AS_LIST)
            return
        for index, node in enumerate(self.node.items):
            field = Field(node, f"{self.path}[{index}]", self.file, self.findings)
            if isinstance(node, Scalar) and node.value is None:
                field.error("an empty list entry", "remove the dash, or write {} for an empty one")
            else:
                yield field

    def text(self) -> str | None:
        """The value as text; a number or boolean is an error, as it is to the API."""
        if isinstance(self.node, Scalar) and isinstance(self.node.value, str):
            return self.node.value
        quotes = isinstance(self.node, Scalar) and self.node.value is not None
        hint = "write it in quotes" if quotes else "write one text, as in name: web"
        self.error(f"must be text, not {describe(self.node)}", hint)
        return None

    def integer(self, low: int, high: int, hint: str = "") -> int | None:
        """The value as an integer of low..high; text is an error, as it is to the API. ``hint`` is for a
        number that is out of bounds."""
        value = self.node.value if isinstance(self.node, Scalar) else None
        if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.error(*_no_integer(self.node))
            return None
        if not low <= value <= high:
            self.error(f"must be {low} to {high}, not {value}", hint or "write a number within these bounds")
            return None
        return value

    def boolean(self) -> bool | None:
        """The value as true or false."""
        if isinstance(self.node, Scalar) and isinstance(self.node.value, bool):
            return self.node.value
        self.error(f"must be true or false, not {describe(self.node)}", "write true or false, without quotes")
        return None

    def text_of(self, name: str) -> str:
        """The text of the field of that name; empty where it is absent."""
        field = self.get(name)
        return (field.text() or "") if field else ""

    def flag(self, name: str) -> bool:
        """The boolean of the field of that name; false where it is absent."""
        field = self.get(name)
        return bool(field and field.boolean())

    def list_of(self, name: str) -> Iterator[Field]:
        """The entries of the list of that name; none where it is absent."""
        field = self.get(name)
        return field.elements() if field else iter(())


def _no_integer(node: Node) -> tuple[str, str]:
    """Why a value is no integer, and what to write instead."""
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, float):
        return f"must be a whole number, not {value}", "write it without a fraction"
    quoted = isinstance(value, str) and value.isdecimal()
    return f"must be a number, not {describe(node)}", "remove the quotes" if quoted else "write it in digits"


def describe(node: Node) -> str:
    """A value in a few words, for messages."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool() as value):
            return "true" if value else "false"
        case Scalar(value=str() as value):
            return f"the text {shorten(value)!r}"
        case Scalar(value=value):
            return f"the number {value}"


def shorten(text: str) -> str:
    """The text, cut where it would flood a message."""
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint that names the nearest of the known words, or lists them when none is near."""
    nearest = nearest_of(word, known)
    if nearest:
        return f"did you mean {nearest!r}?"
    return "known here: " + ", ".join(sorted(known))


def nearest_of(word: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """The known word most like this one; None when none is as alike as ``cutoff`` (0 to 1)."""
    lowered = {name.lower(): name for name in sorted(known)}
    found = difflib.get_close_matches(shorten(word).lower(), lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None

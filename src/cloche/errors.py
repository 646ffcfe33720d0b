"""The errors Cloche raises on purpose: each says where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Severity(StrEnum):
    """How bad a finding is; ``ERROR`` means that the input is refused."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing said about the input: ``file:line``, the field (a dotted path), what, and a hint."""

    file: str
    line: int
    field: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}:{field} {self.message}{hint}"


class ClocheError(Exception):
    """The root of all errors raised on purpose; ``status`` is the exit status of the command line."""

    status = 2


class InputError(ClocheError):
    """Bad input: nothing was changed. Holds every finding, worst first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


class Cost(NamedTuple):
    """What one policy or service takes of that which ran out; ``place``: ``file:line``, where it is known."""

    name: str
    amount: int
    place: str = ""


TOO_BIG = {
    "classes": ("classes", "tell fewer peers apart: fewer or wider blocks, fewer selectors"),
    "sets": ("sets", "select pods by labels that many share, so that their rules are the same"),
    "cells": ("rows", "use fewer distinct combinations of selectors, blocks and ports"),
    "atoms": ("port ranges", "use fewer distinct ports, or ranges"),
    "counters": ("rules", "use fewer rules, or select pods by labels that many share"),
    "prefixes": ("blocks", "use fewer or wider blocks"),
    "networks": ("", "number networks from 1 on"),
    "services": ("addresses and ports", "use fewer services, or fewer ports"),
    "backends": ("backends", "use fewer services, ports or pods behind them"),
    "endpoints": ("", "run fewer pods: ask for fewer replicas"),
    "addresses": ("", "run fewer pods, or use fewer blocks of one address"),
}
"""What costs are counted in, and what to do, by what ran out."""


class TooBigError(ClocheError):
    """A generation that does not fit its maps: refused before anything was written.

    ``note``: what holds instead, where something does.
    """

    note = ""

    def __init__(
        self, what: str, needed: int, capacity: int, costs: Sequence[tuple[str, int] | Cost] = ()
    ) -> None:
        self.what, self.needed, self.capacity = what, needed, capacity
        self.costs = tuple(Cost(*cost) for cost in costs)
        unit, self.hint = TOO_BIG.get(what, ("", "run fewer pods"))
        worst = ", ".join(
            f"{cost.name} ({cost.amount} {unit}{f', {cost.place}' if cost.place else ''})"
            for cost in self.costs[:5]
        )
        self.summary = f"{what}: {needed} needed, {capacity} fit" + (f"; costliest: {worst}" if worst else "")
        super().__init__(f"{self.summary} ({self.hint})")

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.note}" if self.note else super().__str__()


class MachineError(ClocheError):
    """This machine cannot do it (no root, no BTF...): says which feature, since which kernel."""


class NotRunningError(ClocheError):
    """Nothing is running under that instance name. ``hint``: what to do, when it is not to start one."""

    status = 3

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)

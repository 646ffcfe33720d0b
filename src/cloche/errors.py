"""The errors Cloche raises on purpose: each says where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

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


class TooBigError(ClocheError):
    """A generation that does not fit its maps: refused before anything was written.

    ``note``: what holds instead, where something does.
    """

    note = ""

    def __init__(self, what: str, needed: int, capacity: int, costs: Sequence[tuple[str, int]]) -> None:
        self.what, self.needed, self.capacity, self.costs = what, needed, capacity, tuple(costs)
        worst = ", ".join(f"{name} ({cost})" for name, cost in self.costs[:5])
        super().__init__(f"{what}: {needed} needed, {capacity} fit; costliest policies: {worst or 'none'}")

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.note}" if self.note else super().__str__()


class MachineError(ClocheError):
    """This machine cannot do it (no root, no BTF...): says which feature, since which kernel."""


class NotRunningError(ClocheError):
    """Nothing is running under that instance name."""

    status = 3

"""What the worker says of a change."""

from __future__ import annotations

from cloche.agent.proposing import unheard
from cloche.errors import Finding, Severity


def note(line: int, message: str = "ConfigMap objects are not used") -> Finding:
    return Finding("a.yaml", line, "kind", message, "", Severity.NOTE)


def test_only_what_is_new_with_a_change_is_said() -> None:
    """What was said of the world before is not repeated, on another line either; what there is more of is."""
    before = [note(1), note(5, "two alike"), note(9, "gone")]
    now = [note(3), note(5, "two alike"), note(7, "two alike"), note(8, "new")]
    assert list(unheard(now, before)) == [note(7, "two alike"), note(8, "new")]
    assert list(unheard(now, ())) == now

"""Writes docs/cli.md from the command line itself. ``--check`` only says whether the page is stale."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from cloche.cli.main import app
from generated import ROOT, write_or_check

PAGE = ROOT / "docs/cli.md"
HEAD = """# Command line

Generated from the command line by `tools/cli_reference.py`; do not edit.

A pod is written `namespace/name`, a port `80/tcp`, an ICMP type `8/icmp`, a named port `http/tcp`. `-f PATH`
names the world: with it a question is answered offline about these manifests, without it by what is running.
`--json` answers are described in [json.md](json.md).

| Status | Means |
|---|---|
| 0 | fine; lists always |
| 1 | denied, different, queued behind a roll-back, or findings at or above `--fail-on` |
| 2 | bad input, or this machine cannot do it; nothing was changed |
| 3 | nothing is running under that instance's name |
"""


def page() -> str:
    """The page as it should be now."""
    os.environ.pop("CLOCHE_INSTANCE", None)
    group: Any = typer.main.get_command(app)
    parts = [HEAD]
    for name, command in group.commands.items():
        parts.append("\n".join(section(group, name, command)))
    return "\n".join(parts)


def section(group: Any, name: str, command: Any) -> Iterator[str]:
    """One command: usage, what it does, its example, its arguments and options."""
    parent = group.context_class(group, info_name="cloche")
    context = command.context_class(command, info_name=name, parent=parent)
    yield f"## {name}\n"
    usage = " ".join(["cloche", name, *command.collect_usage_pieces(context)])
    yield f"    {usage}\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield paragraph_text(" ".join(paragraph.split())) + "\n"
    records = [param.get_help_record(context) for param in command.get_params(context)]
    yield "| | |\n|---|---|"
    for left, right in filter(None, records):
        yield f"| `{left}` | {described(right)} |"
    yield ""


def described(text: str) -> str:
    """What an option does, on one line, its default in round brackets."""
    plain = re.sub(r"default: \(([^)]*)\)", r"default: \1", " ".join(text.split()))
    return plain.replace("[", "(").replace("]", ")")


def paragraph_text(text: str) -> str:
    """A paragraph, wrapped; an example as code."""
    example = text.removeprefix("Example: ")
    return textwrap.fill(text, 110) if example == text else f"Example:\n\n    {example}"


def main() -> int:
    """Write the page, or with ``--check`` say whether it is stale."""
    return write_or_check(PAGE, page())


if __name__ == "__main__":
    raise SystemExit(main())

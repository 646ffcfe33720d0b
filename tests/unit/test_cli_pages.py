"""The pages do not rot: what they tell one to type exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from cloche.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.[my]*")})
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMAND = re.compile(r"(?:^ {2,}|^# +|`|&& |\. |<\()cloche ([a-z]+)([^`\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")


class Told(NamedTuple):
    """A command that a page tells one to type."""

    page: str
    verb: str
    rest: str


def told() -> Iterator[Told]:
    """Every command on every page, without what a shell would take for a comment."""
    for page in PAGES:
        for verb, rest in COMMAND.findall(page.read_text()):
            yield Told(str(page.relative_to(ROOT)), verb, rest.partition(" #")[0])


def test_pages_tell_of_enough_commands() -> None:
    """The search finds what is on the pages, so that the tests below mean something."""
    found = list(told())
    assert len(found) > 30
    assert {"README.md", "docs/quickstart.md"} <= {one.page for one in found}


@pytest.mark.parametrize("one", list(told()), ids=lambda one: f"{one.page} {one.verb}")
def test_commands_on_pages_exist(one: Told) -> None:
    """Verb and options are the command line's, and files that are named are there."""
    assert one.verb in COMMANDS
    options = {name for param in COMMANDS[one.verb].params for name in param.opts} | {"--help"}
    own = one.rest.partition(" -- ")[0]
    assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", own)) <= options
    for path in re.findall(r"examples/[\w./-]*\w", own):
        assert (ROOT / path).exists()


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link between the pages has a target."""
    targets = [page.parent / target for target in LINK.findall(page.read_text())]
    assert [target for target in targets if not target.exists()] == []

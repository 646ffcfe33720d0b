"""The only place that prints: people get tables and colours, programs get JSON, errors go to standard error.

Colour is off when the output is not a terminal or ``NO_COLOR`` is set; nothing is cut off in a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from cloche.errors import ClocheError, Finding, InputError, NotRunningError, Severity

JSON_VERSION = 1
"""Grows when a JSON answer changes so that a program that read it before no longer can."""

PIPE_WIDTH = 400
"""Columns when nobody's terminal says otherwise: wide enough that no table is cut."""
START = "start one with: cloche up -f PATH --detach; ask about manifests with -f PATH"
WHOLE_NAME = 32
"""Up to this width what a row is about stays on one line, so that it can be read and copied."""
UNBOUNDED = 100_000
"""Columns that nothing is wider than."""
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}

allow_style, deny_style, difference_style, dim = "green", "red", "bold white on red", "dim"


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def show(*parts: RenderableType) -> None:
    """Print for people, on standard output."""
    console = _console(stderr=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str | Text))


def aside(text: str, style: str = "") -> None:
    """Say something that is no answer: on standard error, so that a pipe sees only answers."""
    _console(stderr=True).print(Text(text, style=style), soft_wrap=True)


def answer_json(**parts: object) -> None:
    """Print one JSON object, whole, on a line of its own: ``version`` of its shape, and the parts."""
    sys.stdout.write(msgspec.json.encode({"version": JSON_VERSION, **parts}).decode() + "\n")
    sys.stdout.flush()


def answer_json_whole(value: object) -> None:
    """Print a value that has its ``version`` itself as one JSON object on a line of its own."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def mute() -> None:
    """Nobody reads any more: let what is still buffered go nowhere, without a complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def raw(text: str) -> None:
    """Print a text as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def failure(error: ClocheError) -> None:
    """Say on standard error what went wrong and what to do about it."""
    if isinstance(error, InputError):
        for finding in error.findings:
            _console(stderr=True).print(finding_text(finding), soft_wrap=True)
        return
    aside(f"error: {error}", "bold red")
    if isinstance(error, NotRunningError):
        aside(error.hint or START, dim)


def finding_text(finding: Finding) -> Text:
    """A finding in one line: where, how bad, which field, what, and the hint."""
    text = Text()
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    if place:
        text.append(f"{place}: ", "bold")
    text.append(f"{finding.severity}: ", STYLES[finding.severity])
    if finding.field:
        text.append(f"{finding.field}: ")
    text.append(finding.message)
    if finding.hint:
        text.append(f" ({finding.hint})", dim)
    return text


def findings(found: Iterable[Finding]) -> None:
    """Print findings as they are, on standard error."""
    for finding in found:
        _console(stderr=True).print(finding_text(finding), soft_wrap=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None) -> Table:
    """A plain table: headers, rows, no frame. What is too wide goes on in the next line, nothing is cut."""
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    columns = [Column(header, overflow="fold") for header in headers]
    columns[0].no_wrap = max((row[0].cell_len for row in cells), default=0) <= WHOLE_NAME
    made = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in cells:
        made.add_row(*row)
    return made


class Fitting:
    """One thing to print where it fits into the width there is, and another where it does not."""

    def __init__(self, wide: RenderableType, narrow: RenderableType) -> None:
        self._wide, self._narrow = wide, narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        wanted = Measurement.get(console, options.update_width(UNBOUNDED), self._wide).maximum
        yield self._wide if wanted <= options.max_width else self._narrow


def verdict_text(verdict: str) -> Text:
    """A verdict in its colour."""
    return Text(verdict, {"allow": allow_style, "deny": deny_style}.get(verdict, dim))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something is being done whose length is not known."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(what)):
        yield


def is_watched() -> bool:
    """True when standard error is a terminal: only there are bars drawn."""
    return _console(stderr=True).is_terminal


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def steps(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal for steps of several kinds; what is yielded is told of what is being done (empty:
    ``what``), how many steps are done, and of how many (0: that is not known)."""
    with _bar(_console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def show(now: str, done: int, total: int) -> None:
            bar.update(task, description=now or what, completed=done, total=total or None)

        yield show


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; what is yielded is called with the number of steps just done."""
    with _bar(_console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)

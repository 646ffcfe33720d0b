"""The matrix for people: a grid while it is small enough to be seen at once, else a list by destination."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from cloche.analysis import Matrix, Pair
from cloche.cli import render
from cloche.cli.live import differs

MOST_COLUMNS = 14
"""Destinations and ports beyond which a grid is no help."""

Column = tuple[str, str]
"""Destination and port."""


def draw(matrix: Matrix) -> RenderableType:
    """The matrix, sources down, destinations and ports across; or a list where that is too wide."""
    columns = list(dict.fromkeys((pair.destination, pair.port) for pair in matrix.pairs))
    columns.sort(key=lambda column: column[0])
    if len(columns) > MOST_COLUMNS:
        return listing(matrix, columns)
    return render.Fitting(grid(matrix, columns), listing(matrix, columns))


def grid(matrix: Matrix, columns: Sequence[Column]) -> RenderableType:
    """One row for each source."""
    cells: dict[str, dict[Column, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in matrix.pairs:
        cells[pair.source][pair.destination, pair.port].append(pair)
    headers = ["FROM \\ TO", *(f"{destination}\n{port}" for destination, port in columns)]
    rows = [
        [Text(source), *(cell(row[column]) if column in row else Text(".", render.dim) for column in columns)]
        for source, row in cells.items()
    ]
    return render.table(headers, rows)


def cell(pairs: Sequence[Pair]) -> Text:
    """What policy says, and what packets did where that is something else."""
    parts = []
    for pair in pairs:
        text = Text(f"{pair.family.removeprefix('ip')} " if pair.family else "")
        text.append_text(verdict(pair))
        parts.append(text)
    return Text("\n").join(parts)


def verdict(pair: Pair) -> Text:
    """One verdict; a service's whole verdict tells how many of its backends it is not for."""
    if differs(pair):
        return Text(f"{pair.verdict}, but live {pair.live}", render.difference_style)
    text = render.verdict_text(pair.verdict)
    if pair.assumed:
        text.append("*", "yellow")
    if len({backend.verdict for backend in pair.backends}) > 1:
        allowed = sum(len(b.backends) for b in pair.backends if b.verdict == "allow")
        text.append(f" ({allowed} of {sum(len(b.backends) for b in pair.backends)} backends allow)", "yellow")
    return text


def listing(matrix: Matrix, columns: Sequence[Column]) -> RenderableType:
    """One row for each destination and port: who is allowed, who is denied, and every difference."""
    by_column: dict[Column, list[Pair]] = defaultdict(list)
    for pair in matrix.pairs:
        by_column[pair.destination, pair.port].append(pair)
    headers = ["TO", "PORT", "ALLOWED FROM", "DENIED FROM"]
    probed = any(pair.live is not None for pair in matrix.pairs)
    rows = []
    for column in columns:
        pairs = by_column[column]
        row = [
            *map(Text, column),
            Text(sources(pairs, "allow"), render.allow_style),
            Text(sources(pairs, "deny"), render.deny_style),
        ]
        live = Text(names(p for p in pairs if differs(p)), render.difference_style)
        rows.append([*row, live] if probed else row)
    return render.table([*headers, "LIVE DIFFERS"] if probed else headers, rows)


def sources(pairs: Sequence[Pair], wanted: str) -> str:
    """The sources with this verdict, in few words when it is all of them."""
    found = [pair for pair in pairs if pair.verdict == wanted]
    return f"all {len(found)}" if len(found) == len(pairs) > 1 else names(found)


def names(pairs: Iterable[Pair]) -> str:
    """Sources by name, with the family where only one is meant."""
    return ", ".join(
        f"{pair.source}{f' ({pair.family})' if pair.family else ''}{'*' if pair.assumed else ''}"
        for pair in pairs
    )

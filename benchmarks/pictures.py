"""Pictures of runs as SVG: bars with their intervals, and bars of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.figures import Figure

BAR, GAP, LEFT, SCALE, RIGHT = 18, 5, 190, 420, 120
LONGEST = 1.12
"""Where an interval is cut off, so that the numbers have a column of their own behind it."""

OURS, OTHERS, GOAL = "#1a73e8", "#9aa0a6", "#d93025"


class Bar(NamedTuple):
    """One figure, by name; ``ours`` in our colour."""

    name: str
    found: Figure
    ours: bool


class Parts(NamedTuple):
    """One bar of parts, from left to right, each of a length with its colour; ``words`` stand behind it."""

    name: str
    parts: Sequence[tuple[float, str]]
    words: str


def _svg(rows: Sequence[str], height: float) -> str:
    """A whole picture on a white ground."""
    width = LEFT + SCALE + RIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    )
    return (
        "\n".join((head, f'<rect width="{width}" height="{height}" fill="white"/>', *rows, "</svg>")) + "\n"
    )


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Words from ``x`` on, on the line ``y``."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escaped}</text>'


def _bar(bar: Bar, at: float) -> list[str]:
    of = (bar.found.low, bar.found.median, bar.found.high)
    low, middle, high = (LEFT + SCALE * min(value, LONGEST) for value in of)
    centre = at + BAR / 2
    ticks = [f"M{x:.1f} {centre - 4}V{centre + 4}" for x in (low, high)]
    return [
        text(20, at + 13, bar.name),
        f'<rect x="{LEFT}" y="{at}" width="{middle - LEFT:.1f}" height="{BAR}" '
        f'fill="{OURS if bar.ours else OTHERS}"/>',
        f'<path d="M{low:.1f} {centre}H{high:.1f}{"".join(ticks)}" stroke="black" stroke-width="1.5"/>',
        text(LEFT + SCALE * LONGEST + 8, at + 13, f"{bar.found.median:.3f}"),
    ]


def bars(groups: Sequence[tuple[str, Sequence[Bar]]], goal: float) -> str:
    """Groups of bars with their intervals, numbers of about 1, and a line at the goal."""
    rows, at = [], 28.0
    for title, members in groups:
        rows.append(text(10, at + 12, title, ' font-weight="bold"'))
        at += BAR + GAP
        for bar in members:
            rows += _bar(bar, at)
            at += BAR + GAP
        at += 2 * GAP
    x = LEFT + SCALE * goal
    rows.append(f'<path d="M{x:.1f} 20V{at}" stroke="{GOAL}" stroke-dasharray="4 3"/>')
    rows.append(text(x, 14, f"goal {goal}", f' fill="{GOAL}" text-anchor="middle"'))
    return _svg(rows, at)


def stacked(bars_of: Sequence[Parts], legend: Sequence[tuple[str, str]]) -> str:
    """Bars of parts, each scaled to its own first part, with a legend of colours."""
    rows, x = [], float(LEFT)
    for words, colour in legend:
        rows.append(f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>')
        rows.append(text(x + 17, 18, words))
        x += 40 + 6.5 * len(words)
    at = 34.0
    longest = max(sum(length for length, _ in bar.parts) / bar.parts[0][0] for bar in bars_of)
    for bar in bars_of:
        unit, x = SCALE / longest / bar.parts[0][0], float(LEFT)
        rows.append(text(20, at + 13, bar.name))
        for length, colour in bar.parts:
            rows.append(
                f'<rect x="{x:.1f}" y="{at}" width="{length * unit:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            x += length * unit
        rows.append(text(x + 6, at + 13, bar.words))
        at += BAR + GAP
    return _svg(rows, at + GAP)

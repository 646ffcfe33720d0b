"""Draws docs/architecture.svg: the import contract's layers above, the object's programs and maps below.

Everything in it is read from pyproject.toml, the packages' docstrings and bpf/. ``--check`` only says whether
the drawing is stale. The same sources always give the same bytes.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from typing import NamedTuple
from xml.sax.saxutils import escape

from generated import ROOT, write_or_check

DRAWING = ROOT / "docs/architecture.svg"
WIDTH, MARGIN, GAP, LINE = 1120, 24, 12, 15
CHARACTER = 6.1
"""Pixels that a character of a caption takes."""
COLOURS = {"layer": "#e8f0fe", "program": "#fde7c8", "map": "#e6f4ea"}
DEFINE = re.compile(r"^#define(?:.*\\\n)*.*\n", re.MULTILINE)
MACRO = re.compile(r"^(ARRAY|KEYED)_MAP\((\w+), (?:BPF_MAP_TYPE_(\w+), )?", re.MULTILINE)
STRUCT = re.compile(r"__uint\(type, BPF_MAP_TYPE_(\w+)\);[^}]*\} (\w+) SEC\(\"\.maps\"\)")
PROGRAM = re.compile(r"SEC\(\"tc[^\"]*\"\)\s*int (\w+)\(")
PLACE = re.compile(r"^\| `(\w+)` \| ([^|]+?) \|", re.MULTILINE)


class Box(NamedTuple):
    """A named thing with a caption."""

    name: str
    caption: str
    kind: str


def layers() -> list[list[Box]]:
    """The layers of the first import contract, top to bottom, each with its neighbours."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    return [
        [package(name.strip(" ()")) for name in layer.split("|")]
        for layer in contract["layers"]
        if layer.isalpha() or "|" in layer
    ]


def package(name: str) -> Box:
    """A package or module with the first sentence of its docstring."""
    folder = ROOT / "src/cloche" / name
    source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = (ast.get_docstring(ast.parse(source.read_text())) or "") if source.exists() else ""
    return Box(name, sentence(text), "layer")


def sentence(text: str) -> str:
    """The first sentence, without the dot."""
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"\.(?:\s|$)", first)[0]


def programs() -> list[Box]:
    """The programs of the object, with where docs/design/packets.md says that each sits."""
    places = dict(PLACE.findall((ROOT / "docs/design/packets.md").read_text()))
    found = PROGRAM.findall((ROOT / "bpf/cloche.bpf.c").read_text())
    return [Box(name, places[name].replace("`", ""), "program") for name in found]


def maps() -> list[Box]:
    """The maps of the object, with their kind."""
    source = DEFINE.sub("", (ROOT / "bpf/maps.h").read_text())
    found = [(m.start(), m[2], m[3] or "ARRAY") for m in MACRO.finditer(source)]
    found += [(m.start(), m[2], m[1]) for m in STRUCT.finditer(source)]
    return [Box(name, kind.lower().replace("_", " "), "map") for _, name, kind in sorted(found)]


class Canvas:
    """An SVG drawing that grows downwards."""

    def __init__(self) -> None:
        self.y = MARGIN
        self._parts: list[str] = []

    def heading(self, text: str, note: str = "") -> None:
        """A line of larger text, with a note after it."""
        self.y += 18
        span = f'<tspan class="n" dx="10">{escape(note)}</tspan>' if note else ""
        self._parts.append(f'<text x="{MARGIN}" y="{self.y}" class="h">{escape(text)}{span}</text>')
        self.y += GAP

    def row(self, boxes: list[Box]) -> None:
        """Boxes side by side, as wide as there is room, as high as the longest caption needs."""
        width = (WIDTH - 2 * MARGIN - GAP * (len(boxes) - 1)) / len(boxes)
        captions = [textwrap.wrap(box.caption, max(8, int((width - 20) / CHARACTER))) for box in boxes]
        height = 30 + LINE * max(map(len, captions))
        for index, (box, lines) in enumerate(zip(boxes, captions, strict=True)):
            self._box(MARGIN + index * (width + GAP), width, height, (box, lines))
        self.y += height + GAP

    def _box(self, x: float, width: float, height: float, content: tuple[Box, list[str]]) -> None:
        box, lines = content
        self._parts.append(
            f'<rect x="{x:.1f}" y="{self.y}" width="{width:.1f}" height="{height}" rx="6" '
            f'fill="{COLOURS[box.kind]}" stroke="#5f6368"/>'
        )
        self._parts.append(f'<text x="{x + 10:.1f}" y="{self.y + 19}" class="b">{escape(box.name)}</text>')
        for index, line in enumerate(lines):
            y = self.y + 36 + LINE * index
            self._parts.append(f'<text x="{x + 10:.1f}" y="{y}" class="c">{escape(line)}</text>')

    def svg(self) -> str:
        """The whole drawing."""
        style = (
            "text{font-family:sans-serif;fill:#202124}.h{font-size:16px;font-weight:bold}"
            ".n{font-size:12px;font-weight:normal}.b{font-size:13px;font-weight:bold}.c{font-size:11px}"
        )
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.y + MARGIN}">'
        background = f'<rect width="{WIDTH}" height="{self.y + MARGIN}" fill="#ffffff"/>'
        return "\n".join([head, f"<style>{style}</style>", background, *self._parts, "</svg>"]) + "\n"


def draw() -> str:
    """The drawing as it should be now."""
    canvas = Canvas()
    canvas.heading("User space", "a layer imports what is below it, never what is beside or above it")
    for layer in layers():
        canvas.row(layer)
    canvas.heading("Kernel: programs", "on TCX hooks; attached, pinned and replaced by the datapath")
    canvas.row(programs())
    canvas.heading("Kernel: maps", "pinned; the datapath writes tables, the programs write flows and events")
    found = maps()
    for start in range(0, len(found), 7):
        canvas.row(found[start : start + 7])
    return canvas.svg()


def main() -> int:
    """Write the drawing, or with ``--check`` say whether it is stale."""
    return write_or_check(DRAWING, draw())


if __name__ == "__main__":
    raise SystemExit(main())

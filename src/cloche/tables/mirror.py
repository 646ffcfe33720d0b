"""Writes taken into ``Tables``: what the maps hold after each one, without a kernel."""

from __future__ import annotations

from array import array
from typing import cast

from cloche.tables.schema import Flip, Put, Remove, Tables, Versioned, Write


def apply_write(tables: Tables, write: Write) -> None:
    """Change ``tables`` as one write changes the maps. A grace period changes nothing."""
    match write:
        case Put("heads"):
            pass
        case Put("cells", key, value):
            _put_cells(tables, cast(tuple[int, int], key), cast(tuple[int, ...], value))
        case Put("atoms", key, value):
            first, last = cast(tuple[int, int], key)
            word = cast(Versioned, value).pack()
            tables.atoms[first : last + 1] = array("Q", [word]) * (last - first + 1)
        case Put(name, key, value):
            getattr(tables, name)[key] = value
        case Remove(name, key):
            getattr(tables, name).pop(key, None)
        case Flip(generation):
            tables.generation = generation


def _put_cells(tables: Tables, key: tuple[int, int], cells: tuple[int, ...]) -> None:
    row, first = key
    held = tables.cells.setdefault(row, [])
    held.extend([0] * (first + len(cells) - len(held)))
    held[first : first + len(cells)] = cells

"""Runs kept as JSON in benchmarks/results/, one file each, named by their kind and time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from rich.console import Console

RESULTS = Path(__file__).resolve().parent / "results"
T = TypeVar("T")


class Run(Protocol):
    """A run's results, encodable; ``time`` is its end, ISO 8601 in UTC."""

    @property
    def time(self) -> str:
        """When it ended."""


def save(kind: str, made: Run, folder: Path = RESULTS) -> Path:
    """Write a run as JSON and return where. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{made.time[:19].replace(':', '').replace('-', '')}Z.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    return path


def save_and_say(kind: str, made: Run, console: Console) -> None:
    """Write a run as JSON and print where it is. Raises OSError."""
    console.print(f"kept in {os.path.relpath(save(kind, made))}", highlight=False)


def last(kind: str, folder: Path = RESULTS) -> Path:
    """The newest saved run of a kind. Raises IndexError when there is none."""
    return sorted(folder.glob(f"{kind}-*.json"))[-1]


def load(kind: str, of: type[T], folder: Path = RESULTS) -> tuple[T, str]:
    """The newest run, and the name of its file. Raises msgspec.ValidationError when it has another shape."""
    path = last(kind, folder)
    return msgspec.json.decode(path.read_bytes(), type=of), path.name

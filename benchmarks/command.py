"""What the parts of ``make bench`` have in common as commands: options, who may run them, what is kept."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from benchmarks import kept
from cloche.errors import ClocheError

R = TypeVar("R", bound=kept.Run)


def parser(kind: str, about: str | None, quick: str) -> argparse.ArgumentParser:
    """The options that all have; ``quick``: what a quick run is."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{kind}", description=about)
    made.add_argument("--quick", action="store_true", help=f"{quick}, nothing kept")
    made.add_argument("--no-save", action="store_true", help="do not write a file of results")
    return made


def run(
    kind: str,
    options: argparse.Namespace,
    measure: Callable[[Console], R],
    show: Callable[[R, Console], None],
) -> int:
    """Measure, print, keep; 2 when this machine cannot."""
    console = Console()
    if os.geteuid() != 0:
        console.print("this makes network namespaces: run it as root", style="red")
        return 2
    try:
        made = measure(console)
    except (ClocheError, RuntimeError) as error:
        console.print(str(error), style="red")
        return 2
    show(made, console)
    if not (options.quick or options.no_save):
        kept.save_and_say(kind, made, console)
    return 0


def keep_to_last_processor() -> None:
    """So that a test run is not moved about."""
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})

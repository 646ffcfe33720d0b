"""The verb that asks the machine itself: doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from cloche.cli import render
from cloche.cli.options import Json

if TYPE_CHECKING:
    from cloche.datapath.machine import Answer

_SHOWN = {True: "yes", False: "no", None: "unknown"}


def doctor(json: Json = False) -> None:
    """Say what this machine can do, what needs which kernel, and what is lost without it.

    Everything is tried here, on maps that vanish and in a network namespace of its own; nothing is
    changed. Without root some of it cannot be asked. Status 1 when something that Cloche needs is missing.

    Example: cloche doctor
    """
    from cloche.datapath import doctor as table  # what drives the kernel is slow to import

    with render.working("trying what this machine can do"):
        answers = table.examine()
    fit = table.is_fit(answers)
    if json:
        render.answer_json(fit=fit, features=[answer._asdict() for answer in answers])
    else:
        headers = ("FEATURE", "HERE", "KERNEL", "NEEDED", "DETAIL")
        render.show(render.table(headers, (_row(answer) for answer in answers)))
        for answer in answers:
            if answer.present is False:
                hint = f" ({answer.hint})" if answer.hint else ""
                render.aside(f"without {answer.name}: {answer.lost}{hint}", _style(answer))
        render.show("this machine can run Cloche" if fit else "this machine cannot run Cloche")
    raise typer.Exit(0 if fit else 1)


def _style(answer: Answer) -> str:
    return "" if answer.present else "bold red" if answer.needed else "yellow"


def _row(answer: Answer) -> tuple[str | Text, ...]:
    here = Text(_SHOWN[answer.present], _style(answer))
    detail = answer.detail.splitlines()[0] if answer.detail else ""
    return answer.name, here, answer.since, "yes" if answer.needed else "no", detail

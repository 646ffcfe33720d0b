"""The ``cloche`` command: its verbs, and errors as messages and exit statuses.

Status 0: fine. 1: denied, different, queued, or findings at or above ``--fail-on``. 2: bad input, or this
machine cannot. 3: nothing is running.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

from cloche.cli import asking, doctoring, questions, render, running, standing
from cloche.errors import ClocheError

EPILOG = "Status: 0 fine, 1 denied, different or queued, 2 bad input, 3 not running."

app = typer.Typer(
    name="cloche",
    help="A lid on container workloads: NetworkPolicy, enforced in the kernel and explained.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


class Shell(StrEnum):
    """Shells whose completion is known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]) -> None:
    """Print the completion script of a shell.

    Example: source <(cloche completion bash)
    """
    render.raw(get_completion_script(prog_name="cloche", complete_var="_CLOCHE_COMPLETE", shell=shell.value))


VERBS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("up", running.up),
    ("apply", running.apply),
    ("delete", running.delete),
    ("exec", running.execute),
    ("probe", asking.probe),
    ("matrix", questions.show_matrix),
    ("explain", questions.explain),
    ("check", questions.check),
    ("flows", asking.flows),
    ("show", asking.show),
    ("attest", standing.attest),
    ("rollback", standing.rollback),
    ("down", running.down),
    ("clean", running.clean),
    ("doctor", doctoring.doctor),
    ("agent", running.agent),
    ("completion", completion),
)
AS_WRITTEN = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""What follows a pod's name in ``exec`` is a command of its own, options and all."""

for name, verb in VERBS:
    app.command(name, context_settings=AS_WRITTEN if verb is running.execute else None)(verb)


def main() -> None:
    """Run the command line; ends the process with the right status."""
    completion_init()
    try:
        app(prog_name="cloche")
    except ClocheError as error:
        render.failure(error)
        sys.exit(error.status)
    except BrokenPipeError:
        render.mute()
        sys.exit(0)
    except OSError as error:
        render.aside(f"error: {error}", "bold red")
        sys.exit(2)

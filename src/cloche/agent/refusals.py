"""Errors as they cross from process to process, and back."""

from __future__ import annotations

from cloche.agent.messages import Refusal
from cloche.errors import ClocheError, InputError, NotRunningError, TooBigError


class AgentError(ClocheError):
    """The agent answered that it could not do it; the message says why."""


def as_refusal(error: ClocheError) -> Refusal:
    """What goes over the wire for an error."""
    match error:
        case InputError():
            return Refusal(str(error), error.findings)
        case TooBigError():
            return Refusal(str(error), (), error.costs, error.what, error.needed, error.capacity, error.note)
    return Refusal(str(error))


def as_error(refusal: Refusal) -> ClocheError:
    """The error that a refusal stands for; what is neither bad input nor too big is an AgentError."""
    if refusal.findings:
        return InputError(refusal.findings)
    if refusal.what:
        error = TooBigError(refusal.what, refusal.needed, refusal.capacity, refusal.costs)
        error.note = refusal.note
        return error
    return AgentError(refusal.message)


def http_status(error: ClocheError) -> int:
    """422 for what the asker can mend, 503 for what is not there, 500 for the rest."""
    match error:
        case InputError() | TooBigError():
            return 422
        case NotRunningError():
            return 503
    return 500

"""``explain`` for people: each distinct answer with both directions, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from cloche.analysis import FlowAnswer, FlowExplanation
from cloche.analysis.explaining import ITSELF
from cloche.analysis.results import DirectionAnswer
from cloche.cli import render
from cloche.model.reasons import Reason

MEANING = {reason.shown: reason.meaning for reason in Reason}
MOST_NAMES = 6


def tell(explanation: FlowExplanation) -> Iterator[Text]:
    """Every line: the whole verdict, then each distinct answer."""
    yield Text.assemble(
        f"{explanation.source} > {explanation.destination} {explanation.port}: ",
        render.verdict_text(explanation.verdict),
    )
    for number, answer in enumerate(explanation.answers, 1):
        if len(explanation.answers) > 1:
            yield Text(f"answer {number} of {len(explanation.answers)}", "bold")
        yield from answer_lines(answer)
        if answer.assumed:
            yield Text("  this hangs on an address that was given out here (see --pod-cidr)", "yellow")


def answer_lines(answer: FlowAnswer) -> Iterator[Text]:
    """One answer: whom it is about, the verdict and reason, each direction."""
    about = f"{shorten(answer.sources)} > {shorten(answer.destinations)}"
    if answer.backends:
        about += f", by backends {shorten(answer.backends)}"
    example = f"{answer.example_source} > {answer.example_destination}"
    yield Text.assemble("  ", about, (f"  ({', '.join(answer.families)}; like {example})", render.dim))
    if answer.reason:
        yield Text.assemble("  ", (answer.reason, render.deny_style), f": {MEANING.get(answer.reason, '')}")
    if answer.note:
        yield Text(f"  {answer.note}")
    if answer.note == ITSELF:
        return
    for name, direction in (("egress", answer.egress), ("ingress", answer.ingress)):
        yield from direction_lines(name, direction)


def direction_lines(name: str, answer: DirectionAnswer) -> Iterator[Text]:
    """One direction: verdict, who isolates, what decided, what came nearest."""
    head = Text.assemble(f"  {name:<8}", render.verdict_text(answer.verdict))
    if not answer.subjects:
        yield head.append("  no pod of ours is judged in this direction", render.dim)
        return
    judged = shorten(answer.subjects)
    if not answer.isolated_by:
        yield head.append(f"  {answer.note or f'no policy isolates {judged} here'}", render.dim)
        return
    if answer.rule is not None and answer.rule.index >= 0:
        head.append(f"  by {answer.rule.policy} {name} rule {answer.rule.index}")
        head.append(f"  {answer.rule.origin}", "bold")
    yield head
    are = "is" if len(answer.subjects) == 1 else "are"
    for policy in answer.isolated_by:
        yield Text.assemble(
            f"          {judged} {are} isolated by {policy.policy}  ", (policy.origin, "bold")
        )
    if answer.nearest is not None:
        near = answer.nearest
        yield Text.assemble(
            f"          nearest to allowing: {near.policy} {name} rule {near.index}  ",
            (near.origin, "bold"),
            f"  missed by: {', '.join(near.missed)}",
        )
    if answer.note:
        yield Text(f"          {answer.note}")


def shorten(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")

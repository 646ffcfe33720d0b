"""What the agent says, as lines for people. Prints nothing."""

from __future__ import annotations

import datetime

from rich.text import Text

from cloche.agent.messages import Applied, FlowEvent, RuleReference
from cloche.cli import render
from cloche.config import DEFAULT_INSTANCE

KIND_STYLES = {
    "new": "green",
    "drop": "red",
    "cut": "bold red",
    "closed": "dim",
    "lost": "bold yellow",
    "repaired": "bold yellow",
    "differs": "bold red",
}


def instance_option(instance: str) -> str:
    """How a further command names the instance; nothing for the default one."""
    return "" if instance == DEFAULT_INSTANCE else f" --instance {instance}"


def plural(count: int, what: str, many: str = "") -> str:
    """``1 policy``, ``2 policies``."""
    return f"{count} {what if count == 1 else many or what + 's'}"


def applied(result: Applied) -> Text:
    """What a change came to, in one line."""
    things = ", ".join(
        (
            plural(result.endpoints, "endpoint"),
            plural(result.services, "service"),
            plural(result.policies, "policy", "policies"),
        )
    )
    took = result.timings_ms.get("total", 0.0)
    text = Text(f"generation {result.generation} is active: {things}")
    return text.append(f"  ({plural(result.writes, 'map write')}, {took:.0f} ms)", render.dim)


def queued(result: Applied) -> list[str]:
    """The policies of a change that a roll-back holds back, a line for each."""
    return [f"queued: {policy} waits until the roll-back is released" for policy in result.queued]


def rule(reference: RuleReference) -> str:
    """A rule for people: policy, direction and index, and where it was written."""
    which = f"{reference.direction} isolation" if reference.index < 0 else ""
    which = which or f"{reference.direction} rule {reference.index}"
    return f"{reference.policy} {which}" + (f" ({reference.origin})" if reference.origin else "")


def party(name: str, address: str) -> str:
    """An endpoint by name, anything else by its address."""
    return name or address


def flow(told: FlowEvent) -> str:
    """Who sends to whom, and on which port; of a packet that was not read only where it came from."""
    if not told.source_address:
        origin = f", from {told.source}" if told.source else f", on link {told.link}" if told.link else ""
        return f"a packet that was not read{origin}"
    source = party(told.source, told.source_address)
    return f"{source} > {party(told.destination, told.destination_address)} {told.port}"


def event(told: FlowEvent) -> Text:
    """A flow event in one line."""
    moment = datetime.datetime.fromtimestamp(told.time).strftime("%H:%M:%S.%f")[:-3]
    text = Text(f"{moment} ", render.dim).append(f"{told.kind:<6} ", KIND_STYLES.get(told.kind, ""))
    if told.kind == "lost":
        return text.append(f"{told.suppressed} events were not seen: the ring buffer was full", "yellow")
    if told.kind == "repaired":
        return text.append(told.detail, "bold")
    text.append(flow(told))
    if told.service:
        text.append(f" by {told.service}")
    if told.reason:
        text.append(f"  {told.reason}", "red")
    if told.rule:
        text.append(f"  {rule(told.rule)}", render.dim)
    if told.suppressed:
        text.append(f"  (+{told.suppressed} events not sent before this one)", "yellow")
    return text

"""Real packets between endpoints, judged: an answer, the endpoint's own refusal, or the datapath's deny."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from cloche.agent.history import History
from cloche.agent.messages import Outcome, ProbePair, ProbeRequest, ProbeResult
from cloche.agent.naming import Directory
from cloche.agent.parts import Parts
from cloche.model.address import format_address, parse_address
from cloche.model.reasons import Reason
from cloche.responder import messages as wire

EVENTS_SETTLE_SECONDS = 0.05
"""How long an event may take from the program to the history."""


class Prober:
    """Asks the responder, and the events about what was refused."""

    def __init__(self, parts: Parts, directory: Directory, history: History) -> None:
        self._parts, self._directory, self._history = parts, directory, history

    async def probe(self, request: ProbeRequest) -> list[ProbeResult]:
        """One result for each pair, in order. Raises ClocheError when the responder does not run."""
        questions = [self._question(pair, request) for pair in request.pairs]
        begin = self._history.mark()
        asked = [question for question in questions if isinstance(question, wire.Probe)]
        answers = iter(await self._parts.responding.probe(asked) if asked else ())
        replies = [question if isinstance(question, str) else next(answers) for question in questions]
        turned_away: set[tuple[str, int]] = set()
        if any(isinstance(reply, wire.ProbeResult) and _is_refused(reply) for reply in replies):
            await asyncio.sleep(EVENTS_SETTLE_SECONDS)
            turned_away = self._turned_away(begin)
        return [result(pair, reply, turned_away) for pair, reply in zip(request.pairs, replies, strict=True)]

    def _question(self, pair: ProbePair, request: ProbeRequest) -> wire.Probe | str:
        """The probe, or why there is none."""
        state = self._directory.state
        endpoint = state.endpoints.get(pair.source)
        if endpoint is None or pair.source not in state.attachments:
            return f"{pair.source} has no network namespace of its own"
        try:
            destination = parse_address(pair.destination)
        except ValueError as error:
            return str(error)
        return wire.Probe(
            netns=self._parts.namespace(pair.source),
            sources=endpoint.addresses,
            destination=destination,
            port=pair.port,
            protocol=pair.protocol,
            timeout=request.timeout_s,
            tries=request.attempts,
        )

    def _turned_away(self, mark: int) -> set[tuple[str, int]]:
        """Addresses and ports of senders whom the program itself answered."""
        return {
            (event.source_address, event.source_port)
            for event in self._history.since(mark)
            if event.reason == Reason.NO_BACKEND.shown
        }


def _is_refused(reply: wire.ProbeResult) -> bool:
    return reply.outcome is wire.Outcome.REFUSED


def result(
    pair: ProbePair, reply: wire.ProbeResult | str, turned_away: Collection[tuple[str, int]]
) -> ProbeResult:
    """What a reply means: a refusal is the endpoint's own unless the program says that it was its."""
    if isinstance(reply, str):
        return ProbeResult(pair, Outcome.UNPROBEABLE, detail=reply)
    ms = round(reply.rtt * 1000, 3)
    match reply.outcome:
        case wire.Outcome.ANSWERED:
            return ProbeResult(pair, Outcome.ALLOW, reply.answered_by, reply.detail, ms)
        case wire.Outcome.REFUSED:
            sender = format_address(reply.source) if reply.source else ""
            if (sender, reply.source_port) in turned_away:
                return ProbeResult(pair, Outcome.DENY, "", Reason.NO_BACKEND.shown, ms)
            return ProbeResult(pair, Outcome.ALLOW, reply.answered_by, "refused by the endpoint itself", ms)
        case wire.Outcome.SILENT:
            return ProbeResult(pair, Outcome.DENY, "", reply.detail or "no answer", ms)
    return ProbeResult(pair, Outcome.UNPROBEABLE, "", reply.detail, ms)

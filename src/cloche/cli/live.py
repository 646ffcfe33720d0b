"""``matrix --live``: what real packets did beside what policy says, pair by pair and family by family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

import msgspec

from cloche.agent.client import Client
from cloche.agent.messages import Outcome, ProbePair
from cloche.analysis import Matrix, Pair
from cloche.analysis.matrix import FAMILIES, carries, family_of
from cloche.model.address import Address, format_address
from cloche.model.ports import Port, parse_port
from cloche.model.state import State
from cloche.model.topology import Endpoint, Service

AT_ONCE = 256
"""Pairs under way at a time: enough to be quick, as most of the time is spent waiting for silence."""
STEPS, LEAST_CHUNK = 20, 8
"""Into how many requests the pairs are cut, so that progress is seen; none of fewer pairs than this."""

SERVICE = "service/"


class Question(NamedTuple):
    """One row's probe in one family; ``probe`` is None where packets cannot tell."""

    row: int
    family: str
    probe: ProbePair | None


def probe_matrix(client: Client, state: State, asked: Matrix, tick: Callable[[int], None]) -> Matrix:
    """The matrix with ``live`` where packets could be sent; ``tick`` is told of questions answered.

    A row whose families came out differently becomes two.
    """
    questions = list(ask(state, asked.pairs))
    size = min(max(LEAST_CHUNK, len(questions) // STEPS), AT_ONCE)
    chunks = [questions[start : start + size] for start in range(0, len(questions), size)]
    outcomes: dict[tuple[int, str], str | None] = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE // size) as pool:
        waiting = [pool.submit(_probe_chunk, client, chunk) for chunk in chunks]
        try:
            for done in as_completed(waiting):
                outcomes |= done.result()
                tick(len(done.result()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows = [row for index, pair in enumerate(asked.pairs) for row in answered(index, pair, outcomes)]
    return Matrix(asked.version, tuple(rows))


def _probe_chunk(client: Client, chunk: Sequence[Question]) -> dict[tuple[int, str], str | None]:
    sent = [question for question in chunk if question.probe is not None]
    results = client.probe([q.probe for q in sent if q.probe is not None]) if sent else []
    outcomes: dict[tuple[int, str], str | None] = dict.fromkeys((q.row, q.family) for q in chunk)
    for question, result in zip(sent, results, strict=True):
        if result.outcome is not Outcome.UNPROBEABLE:
            outcomes[question.row, question.family] = result.outcome.value
    return outcomes


def count(state: State, asked: Matrix) -> int:
    """How many questions ``probe_matrix`` will answer."""
    return sum(1 for _ in ask(state, asked.pairs))


def ask(state: State, pairs: Sequence[Pair]) -> Iterator[Question]:
    """The probes of every row, in each family that it is about and both ends have."""
    for index, pair in enumerate(pairs):
        source = by_family(state.endpoints[pair.source].addresses)
        target, number = destination(state, pair)
        to = by_family(target.addresses)
        port = parse_port(pair.port)
        certain = len({backend.verdict for backend in pair.backends}) <= 1
        for family in FAMILIES:
            if family not in source or family not in to or pair.family not in (None, family):
                continue
            if not carries(family, port):
                continue
            probe = (
                ProbePair(pair.source, format_address(to[family]), port.protocol, number) if certain else None
            )
            yield Question(index, family, probe)


def by_family(addresses: Sequence[Address]) -> dict[str, Address]:
    """The first address of each family."""
    return {family_of(address): address for address in reversed(addresses)}


def destination(state: State, pair: Pair) -> tuple[Endpoint | Service, int]:
    """Whom a row is about, and its port by number."""
    target: Endpoint | Service
    if pair.destination.startswith(SERVICE):
        target = state.services[pair.destination.removeprefix(SERVICE)]
    else:
        target = state.endpoints[pair.destination]
    port = parse_port(pair.port)
    return target, port.number if not port.name else named(target, port)


def named(target: Endpoint | Service, port: Port) -> int:
    """The number of a named port of the target, which has it: the matrix asks no others."""
    return min(p.port for p in target.ports if (p.name, p.protocol) == (port.name, port.protocol))


def answered(index: int, pair: Pair, outcomes: dict[tuple[int, str], str | None]) -> Iterator[Pair]:
    """The row with what packets did; two rows when its families came out differently."""
    mine = {family: outcomes[index, family] for family in FAMILIES if (index, family) in outcomes}
    if len(set(mine.values())) <= 1:
        yield msgspec.structs.replace(pair, live=next(iter(mine.values()), None))
        return
    for family, live in mine.items():
        yield msgspec.structs.replace(pair, family=family, live=live)


def differs(pair: Pair) -> bool:
    """True when packets did not do what policy says."""
    return pair.live is not None and pair.live != pair.verdict

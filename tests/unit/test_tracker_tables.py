"""Histories get the same answers from the oracle's world and from the compiled tables."""

from __future__ import annotations

from histories import HASH_KEY
from hypothesis import given, settings
from random_histories import Change, Event, Evict, Flip, Send, Wait, flipped, histories

from cloche.compiler import Compiler
from cloche.model.flow import SECOND, Decision, Packet
from cloche.model.policy import Direction
from cloche.model.state import Delete, Put, State
from cloche.model.topology import Backend
from cloche.model.tracker import OracleWorld, ServiceView, Tracker, choose_backend, step
from cloche.tables.lookup import TablesWorld
from cloche.tables.schema import Capacity
from worlds import TIMES

SMALL = Capacity(endpoints=64, sets=64, classes=256, cells=65536, atoms=256)


def hashed(asked: Packet, view: ServiceView) -> Backend:
    """The program's choice: tables hold backends in order."""
    members = sorted(view.backends)
    return members[choose_backend(HASH_KEY, asked, len(members))]


class Both:
    """One state as the oracle's world and as tables, kept up to date by events."""

    def __init__(self, state: State) -> None:
        self.state = State()
        self.compiler = Compiler("node", SMALL)
        self.become(state)

    def become(self, state: State) -> None:
        """Take in what is new, changed or gone."""
        kept = {(type(thing).__name__, thing.key) for thing in state.objects()}
        gone = [(type(thing).__name__, thing.key) for thing in self.state.objects()]
        events = [Delete(kind, key) for kind, key in gone if (kind, key) not in kept]
        events += [Put(thing) for thing in state.objects()]
        self.compiler.update(events)
        self.state = State(Put(thing) for thing in state.objects())

    def worlds(self) -> tuple[OracleWorld, TablesWorld]:
        """Both, in the generation that is active."""
        names = {attachment.number: attachment.endpoint for attachment in self.state.attachments.values()}
        tables = TablesWorld(self.compiler.tables, names, HASH_KEY)
        return OracleWorld(self.state, tables.generation, hashed), tables


def shown(decision: Decision) -> tuple[object, ...]:
    """What must agree. The tables do not ask the receiver when the sender's policy denied, and know
    backends by address and port."""
    backend = decision.backend and (decision.backend.address, decision.backend.port)
    ingress = None if decision.deciding is Direction.EGRESS else decision.ingress_rule
    return (
        *(decision.verdict, decision.reason, decision.deciding),
        *(decision.source, decision.source_port, decision.destination, decision.destination_port),
        *(decision.delivery, decision.endpoint, backend, decision.egress_rule, ingress),
    )


@settings(max_examples=12 * TIMES, deadline=None)
@given(histories())
def test_oracle_and_tables_agree_on_histories(found: tuple[State, list[Event]]) -> None:
    """Every packet of a history gets the same decision and leaves the same flows, through flips, changes of
    services, time and evictions."""
    state, events = found
    state = flipped(state, tuple(state.policies.values()))
    both, now = Both(state), 1000 * SECOND
    mine, theirs = Tracker(), Tracker()
    for event in events:
        match event:
            case Send(packet):
                oracle, tables = both.worlds()
                expected, mine = step(oracle, mine, packet, now)
                decision, theirs = step(tables, theirs, packet, now)
                assert shown(decision) == shown(expected)
                assert theirs.flows == mine.flows
            case Wait(seconds):
                now += int(seconds * SECOND)
            case Flip(policies):
                state = flipped(state, policies)
                both.become(state)
            case Change(service):
                state.apply(Put(service))
                both.become(state)
            case Evict(number):
                keys = [*mine.flows, *mine.translations]
                if keys:
                    key = keys[number % len(keys)]
                    mine, theirs = mine.evict(key), theirs.evict(key)

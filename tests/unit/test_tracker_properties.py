"""What holds of the reference tracker in every history."""

from __future__ import annotations

from histories import History
from hypothesis import given, settings
from random_histories import Change, Event, Evict, Flip, Send, Wait, flipped, histories

from cloche.model.flow import Decision, Delivery, Packet, Verdict
from cloche.model.state import State
from cloche.model.tracker import FlowKind, Tracker, lawful
from cloche.model.tracker.flows import opening_packet, turn_round
from worlds import TIMES


def told(one: History, event: Event) -> tuple[Packet, Decision, Tracker] | None:
    """The history after an event; for a packet what became of it, and the tracker before it."""
    match event:
        case Send(packet):
            before = one.tracker
            return packet, one.send(packet), before
        case Wait(seconds):
            one.wait(seconds)
        case Flip(policies):
            one.state = flipped(one.state, policies)
            one.generation += 1
        case Change(service):
            one.change(service)
        case Evict(number):
            keys = [*one.tracker.flows, *one.tracker.translations]
            if keys:
                one.tracker = one.tracker.evict(keys[number % len(keys)])
    return None


def results(state: State, events: list[Event]) -> list[tuple[History, Packet, Decision, Tracker]]:
    """Every packet of a history with its decision, and the tracker before it."""
    one, found = History(State(), 1), []
    one.state = flipped(state, tuple(state.policies.values()))
    for event in events:
        result = told(one, event)
        if result is not None:
            moment = History(flipped(one.state, tuple(one.state.policies.values())), one.generation)
            moment.tracker, moment.now = one.tracker, one.now
            found.append((moment, *result))
    return found


@settings(max_examples=12 * TIMES, deadline=None)
@given(histories())
def test_nothing_passes_that_policy_forbids(found: tuple[State, list[Event]]) -> None:
    """What a packet opens or moves on is a flow that the active generation allows as it was opened."""
    for moment, packet, decision, before in results(*found):
        later = packet.fragment is not None and packet.fragment.offset > 0
        if decision.verdict is not Verdict.ALLOW or packet.is_error or later:
            continue
        fresh = [f for k, f in moment.tracker.flows.items() if before.flows.get(k) != f]
        world = moment.world()
        for flow in fresh:
            assert flow.generation == moment.generation
            assert world.judge(opening_packet(flow)).verdict is Verdict.ALLOW
        if not fresh and not before.flows:  # a reset, judged and not remembered
            asked = [packet, turn_round(world, packet)]
            sides = [each.decision for one in asked for each in lawful(moment.state, one)]
            assert any(each.verdict is Verdict.ALLOW for each in sides)


@settings(max_examples=12 * TIMES, deadline=None)
@given(histories())
def test_decisions_hold_together(found: tuple[State, list[Event]]) -> None:
    """An allowance is delivered and has no reason; a denial has one, and changes no flow but to cut it."""
    for moment, _, decision, before in results(*found):
        allowed = decision.verdict is Verdict.ALLOW
        assert allowed == (decision.reason.shown == "none")
        assert (decision.delivery is Delivery.ENDPOINT) == bool(decision.endpoint)
        if allowed:
            assert decision.delivery in (Delivery.ENDPOINT, Delivery.STACK)
            continue
        assert decision.delivery is Delivery.NOWHERE or decision.reason.shown == "no-backend"
        assert set(moment.tracker.flows) == set(before.flows)
        changed = [f for k, f in moment.tracker.flows.items() if before.flows[k] != f]
        assert all(flow.action is Verdict.DENY for flow in changed)


@settings(max_examples=12 * TIMES, deadline=None)
@given(histories())
def test_translations_lead_to_flows_of_their_service(found: tuple[State, list[Event]]) -> None:
    """Every translation made or confirmed by a packet leads to a flow that knows the service's address."""
    for moment, packet, decision, before in results(*found):
        for key, known in moment.tracker.translations.items():
            if before.translations.get(key) == known:
                continue
            assert key.kind is FlowKind.TRANSLATION
            fronts = [f.front for f in moment.tracker.flows.values() if f.front is not None]
            assert (packet.destination, packet.destination_port) in [(f.address, f.port) for f in fronts]
            assert decision.verdict is Verdict.DENY or decision.backend == known.backend


@settings(max_examples=8 * TIMES, deadline=None)
@given(histories())
def test_a_history_told_again_is_the_same(found: tuple[State, list[Event]]) -> None:
    """The tracker is a function: the same events give the same decisions and the same entries."""
    once, again = results(*found), results(*found)
    assert [(r[2], r[0].tracker) for r in once] == [(r[2], r[0].tracker) for r in again]

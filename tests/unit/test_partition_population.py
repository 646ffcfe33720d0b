"""Whom a selector selects: the inverted indexes against the oracle, which looks at everybody."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

import worlds
from cloche.model.evaluate import selects
from cloche.model.labels import EVERYTHING, Operator, Requirement, Selector, match_labels
from cloche.model.policy import PodPeer
from cloche.model.state import Put, State
from cloche.model.topology import Endpoint, Namespace
from cloche.partition.population import Hooks, Population

RED = match_labels({"team": "red"})
WITH_APP = Selector((Requirement("app", Operator.EXISTS),))
SMALL = [
    Namespace("x", (("team", "red"),)),
    Endpoint("x", "a", labels=(("app", "a"),)),
    Endpoint("x", "b"),
    Endpoint("y", "c", labels=(("app", "a"),)),
]
things = st.lists(st.one_of(worlds.endpoints(), worlds.namespaces), max_size=10)


def population(state: State) -> Population:
    """The indexes of a state's namespaces and endpoints."""
    made = Population()
    for namespace in state.namespaces.values():
        made.put_space(namespace.name, namespace.labels)
    for key, endpoint in state.endpoints.items():
        if not endpoint.host_network:
            made.put(key, endpoint)
    return made


@given(
    things, st.one_of(worlds.pod_peers, st.builds(PodPeer, worlds.selectors, st.just(""), worlds.selectors))
)
@example(SMALL, PodPeer(WITH_APP, "", RED))
@example(SMALL, PodPeer(EVERYTHING, "", RED))
@example(SMALL, PodPeer(match_labels({"app": "a"}), "", RED))
@example(SMALL, PodPeer(WITH_APP, "y", None))
def test_members_are_whom_the_oracle_selects(found: list[Endpoint | Namespace], peer: PodPeer) -> None:
    """By either way, from the peer to its endpoints and from an endpoint to its peers."""
    state = State(Put(thing) for thing in found)
    made = population(state)
    expected = {key for key, one in made.endpoints.items() if selects(state, peer, one)}
    assert made.members(peer) == expected
    hooks: Hooks[str] = Hooks()
    hooks.add("peer", peer)
    assert {key for key, one in made.endpoints.items() if list(hooks.selecting(one, made))} == expected

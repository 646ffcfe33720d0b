"""Predicates in use, and whom they match, while endpoints come, change and go."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from test_partition_population import population

import worlds
from cloche.model.evaluate import selects
from cloche.model.labels import match_labels
from cloche.model.policy import PodPeer
from cloche.model.state import Put, State
from cloche.model.topology import Endpoint, Namespace
from cloche.partition.peers import Peers, Predicate

RED, BLUE = match_labels({"team": "red"}), match_labels({"team": "blue"})
APP, WEB = match_labels({"app": "a"}), match_labels({"role": "web"})
SPACES = [Namespace("x", (("team", "red"),)), Namespace("y", (("team", "blue"),))]
BOTH = Endpoint("x", "a", labels=(("app", "a"), ("role", "web")))
LESS = Endpoint("x", "a", labels=(("app", "a"),))
peer_lists = st.lists(worlds.pod_peers, min_size=1, max_size=2)


class Site:
    """Namespaces and endpoints, and the predicates in use there."""

    def __init__(self, spaces: list[Namespace]) -> None:
        self.state = State(map(Put, spaces))
        self.population = population(self.state)
        self.peers = Peers(self.population, {})
        self.used: list[tuple[tuple[PodPeer, ...], Predicate]] = []

    def put(self, endpoint: Endpoint) -> None:
        """An endpoint comes, or is another now."""
        self.state.apply(Put(endpoint))
        if endpoint.host_network:
            return
        self.population.put(endpoint.key, endpoint)
        self.peers.refresh(endpoint.key)

    def acquire(self, peers: list[PodPeer]) -> set[str]:
        """Another predicate; the endpoints that are said to be others by it."""
        self.peers.endpoints.clear()
        self.used.append((tuple(peers), self.peers.acquire(tuple(peers), ())))
        return set(self.peers.endpoints)

    def meant(self, peers: tuple[PodPeer, ...]) -> set[str]:
        """Whom the oracle selects."""
        known = self.population.endpoints.items()
        return {key for key, one in known if any(selects(self.state, peer, one) for peer in peers)}

    def matched(self, predicate: Predicate) -> set[str]:
        """Whom the predicate matches."""
        of_uses, uses_of, known = self.peers.of_uses, self.peers.uses_of, self.population.endpoints
        if predicate.universal:
            return set(known)
        return {key for key in known if predicate.number in of_uses(uses_of(key))}


@given(
    st.lists(worlds.namespaces, max_size=3),
    st.lists(st.one_of(worlds.endpoints(), peer_lists), max_size=12),
)
@example(
    SPACES, [[PodPeer(APP, "x")], [PodPeer(WEB, "x")], BOTH, LESS, [PodPeer(APP, "x"), PodPeer(WEB, "y")]]
)
@example(SPACES, [BOTH, [PodPeer(APP, "x", RED)], [PodPeer(APP, "x", BLUE)]])
@example(SPACES, [BOTH, [PodPeer(APP, "x", BLUE)]])
def test_each_predicate_matches_whom_the_oracle_selects(
    spaces: list[Namespace], history: list[Endpoint | list[PodPeer]]
) -> None:
    """After each step of any history, and a new predicate says that those it matches are others now."""
    site = Site(spaces)
    for step in history:
        if isinstance(step, Endpoint):
            site.put(step)
        else:
            known = [predicate for _, predicate in site.used]
            told = site.acquire(step)
            predicate = site.used[-1][1]
            assert predicate in known or predicate.universal or site.matched(predicate) <= told
        for peers, predicate in site.used:
            assert site.matched(predicate) == site.meant(peers)

"""Distinct predicates on the other side: each list of peers that rules name, once, and whom it matches.

A predicate is a rule's whole list of peers, because no rule tells one of its peers from another. Members
are found from inverted indexes when a predicate comes into use, and kept as endpoints change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from cloche.model.address import Block
from cloche.model.labels import EVERYTHING
from cloche.model.policy import BlockPeer, Peer, PodPeer
from cloche.partition.blocks import Piece, Territory
from cloche.partition.population import Hooks, Population, PortName

EVERY_ENDPOINT = PodPeer(EVERYTHING, "", EVERYTHING)
NOTHING: frozenset[int] = frozenset()
NO_USES: frozenset[Use] = frozenset()


class Predicate:
    """A list of peers in use. ``universal``: matches every endpoint; ``selects``: has a selector, so it
    might match an endpoint that is not known; ``names``: named ports that egress rules ask of it."""

    __slots__ = ("everyone", "names", "number", "peers", "selects", "universal", "uses")

    def __init__(self, number: int, peers: frozenset[Peer] | None) -> None:
        self.number, self.peers, self.uses = number, peers, 0
        self.everyone = peers is None
        self.universal = peers is not None and EVERY_ENDPOINT in peers
        self.selects = any(isinstance(peer, PodPeer) for peer in peers or ())
        self.names: Counter[PortName] = Counter()


class Use:
    """One peer in use: its endpoints (of a selector) and the predicates that it is part of."""

    __slots__ = ("members", "number", "peer", "predicates")

    def __init__(self, number: int, peer: Peer) -> None:
        self.number, self.peer = number, peer
        self.members: set[str] = set()
        self.predicates: set[int] = set()


class Peers:
    """The predicates in use. What changed collects in ``endpoints`` (keys) and ``blocks`` until taken."""

    def __init__(self, population: Population, territories: dict[int, Territory]) -> None:
        self.predicates: dict[int, Predicate] = {}
        self.endpoints: set[str] = set()
        self.blocks: set[Block] = set()
        self.asked: Counter[PortName] = Counter()
        """The named ports that rules ask of every endpoint."""
        self._population, self._territories = population, territories
        self._by_peers: dict[frozenset[Peer] | None, Predicate] = {}
        self._uses: dict[Peer, Use] = {}
        self._by_number: dict[int, Use] = {}
        self._hooks: Hooks[Use] = Hooks()
        self._of_endpoint: dict[str, frozenset[Use]] = {}
        self._numbers = 0

    def acquire(self, peers: tuple[Peer, ...] | None, names: Iterable[PortName]) -> Predicate:
        """The predicate of a list of peers, in use once more, with the names that a rule asks of it."""
        key = None if peers is None else frozenset(_canonical(peer) for peer in peers)
        predicate = self._by_peers.get(key)
        if predicate is None:
            self._numbers += 1
            predicate = self._by_peers[key] = Predicate(self._numbers, key)
            self.predicates[predicate.number] = predicate
            for peer in key or ():
                self._join(peer, predicate.number)
        predicate.uses += 1
        self._count_names(predicate, names, 1)
        return predicate

    def release(self, predicate: Predicate, names: Iterable[PortName]) -> None:
        """Undo one ``acquire``."""
        self._count_names(predicate, names, -1)
        predicate.uses -= 1
        if predicate.uses:
            return
        del self._by_peers[predicate.peers], self.predicates[predicate.number]
        for peer in predicate.peers or ():
            self._leave(peer, predicate.number)

    def refresh(self, key: str) -> None:
        """An endpoint came, changed or went: find anew which selectors mean it."""
        endpoint = self._population.endpoints.get(key)
        old = self.uses_of(key)
        new: frozenset[Use] = NO_USES
        if endpoint is not None and self._hooks:
            new = frozenset(self._hooks.selecting(endpoint, self._population))
        if new == old:
            return
        for use in old - new:
            use.members.discard(key)
        for use in new - old:
            use.members.add(key)
        self._set_uses(key, new)
        self.endpoints.add(key)

    def add_territory(self, territory: Territory) -> None:
        """A network is new: cut it like the others."""
        for use in self._uses.values():
            if isinstance(use.peer, BlockPeer):
                territory.pieces.add(use.number, use.peer)

    def uses_of(self, key: str) -> frozenset[Use]:
        """The selectors in use that mean an endpoint, universal ones aside: one value for equals."""
        return self._of_endpoint.get(key, NO_USES)

    @staticmethod
    def of_uses(uses: frozenset[Use]) -> frozenset[int]:
        """The predicates that these selectors are part of."""
        return NOTHING.union(*(use.predicates for use in uses)) if uses else NOTHING

    def of_piece(self, piece: Piece) -> frozenset[int]:
        """The predicates that match an address by its block."""
        if not piece.matched:
            return NOTHING
        return NOTHING.union(*(self._by_number[number].predicates for number in piece.matched))

    def _join(self, peer: Peer, predicate: int) -> None:
        if peer == EVERY_ENDPOINT:
            return
        use = self._uses.get(peer)
        if use is None:
            self._numbers += 1
            use = self._uses[peer] = self._by_number[self._numbers] = Use(self._numbers, peer)
            if isinstance(peer, BlockPeer):
                for territory in self._territories.values():
                    territory.pieces.add(use.number, peer)
            else:
                self._hooks.add(use, peer)
                use.members = self._population.members(peer)
                self._change_uses(use, frozenset.union)
        use.predicates.add(predicate)
        self._changed(use)

    def _leave(self, peer: Peer, predicate: int) -> None:
        if peer == EVERY_ENDPOINT:
            return
        use = self._uses[peer]
        use.predicates.discard(predicate)
        self._changed(use)
        if use.predicates:
            return
        del self._uses[peer], self._by_number[use.number]
        if isinstance(peer, BlockPeer):
            for territory in self._territories.values():
                territory.pieces.remove(use.number, peer)
            return
        self._hooks.remove(use, peer)
        self._change_uses(use, frozenset.difference)

    def _change_uses(self, use: Use, change: Callable[[frozenset[Use], set[Use]], frozenset[Use]]) -> None:
        """A selector comes to or leaves those whom it means; who were alike stay so, by one value."""
        changed: dict[frozenset[Use], frozenset[Use]] = {}
        for key in use.members:
            old = self.uses_of(key)
            if old not in changed:
                changed[old] = change(old, {use})
            self._set_uses(key, changed[old])

    def _set_uses(self, key: str, uses: frozenset[Use]) -> None:
        if uses:
            self._of_endpoint[key] = uses
        else:
            self._of_endpoint.pop(key, None)

    def _changed(self, use: Use) -> None:
        if isinstance(use.peer, BlockPeer):
            self.blocks.update((use.peer.block, *use.peer.excepts))
        else:
            self.endpoints |= use.members

    def _count_names(self, predicate: Predicate, names: Iterable[PortName], step: int) -> None:
        for name in names:
            before = predicate.names[name]
            predicate.names[name] += step
            if not predicate.names[name]:
                del predicate.names[name]
            if before and predicate.names[name]:
                continue
            if predicate.everyone or predicate.universal:
                self.asked[name] += step
                if not self.asked[name]:
                    del self.asked[name]
                self.endpoints |= self._population.declaring.get(name, set())
            for peer in predicate.peers or ():
                if peer in self._uses:
                    self._changed(self._uses[peer])


def _canonical(peer: Peer) -> Peer:
    """One form for peers that mean the same."""
    if isinstance(peer, PodPeer) and peer.namespaces is not None and peer.namespace:
        return PodPeer(peer.pods, "", peer.namespaces)
    return peer

"""Endpoints and namespaces by label, both ways: who has a label, and which selectors could mean an endpoint.

Selectors are answered from inverted indexes (key=value -> who has it), so the cost follows who matches,
never how many endpoints or policies there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL, Labels, Operator, Selector
from cloche.model.policy import PodPeer
from cloche.model.topology import Endpoint

T = TypeVar("T")
Pair = tuple[str, str]
PortName = tuple[str, int]
"""A port's name and IP protocol."""

NOBODY: frozenset[str] = frozenset()


def required(selector: Selector) -> list[Pair] | None:
    """Pairs of which a match has exactly one, from the selector's first ``In``; None without one."""
    for requirement in selector.requirements:
        if requirement.operator is Operator.IN:
            return [(requirement.key, value) for value in requirement.values]
    return None


class Population:
    """Who is there, by namespace and label. Holds only endpoints that selectors can match."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.declaring: dict[PortName, set[str]] = {}
        """Who declares a port of that name and protocol."""
        self._declared: dict[str, Labels] = {}
        self._in_space: dict[str, set[str]] = {}
        self._with_label: dict[Pair, set[str]] = {}
        self._spaces_with_label: dict[Pair, set[str]] = {}

    def put(self, key: str, endpoint: Endpoint) -> None:
        """Take an endpoint in, or take in what became of it."""
        old = self.endpoints.get(key)
        if old is not None:
            if (old.labels, old.ports) == (endpoint.labels, endpoint.ports):
                self.endpoints[key] = endpoint
                return
            self.remove(key)
        self.endpoints[key] = endpoint
        members = self._in_space.get(endpoint.namespace)
        if members is None:
            members = self._in_space[endpoint.namespace] = set()
            if endpoint.namespace not in self._declared:
                self._index_space(endpoint.namespace, ())
        members.add(key)
        for pair in endpoint.labels:
            self._with_label.setdefault(pair, set()).add(key)
        for port in endpoint.ports:
            if port.name:
                self.declaring.setdefault((port.name, port.protocol), set()).add(key)

    def remove(self, key: str) -> None:
        """Forget an endpoint."""
        old = self.endpoints.pop(key, None)
        if old is None:
            return
        for pair in old.labels:
            _discard(self._with_label, pair, key)
        for port in old.ports:
            _discard(self.declaring, (port.name, port.protocol), key)
        if _discard(self._in_space, old.namespace, key) and old.namespace not in self._declared:
            self._unindex_space(old.namespace, ())

    def put_space(self, name: str, labels: Labels | None) -> None:
        """A namespace has these labels now; None: it is not declared (any more)."""
        if name in self._declared or name in self._in_space:
            self._unindex_space(name, self._declared.get(name))
        if labels is None:
            self._declared.pop(name, None)
        else:
            self._declared[name] = labels
        if name in self._declared or name in self._in_space:
            self._index_space(name, labels)

    def space_labels(self, name: str) -> Labels:
        """A namespace's labels; one that is not declared has its name's."""
        labels = self._declared.get(name)
        return ((NAMESPACE_NAME_LABEL, name),) if labels is None else labels

    def in_space(self, name: str) -> Collection[str]:
        """The endpoints in a namespace."""
        return self._in_space.get(name, NOBODY)

    def members(self, peer: PodPeer) -> set[str]:
        """The endpoints that a peer selects."""
        if peer.namespaces is None:
            return self._filtered(self._near(peer), peer.pods)
        pairs = required(peer.pods)
        if peer.namespaces == EVERYTHING:
            pool = self.endpoints.keys() if pairs is None else self._with_any(pairs)
            return self._filtered(pool, peer.pods)
        spaces = self._spaces(peer.namespaces)
        if pairs is not None:
            named = self._with_any(pairs)
            if len(named) < 4 * len(spaces):
                found = {k for k in named if self.endpoints[k].namespace in spaces}
                return self._filtered(found, peer.pods)
        pool = {key for space in spaces for key in self.in_space(space)}
        return self._filtered(pool, peer.pods)

    def selects(self, peer: PodPeer, endpoint: Endpoint) -> bool:
        """True when a peer selects an endpoint (which need not be held)."""
        if peer.namespaces is None:
            if endpoint.namespace != peer.namespace:
                return False
        elif peer.namespaces.requirements and not peer.namespaces.matches(
            dict(self.space_labels(endpoint.namespace))
        ):
            return False
        return not peer.pods.requirements or peer.pods.matches(dict(endpoint.labels))

    def _filtered(self, pool: Collection[str], selector: Selector) -> set[str]:
        if not selector.requirements:
            return set(pool)
        endpoints = self.endpoints
        return {key for key in pool if selector.matches(dict(endpoints[key].labels))}

    def _near(self, peer: PodPeer) -> Collection[str]:
        """The endpoints of a peer's one namespace, or fewer of them when its labels are rarer."""
        here, pairs = self.in_space(peer.namespace), required(peer.pods)
        if pairs is None or sum(len(self._with_label.get(pair, NOBODY)) for pair in pairs) >= len(here):
            return here
        return {key for key in self._with_any(pairs) if key in here}

    def _with_any(self, pairs: list[Pair]) -> set[str]:
        return set().union(*(self._with_label.get(pair, NOBODY) for pair in pairs))

    def _spaces(self, selector: Selector) -> set[str]:
        pairs = required(selector)
        pool: Collection[str]
        if pairs is None:
            pool = self._in_space.keys()
        else:
            pool = set().union(*(self._spaces_with_label.get(pair, NOBODY) for pair in pairs))
        return {name for name in pool if selector.matches(dict(self.space_labels(name)))}

    def _index_space(self, name: str, labels: Labels | None) -> None:
        for pair in labels or ((NAMESPACE_NAME_LABEL, name),):
            self._spaces_with_label.setdefault(pair, set()).add(name)

    def _unindex_space(self, name: str, labels: Labels | None) -> None:
        for pair in labels or ((NAMESPACE_NAME_LABEL, name),):
            _discard(self._spaces_with_label, pair, name)


def _discard(index: dict[T, set[str]], at: T, item: str) -> bool:
    """Take an item out of an index; True when nothing is left there."""
    items = index.get(at)
    if items is None:
        return False
    items.discard(item)
    if items:
        return False
    del index[at]
    return True


Hook = tuple[str, ...]


def hooks(peer: PodPeer) -> list[Hook]:
    """What of an endpoint to file a peer under: it has at most one of these, and one if it is selected."""
    pods = required(peer.pods)
    if peer.namespaces is None:
        if pods is None:
            return [("space", peer.namespace)]
        return [("label in", peer.namespace, *pair) for pair in dict.fromkeys(pods)]
    spaces = required(peer.namespaces)
    if spaces is not None and (pods is None or all(key == NAMESPACE_NAME_LABEL for key, _ in spaces)):
        return [("space label", *pair) for pair in dict.fromkeys(spaces)]
    if pods is not None:
        return [("label", *pair) for pair in dict.fromkeys(pods)]
    return [("any",)]


class Hooks(Generic[T]):
    """Items filed under what an endpoint must have for their peer to select it."""

    def __init__(self) -> None:
        self._filed: dict[Hook, dict[T, PodPeer]] = {}

    def __bool__(self) -> bool:
        return bool(self._filed)

    def add(self, item: T, peer: PodPeer) -> None:
        """File an item."""
        for hook in hooks(peer):
            self._filed.setdefault(hook, {})[item] = peer

    def remove(self, item: T, peer: PodPeer) -> None:
        """Take an item out again."""
        for hook in hooks(peer):
            items = self._filed.get(hook, {})
            items.pop(item, None)
            if not items:
                self._filed.pop(hook, None)

    def selecting(self, endpoint: Endpoint, population: Population) -> Iterator[T]:
        """Each item whose peer selects the endpoint, once."""
        for hook in self._hooks_of(endpoint, population):
            for item, peer in self._filed.get(hook, {}).items():
                if population.selects(peer, endpoint):
                    yield item

    @staticmethod
    def _hooks_of(endpoint: Endpoint, population: Population) -> Iterator[Hook]:
        yield ("space", endpoint.namespace)
        for key, value in endpoint.labels:
            yield ("label", key, value)
            yield ("label in", endpoint.namespace, key, value)
        for key, value in population.space_labels(endpoint.namespace):
            yield ("space label", key, value)
        yield ("any",)

"""Subjects: the endpoints attached to this host, the policies that apply to them, and their sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cloche.model.policy import Direction, Policy
from cloche.model.topology import Attachment, Endpoint
from cloche.partition.peers import Peers
from cloche.partition.population import Hooks, Population
from cloche.partition.ports import PortSets
from cloche.partition.rules import ReadyPolicy, RuleSet, SetKey, let_go, make_ready, rank

Recipe = tuple[object, ...]


class SharedSet:
    """A set in use: its rules as they are now, and how many endpoints share it."""

    __slots__ = ("recipe", "rules", "uses")

    def __init__(self, rules: RuleSet, recipe: Recipe) -> None:
        self.rules, self.recipe, self.uses = rules, recipe, 0


class Subject:
    """An attached endpoint. ``sets`` by direction (None: no policy). ``endpoint`` None: not known yet."""

    __slots__ = ("attachment", "endpoint", "policies", "sets")

    def __init__(self, attachment: Attachment, endpoint: Endpoint | None) -> None:
        self.attachment, self.endpoint = attachment, endpoint
        self.policies: tuple[str, ...] = ()
        self.sets: list[SharedSet | None] = [None, None]


class Subjects:
    """All subjects by key. ``touched`` (keys) and ``rewritten`` (sets) collect until taken."""

    def __init__(self, population: Population, peers: Peers, port_sets: PortSets) -> None:
        self.subjects: dict[str, Subject] = {}
        self.ready: dict[str, ReadyPolicy] = {}
        self.touched: set[str] = set()
        self.rewritten: set[SharedSet] = set()
        self.shared: dict[SetKey, SharedSet] = {}
        self._population, self._peers, self._port_sets = population, peers, port_sets
        self._policies: dict[str, Policy] = {}
        self._hooks: Hooks[str] = Hooks()
        self._uses: dict[str, int] = {}
        self._recipes: dict[Recipe, SharedSet] = {}
        self._stale: dict[str, ReadyPolicy] = {}
        self._gone: list[Subject] = []

    def put(self, key: str, attachment: Attachment | None, endpoint: Endpoint | None) -> None:
        """An endpoint is attached like this; no attachment: it is gone from here."""
        subject = self.subjects.get(key)
        if attachment is None and subject is None:
            return
        self.touched.add(key)
        if attachment is None:
            self._gone.append(self.subjects.pop(key))
        elif subject is None:
            self.subjects[key] = Subject(attachment, endpoint)
        else:
            subject.attachment, subject.endpoint = attachment, endpoint

    def put_policy(self, key: str, policy: Policy | None) -> None:
        """A policy is like this now; None: it is gone. Takes effect with ``settle``."""
        old = self._policies.pop(key, None)
        if old is not None:
            self._hooks.remove(key, old.subject)
            self._touch(old)
        if policy is not None:
            self._policies[key] = policy
            self._hooks.add(key, policy.subject)
            self._touch(policy)
        if key in self.ready:
            self._stale[key] = self.ready[key]

    def settle(self) -> None:
        """Bring policies and sets of all that was touched up to date."""
        present = [self.subjects[key] for key in sorted(self.touched) if key in self.subjects]
        for key in self._stale:
            if key in self._policies:
                self.ready[key] = make_ready(self._policies[key], self._peers, self._port_sets)
        for subject in present:
            names: Iterable[str] = ()
            if subject.endpoint is not None and not subject.endpoint.host_network:
                names = self._hooks.selecting(subject.endpoint, self._population)
            self._apply(subject, tuple(sorted(names, key=lambda n: rank(self._policies[n]))))
        for subject in present:
            self._take_sets(subject, [self.ready[name] for name in subject.policies])
        for subject in self._gone:
            self._apply(subject, ())
            self._take_sets(subject, ())
        for old in self._stale.values():
            let_go(old, self._peers, self._port_sets)
        self._stale.clear()
        self._gone.clear()

    def _touch(self, policy: Policy) -> None:
        """Whoever a policy selects must be looked at again."""
        peer = policy.subject
        keys: Collection[str] = self.subjects
        if peer.namespaces is None:
            keys = min(keys, self._population.in_space(peer.namespace), key=len)
        for key in keys:
            subject = self.subjects.get(key)
            if subject is None or key in self.touched or subject.endpoint is None:
                continue
            if self._population.selects(peer, subject.endpoint):
                self.touched.add(key)

    def _apply(self, subject: Subject, policies: tuple[str, ...]) -> None:
        for name in policies:
            if name not in subject.policies:
                self._uses[name] = self._uses.get(name, 0) + 1
                if name not in self.ready:
                    self.ready[name] = make_ready(self._policies[name], self._peers, self._port_sets)
        for name in subject.policies:
            if name not in policies:
                self._uses[name] -= 1
                if not self._uses[name]:
                    del self._uses[name]
                    self._drop(name)
        subject.policies = policies

    def _drop(self, name: str) -> None:
        ready = self.ready.pop(name)
        if self._stale.get(name) is not ready:
            let_go(ready, self._peers, self._port_sets)

    def _take_sets(self, subject: Subject, policies: Iterable[ReadyPolicy]) -> None:
        for direction in Direction:
            speaking = tuple(p for p in policies if p.rules[direction] is not None)
            new = self._shared(direction, speaking, subject.endpoint) if speaking else None
            old = subject.sets[direction]
            if new is not None:
                new.uses += 1
            if old is not None:
                old.uses -= 1
                if not old.uses:
                    self._forget(old)
            subject.sets[direction] = new

    def _shared(
        self, direction: Direction, policies: tuple[ReadyPolicy, ...], endpoint: Endpoint | None
    ) -> SharedSet:
        assert endpoint is not None
        named = direction is Direction.INGRESS and any(policy.names for policy in policies)
        recipe: Recipe = (direction, *policies, endpoint.ports if named else ())
        shared = self._recipes.get(recipe)
        if shared is not None:
            return shared
        rules = RuleSet(direction, policies, endpoint)
        for ports in rules.port_sets():
            self._port_sets.acquire(ports)
        shared = self.shared.get(rules.key)
        if shared is None:
            shared = self.shared[rules.key] = SharedSet(rules, recipe)
        else:
            for ports in shared.rules.port_sets():
                self._port_sets.release(ports)
            if not shared.rules.same_rules(rules):
                self.rewritten.add(shared)
            self._recipes.pop(shared.recipe, None)
            shared.rules, shared.recipe = rules, recipe
        self._recipes[recipe] = shared
        return shared

    def _forget(self, shared: SharedSet) -> None:
        del self.shared[shared.rules.key]
        self._recipes.pop(shared.recipe, None)
        self.rewritten.discard(shared)
        for ports in shared.rules.port_sets():
            self._port_sets.release(ports)

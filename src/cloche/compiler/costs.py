"""What each policy, or service, takes of that which ran out: so that a refusal names whom to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cloche.errors import Cost
from cloche.model.policy import BlockPeer, Direction
from cloche.model.topology import NOWHERE
from cloche.partition.rules import ReadyPolicy, ReadyRule
from cloche.partition.subjects import SharedSet
from cloche.partition.view import View

Amounts = Counter[str]


def costs(what: str, view: View) -> list[Cost]:
    """The policies (of services and backends the services) by what they take of ``what``, dearest first;
    none where pods alone count."""
    count = COUNTED.get(what)
    if count is None:
        return []
    found = [Cost(key, amount, _place(view, key)) for key, amount in count(view).items() if amount]
    return sorted(found, key=lambda cost: (-cost.amount, cost.name))


def _place(view: View, key: str) -> str:
    owner = view.state.policies.get(key) or view.state.services.get(key)
    return str(owner.origin) if owner is not None and owner.origin != NOWHERE else ""


def _rules(ready: ReadyPolicy) -> Iterator[ReadyRule]:
    return (rule for side in ready.rules for rule in side or ())


def _sets_in_use(view: View) -> set[SharedSet]:
    return {one for subject in view.subjects.subjects.values() for one in subject.sets if one is not None}


def _sets(view: View) -> Amounts:
    """In how many sets each policy is."""
    used = _sets_in_use(view)
    return Counter(policy for one in used for policy in {origin.policy for origin in one.rules.key} if policy)


def _counters(view: View) -> Amounts:
    """How many rules of each policy are counted: once in each set that it is in."""
    origins = (origin for one in _sets_in_use(view) for origin in one.rules.key)
    return Counter(origin.policy for origin in origins if origin.policy)


def _classes(view: View) -> Amounts:
    """How many classes each policy's peers tell apart from others."""
    return Counter({key: _classes_of(view, ready) for key, ready in view.subjects.ready.items()})


def _classes_of(view: View, ready: ReadyPolicy) -> int:
    return len(view.classes.with_any({rule.predicate.number for rule in _rules(ready)}))


def _cells(view: View) -> Amounts:
    """How many rows each policy has something to say in: its classes in each set that it is in."""
    classes, sets = _classes(view), _sets(view)
    return Counter({key: classes[key] * sets[key] for key in classes})


def _atoms(view: View) -> Amounts:
    """How many port ranges each policy names."""
    amounts: Amounts = Counter()
    for key, ready in view.subjects.ready.items():
        amounts[key] = sum(map(len, {rule.ports for rule in _rules(ready) if rule.ports is not None}))
    return amounts


def _prefixes(view: View) -> Amounts:
    """How many distinct blocks each policy names, those it excepts among them."""
    amounts: Amounts = Counter()
    for key, ready in view.subjects.ready.items():
        sides = (ready.policy.rules(direction) or () for direction in Direction)
        peers = [peer for rules in sides for rule in rules for peer in rule.peers or ()]
        blocks = {block for p in peers if isinstance(p, BlockPeer) for block in (p.block, *p.excepts)}
        amounts[key] = len(blocks)
    return amounts


def _services(view: View) -> Amounts:
    """How many addresses and ports each service is held under."""
    return Counter({s.key: len(s.addresses) * len(s.ports) for s in view.state.services.values()})


def _backends(view: View) -> Amounts:
    """How many backends each service has, port by port."""

    def amount(ports: Iterable[object]) -> int:
        return sum(len(getattr(port, "backends", ())) for port in ports)

    return Counter({service.key: amount(service.ports) for service in view.state.services.values()})


COUNTED: dict[str, Callable[[View], Amounts]] = {
    "sets": _sets,
    "counters": _counters,
    "classes": _classes,
    "cells": _cells,
    "atoms": _atoms,
    "prefixes": _prefixes,
    "services": _services,
    "backends": _backends,
}

"""Ordered rules: the policies of one endpoint in one direction, and what they decide for each class and atom.

Tiers are judged admin, default, baseline; docs/design/packets.md and ``model.evaluate`` say the same thing
slowly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cloche.model.flow import Verdict
from cloche.model.policy import Action, Direction, Policy, PortMatch, Rule, Tier
from cloche.model.topology import Endpoint
from cloche.partition.classes import Kind, Signature
from cloche.partition.peers import NOTHING, Peers, Predicate
from cloche.partition.population import PortName
from cloche.partition.ports import PortSet, PortSets, port_set, single
from cloche.tables.schema import Cell, RuleOrigin

ISOLATION = -1
Question = tuple[frozenset[int], Kind, frozenset[int], tuple[tuple[PortName, tuple[int, ...]], ...]]
SetKey = tuple[RuleOrigin, ...]
Decided = list[tuple[int, int]]
"""Masks of atoms, disjoint, and their packed cell."""


class ReadyRule(NamedTuple):
    """A rule with its predicate and port set looked up. ``ports`` None: every port and protocol."""

    place: int
    action: Action
    predicate: Predicate
    ports: PortSet | None
    names: tuple[PortName, ...]


class ReadyPolicy:
    """A policy whose rules' predicates and port sets are in use; ``rules`` by direction, None where it says
    nothing. Two are equal only if they are one."""

    __slots__ = ("names", "policy", "rules")

    def __init__(self, policy: Policy, rules: tuple[tuple[ReadyRule, ...] | None, ...]) -> None:
        self.policy, self.rules = policy, rules
        self.names = {name for rule in rules[Direction.INGRESS] or () for name in rule.names}


def make_ready(policy: Policy, peers: Peers, port_sets: PortSets) -> ReadyPolicy:
    """Take what a policy's rules need into use."""

    def ready(rule: Rule, direction: Direction) -> ReadyRule:
        names = tuple(sorted({(p.name, p.protocol) for p in rule.ports or () if p.name}))
        ports = None if rule.ports is None else port_set(rule.ports)
        if ports is not None:
            port_sets.acquire(ports)
        asked = names if direction is Direction.EGRESS else ()
        return ReadyRule(rule.index, rule.action, peers.acquire(rule.peers, asked), ports, names)

    def side(direction: Direction) -> tuple[ReadyRule, ...] | None:
        rules = policy.rules(direction)
        return None if rules is None else tuple(ready(rule, direction) for rule in rules)

    return ReadyPolicy(policy, (side(Direction.EGRESS), side(Direction.INGRESS)))


def let_go(ready: ReadyPolicy, peers: Peers, port_sets: PortSets) -> None:
    """Undo ``make_ready``."""
    for direction in Direction:
        for rule in ready.rules[direction] or ():
            if rule.ports is not None:
                port_sets.release(rule.ports)
            peers.release(rule.predicate, rule.names if direction is Direction.EGRESS else ())


def rank(policy: Policy) -> tuple[int, int, str, str, str]:
    """Where a policy stands among all; the default tier knows no priority."""
    priority = 0 if policy.tier is Tier.DEFAULT else policy.priority
    return policy.tier, priority, policy.namespace, policy.name, policy.kind


class PlacedRule(NamedTuple):
    """A rule at its local number; ``own``: what its names are for the subject (ingress)."""

    number: int
    rule: ReadyRule
    own: tuple[PortSet, ...]


class RuleSet:
    """The rules of a set, in order. ``key`` is what the set is known by: its rules' origins."""

    def __init__(self, direction: Direction, policies: Iterable[ReadyPolicy], subject: Endpoint) -> None:
        self.direction = direction
        self.tiers: dict[Tier, list[PlacedRule]] = {tier: [] for tier in Tier}
        self.isolated = False
        self.by_predicate: dict[int, list[PlacedRule]] = {}
        self._placed: list[PlacedRule] = []
        self._bases: dict[Kind, tuple[int, ...]] = {}
        self._unnamed: dict[Kind, Question] = {}
        """For classes of which the set names no predicate, as most are."""
        origins = [RuleOrigin("", direction, ISOLATION)]
        for ready in policies:
            rules = ready.rules[direction]
            if rules is None:
                continue
            if ready.policy.tier is Tier.DEFAULT and not self.isolated:
                self.isolated = True
                origins[0] = RuleOrigin(ready.policy.key, direction, ISOLATION)
            for rule in rules:
                own = _own_ports(rule, subject) if direction is Direction.INGRESS else ()
                placed = PlacedRule(len(origins), rule, tuple(single(p.protocol, p.first) for p in own))
                origins.append(RuleOrigin(ready.policy.key, direction, rule.place, own))
                self.tiers[ready.policy.tier].append(placed)
                self.by_predicate.setdefault(rule.predicate.number, []).append(placed)
                self._placed.append(placed)
        self.key: SetKey = tuple(origins)
        self._asks_names = direction is Direction.EGRESS and any(p.rule.names for p in self._placed)

    def same_rules(self, other: RuleSet) -> bool:
        """True when both decide alike for everyone (given equal keys)."""
        return self.tiers == other.tiers

    def port_sets(self) -> Iterator[PortSet]:
        """The sets of one port that the subject's named ports make."""
        for placed in self._placed:
            yield from placed.own

    def question(self, signature: Signature) -> Question:
        """What of a class matters to this set: equal questions get equal decisions. Local numbers of the
        rules that match (or, of an unknown endpoint, might match), the kind, the certain predicates of an
        unknown endpoint, and the other side's named ports where a rule asks for them."""
        own = [number for number in signature.predicates if number in self.by_predicate]
        if own or self._asks_names:
            return self._question(signature, own)
        if signature.kind not in self._unnamed:
            self._unnamed[signature.kind] = self._question(signature, own)
        return self._unnamed[signature.kind]

    def _question(self, signature: Signature, own: list[int]) -> Question:
        """``own``: which of the class's predicates the set names."""
        numbers = set(self._base(signature.kind))
        for number in own:
            numbers.update(placed.number for placed in self.by_predicate[number])
        kind = Kind.KNOWN if signature.kind is Kind.OUTSIDE else signature.kind
        certain = frozenset(own) if kind is Kind.UNKNOWN else NOTHING
        asks = self._asks_names and any(self._placed[n - 1].rule.names for n in numbers)
        return frozenset(numbers), kind, certain, signature.ports if asks else ()

    def _base(self, kind: Kind) -> tuple[int, ...]:
        """The rules that match every class of a kind, by local number."""
        if kind not in self._bases:
            self._bases[kind] = tuple(
                placed.number for placed in self._placed if _matches_all(placed.rule, kind)
            )
        return self._bases[kind]

    def decide(self, signature: Signature, masks: Mapping[PortSet, int], everything: int) -> Decided:
        """What the set decides for a class: a cell for each atom of ``everything``. ``masks``: the atoms of
        each port set."""
        matching, _, _, declared = self.question(signature)
        asked = _Asked(signature, declared, masks, everything)
        decided: Decided = []
        left, passed = self._ordered(Tier.ADMIN, matching, asked, decided)
        left |= passed
        if self.isolated and signature.kind is not Kind.HOST:
            for placed in self.tiers[Tier.DEFAULT]:
                if placed.number in matching and placed.rule.action is Action.ALLOW:
                    hit = left & asked.ports(placed)
                    decided.append((hit, Cell(Verdict.ALLOW, rule=placed.number).pack()))
                    left &= ~hit
            decided.append((left, Cell(Verdict.DENY).pack()))
            left = 0
        elif signature.kind is not Kind.HOST:
            asked = asked._replace(everything=left)
            left, passed = self._ordered(Tier.BASELINE, matching, asked, decided)
            left |= passed
        decided.append((left, Cell(Verdict.ALLOW).pack()))
        return [(mask, cell) for mask, cell in decided if mask]

    def _ordered(
        self, tier: Tier, matching: frozenset[int], asked: _Asked, decided: Decided
    ) -> tuple[int, int]:
        """Admin or baseline: the first rule that matches decides. Returns the atoms left and those passed."""
        left, passed = asked.everything, 0
        for placed in self.tiers[tier]:
            if placed.number not in matching:
                continue
            hit = left & asked.ports(placed)
            left &= ~hit
            action = placed.rule.action
            if action is Action.PASS and _certain_pass(placed.rule.predicate, asked.signature):
                passed |= hit
                continue
            verdict = Verdict.ALLOW if action is Action.ALLOW else Verdict.DENY
            decided.append((hit, Cell(verdict, rule=placed.number).pack()))
        return left, passed


class _Asked(NamedTuple):
    """A class, the atoms of each port set, and the atoms that are asked about."""

    signature: Signature
    declared: tuple[tuple[PortName, tuple[int, ...]], ...]
    masks: Mapping[PortSet, int]
    everything: int

    def ports(self, placed: PlacedRule) -> int:
        """The atoms of a rule's ports, its names resolved."""
        if placed.rule.ports is None:
            return self.everything
        mask = self.masks[placed.rule.ports]
        for own in placed.own:
            mask |= self.masks[own]
        for name, numbers in self.declared:
            if name in placed.rule.names:
                for number in numbers:
                    mask |= self.masks[single(name[1], number)]
        return mask


def _matches_all(rule: ReadyRule, kind: Kind) -> bool:
    """True when a rule matches every address of a kind. An unknown endpoint might be any that a selector
    selects, so what denies or passes by selector counts as matching it."""
    if rule.predicate.everyone:
        return True
    if kind is Kind.UNKNOWN and rule.action is not Action.ALLOW and rule.predicate.selects:
        return True
    return rule.predicate.universal and kind in (Kind.KNOWN, Kind.UNKNOWN)


def _certain_pass(predicate: Predicate, signature: Signature) -> bool:
    """True when a rule that passes may: of an unknown endpoint only what no selector says is certain."""
    if signature.kind is not Kind.UNKNOWN:
        return True
    return predicate.everyone or predicate.number in signature.predicates


def _own_ports(rule: ReadyRule, subject: Endpoint) -> tuple[PortMatch, ...]:
    """What a rule's named ports are on an endpoint, as the API says: of that name and protocol."""
    found = {
        PortMatch(port.protocol, port.port, port.port)
        for port in subject.ports
        if (port.name, port.protocol) in rule.names
    }
    return tuple(sorted(found))

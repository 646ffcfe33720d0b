"""Numbers back to names: which endpoint an address or number is, and which rule decided."""

from __future__ import annotations

from collections import deque

from cloche.agent.messages import RuleReference
from cloche.model.address import Address
from cloche.model.policy import Direction
from cloche.model.state import Delete, Event, Put, State
from cloche.model.topology import Attachment, Endpoint, Service
from cloche.tables.schema import RuleOrigin

KEPT = 16
"""Meanings that a set's number keeps when it is given to another set, so that late events still resolve."""


class Directory:
    """The model as it is active, indexed for the way back. One task feeds it; anyone may ask."""

    def __init__(self) -> None:
        self.state = State()
        self._by_address: dict[Address, str] = {}
        self._services: dict[Address, str] = {}
        self._by_number: dict[int, str] = {}
        self._rules: dict[int, deque[tuple[int, tuple[RuleOrigin, ...]]]] = {}

    def forget(self) -> None:
        """Begin anew with the model; what rules stood for stays known."""
        self.state = State()
        for index in (self._by_address, self._services, self._by_number):
            index.clear()

    def apply(self, event: Event) -> None:
        """Take in one event of the change that has become active."""
        match event:
            case Put(object):
                self._forget(type(object).__name__, object.key)
                self._learn(object)
            case Delete(kind, key):
                self._forget(kind, key)
        self.state.apply(event)

    def _learn(self, thing: object) -> None:
        match thing:
            case Endpoint(addresses=addresses) if not thing.host_network:
                self._by_address.update(dict.fromkeys(addresses, thing.key))
            case Service(addresses=addresses):
                self._services.update(dict.fromkeys(addresses, thing.key))
            case Attachment(number=number):
                self._by_number[number] = thing.endpoint

    def _forget(self, kind: str, key: str) -> None:
        match kind:
            case "Endpoint" if key in self.state.endpoints:
                for address in self.state.endpoints[key].addresses:
                    self._by_address.pop(address, None)
            case "Service" if key in self.state.services:
                for address in self.state.services[key].addresses:
                    self._services.pop(address, None)
            case "Attachment" if key in self.state.attachments:
                self._by_number.pop(self.state.attachments[key].number, None)

    def learn_rules(self, generation: int, number: int, rules: tuple[RuleOrigin, ...]) -> None:
        """From ``generation`` on the set ``number`` has these rules."""
        self._rules.setdefault(number, deque(maxlen=KEPT)).append((generation, rules))

    def endpoint(self, number: int, address: Address) -> str:
        """The key of the endpoint with this number, else with this address; empty for none."""
        return self._by_number.get(number) or self._by_address.get(address, "")

    def by_address(self, address: Address) -> str:
        """The key of the endpoint that has this address; empty for none."""
        return self._by_address.get(address, "")

    def service(self, address: Address) -> str:
        """The key of the service that has this address; empty for none."""
        return self._services.get(address, "")

    def rule(self, generation: int, number: int, local: int) -> RuleReference | None:
        """What the local rule of a set stood for in that generation; None where there was none.

        Rule 0 is what decides when no rule matches: the first policy that isolates, if any does.
        """
        for since, rules in reversed(self._rules.get(number, ())):
            if since <= generation:
                return self._refer(rules[local]) if local < len(rules) and rules[local].policy else None
        return None

    def _refer(self, origin: RuleOrigin) -> RuleReference:
        policy = self.state.policies.get(origin.policy)
        place = ""
        if policy is not None:
            rules = policy.rules(origin.direction) or ()
            found = [rule.origin for rule in rules if rule.index == origin.index]
            place = str(found[0] if found else policy.origin)
        return RuleReference(origin.policy, Direction(origin.direction).name.lower(), origin.index, place)

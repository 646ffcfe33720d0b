"""A state cut down to what can matter to one packet, so that the oracle's time does not grow with the world.

The oracle reads every endpoint and every policy for each packet. Of these only the endpoints that have one of
the packet's two addresses count, and the policies that select one of those: the rest says nothing about it.
Nothing else is left out, and the oracle itself is untouched; a property test holds both to one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cloche.model.address import Address
from cloche.model.evaluate import selects
from cloche.model.flow import Packet
from cloche.model.policy import Policy
from cloche.model.state import Delete, Event, Object, Put, State
from cloche.model.topology import Endpoint, Service

Place = tuple[int, Address]
"""Network number and address."""


class Focus:
    """A state kept up to date by events. ``around`` is what of it a packet can meet."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.state = State()
        self.served: Counter[Place] = Counter()
        """Addresses of services: how many have each."""
        self._owners: dict[Place, set[str]] = {}
        self._narrow: dict[str, dict[str, Policy]] = {}
        """Policies that speak of one namespace alone, by it."""
        self._wide: dict[str, Policy] = {}
        self._selecting: dict[str, tuple[Policy, ...]] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, Put):
            kind, key = type(event.object).__name__, event.object.key
        elif isinstance(event, Delete):
            kind, key = event.kind, event.key
        else:
            return
        collections: dict[str, dict[str, Object]] = {
            "Endpoint": self.state.endpoints,  # type: ignore[dict-item]
            "Policy": self.state.policies,  # type: ignore[dict-item]
            "Service": self.state.services,  # type: ignore[dict-item]
        }
        old = collections[kind].get(key) if kind in collections else None
        if old is not None:
            self._index(old, -1)
        self.state.apply(event)
        if isinstance(event, Put):
            self._index(event.object, 1)
        if kind in ("Endpoint", "Policy", "Namespace"):
            self._selecting.clear()

    def _index(self, one: Object, step: int) -> None:
        match one:
            case Endpoint():
                for address in one.addresses:
                    place = (one.network, address)
                    if step > 0:
                        self._owners.setdefault(place, set()).add(one.key)
                    else:
                        self._owners[place].discard(one.key)
                        if not self._owners[place]:
                            del self._owners[place]
            case Policy():
                narrow = one.subject.namespaces is None
                shelf = self._narrow.setdefault(one.subject.namespace, {}) if narrow else self._wide
                if step > 0:
                    shelf[one.key] = one
                else:
                    shelf.pop(one.key, None)
            case Service():
                for address in one.addresses:
                    self.served[one.network, address] += step
            case _:
                pass

    def owner(self, network: int, address: Address) -> Endpoint | None:
        """The endpoint that has an address: the first by key, as the oracle says."""
        keys = sorted(self._owners.get((network, address), ()))
        found = (self.state.endpoints[key] for key in keys)
        return next((endpoint for endpoint in found if not endpoint.host_network), None)

    def selecting(self, endpoint: Endpoint) -> tuple[Policy, ...]:
        """The policies whose subjects an endpoint is among, by the oracle's own ``selects``."""
        found = self._selecting.get(endpoint.key)
        if found is None:
            candidates = [*self._narrow.get(endpoint.namespace, {}).values(), *self._wide.values()]
            found = tuple(p for p in candidates if selects(self.state, p.subject, endpoint))
            self._selecting[endpoint.key] = found
        return found

    def around(self, packet: Packet) -> State:
        """The state as far as it can matter to this packet. Not to be changed."""
        whole, part = self.state, State()
        part.namespaces, part.networks = whole.namespaces, whole.networks
        part.hosts, part.attachments = whole.hosts, whole.attachments
        for address in (packet.source, packet.destination):
            for key in self._owners.get((packet.network, address), ()):
                endpoint = part.endpoints[key] = whole.endpoints[key]
                part.policies.update((policy.key, policy) for policy in self.selecting(endpoint))
        return part

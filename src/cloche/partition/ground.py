"""Whose each address is: endpoints', services', hosts', reserved; by network, with the networks' ranges."""

from __future__ import annotations

from collections import Counter

from cloche.model.address import Address
from cloche.model.topology import (
    DEFAULT_NETWORK,
    GATEWAY4,
    GATEWAY6,
    HAIRPIN4,
    HAIRPIN6,
    Endpoint,
    Host,
    Network,
    Service,
)
from cloche.partition.blocks import Territory
from cloche.partition.peers import Peers
from cloche.tables.schema import AddressFlag, AddressKey

RESERVED: dict[Address, AddressFlag] = {
    GATEWAY4: AddressFlag.GATEWAY,
    GATEWAY6: AddressFlag.GATEWAY,
    HAIRPIN4: AddressFlag.HAIRPIN,
    HAIRPIN6: AddressFlag.HAIRPIN,
}
NO_FLAG = AddressFlag(0)


class Ground:
    """Networks and the addresses known in them. ``changed`` collects addresses until taken, in the order in
    which they came: what came together lies together in memory, and a full compile waits for memory most."""

    def __init__(self, host: str, territories: dict[int, Territory], peers: Peers) -> None:
        self.holders: dict[AddressKey, tuple[str, ...]] = {}
        """Which endpoints say that an address is theirs, in order; the first one has it."""
        self.changed: dict[AddressKey, None] = {}
        self.left: set[int] = set()
        """Networks that are gone, until taken."""
        self._host, self._territories, self._peers = host, territories, peers
        self._served: Counter[AddressKey] = Counter()
        self.own: set[Address] = set()
        """This host's addresses."""
        self._hosts: Counter[Address] = Counter()
        self._use(DEFAULT_NETWORK, 1)

    def flags(self, at: AddressKey) -> AddressFlag:
        """What an address is by its own; 0: an endpoint's, if it is known at all."""
        if at.address in RESERVED:
            return RESERVED[at.address]
        if at.address in self.own:
            return AddressFlag.HOST
        if at in self._served and at not in self.holders:
            return AddressFlag.SERVICE
        return NO_FLAG

    def put_endpoint(self, key: str, endpoint: Endpoint, step: int) -> None:
        """An endpoint comes (1) or goes (-1)."""
        territory = self._use(endpoint.network, step)
        for address in endpoint.addresses:
            if endpoint.host_network:
                territory.add_foreign(address, step)
                continue
            at = AddressKey(endpoint.network, address)
            self.changed[at] = None
            others = self.holders.get(at, ())
            if step > 0:
                self.holders[at] = tuple(sorted({*others, key})) if others else (key,)
                if not others:
                    territory.addresses.add(address)
            elif others == (key,):
                del self.holders[at]
                territory.addresses.remove(address)
            else:
                self.holders[at] = tuple(name for name in others if name != key)
        if step < 0:
            self._leave(endpoint.network)

    def put_service(self, service: Service, step: int) -> None:
        """A service comes or goes."""
        self._use(service.network, step)
        for address in service.addresses:
            at = AddressKey(service.network, address)
            self.changed[at] = None
            self._served[at] += step
            if not self._served[at]:
                del self._served[at]
        if step < 0:
            self._leave(service.network)

    def put_network(self, network: Network, step: int) -> None:
        """A network comes or goes."""
        self._use(network.number, step).set_ranges(network.ranges if step > 0 else ())
        if step < 0:
            self._leave(network.number)

    def put_host(self, host: Host, step: int) -> None:
        """A host comes or goes."""
        for address in host.addresses:
            self._hosts[address] += step
            if not self._hosts[address]:
                del self._hosts[address]
            for territory in self._territories.values():
                territory.add_foreign(address, step)
        if host.name == self._host:
            self.own = set(host.addresses) if step > 0 else set()
            self.changed.update((AddressKey(n, a), None) for n in self._territories for a in host.addresses)

    def _use(self, network: int, step: int) -> Territory:
        """A network is needed once more (1) or once less (-1)."""
        territory = self._territories.get(network)
        if territory is None:
            territory = self._territories[network] = Territory()
            self._peers.add_territory(territory)
            for address, count in self._hosts.items():
                territory.add_foreign(address, count)
            self.changed.update((AddressKey(network, a), None) for a in (*RESERVED, *self.own))
        territory.uses += step
        return territory

    def _leave(self, network: int) -> None:
        """Forget a network that nobody needs."""
        if not self._territories[network].uses:
            del self._territories[network]
            self.left.add(network)
            self.changed.update((AddressKey(network, a), None) for a in (*RESERVED, *self.own))

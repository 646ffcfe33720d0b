"""What the front of a service is to say: it follows from the rest of the tables (docs/design/fronts.md)."""

from __future__ import annotations

from cloche.tables.schema import (
    FRONT_BACKENDS,
    AddressEntry,
    AddressFlag,
    AddressKey,
    FrontEntry,
    ServiceEntry,
    ServiceKey,
    Tables,
)


def is_served(entry: AddressEntry | None) -> bool:
    """True for a service's address that is no endpoint's and not the host's own, as the program asks."""
    if entry is None or entry.endpoint:
        return False
    return entry.flags & (AddressFlag.HOST | AddressFlag.SERVICE) == AddressFlag.SERVICE


def near_places(entry: ServiceEntry) -> range:
    """Where those of a service's backends are that its front names too."""
    return range(entry.first, entry.first + min(entry.backends, FRONT_BACKENDS))


def front_of(tables: Tables, key: ServiceKey) -> FrontEntry | None:
    """The front of a service; None when there is no such service, or it names a backend that is not there."""
    entry = tables.services.get(key)
    if entry is None:
        return None
    found = [tables.backends.get(place) for place in near_places(entry)]
    near = tuple((backend.address, backend.port) for backend in found if backend is not None)
    if len(near) < len(found):
        return None
    shown = is_served(tables.addresses.get(AddressKey(key.network, key.address)))
    return FrontEntry(key, entry, near, shown)

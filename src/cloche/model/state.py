"""The fold of model events: what should be, as one value that sources keep up to date."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloche.model.policy import Policy
from cloche.model.topology import Attachment, Endpoint, Host, Namespace, Network, Service

Object = Namespace | Network | Host | Endpoint | Service | Policy | Attachment
KINDS: dict[str, type[Object]] = {
    kind.__name__: kind for kind in (Namespace, Network, Host, Endpoint, Service, Policy, Attachment)
}


At = tuple[str, str]
"""An object's kind and key."""


class Put(msgspec.Struct, frozen=True, tag=True):
    """An object is now like this."""

    object: Object


class Delete(msgspec.Struct, frozen=True, tag=True):
    """The object of this kind (a name in ``KINDS``) and key is gone."""

    kind: str
    key: str


class Synced(msgspec.Struct, frozen=True, tag=True):
    """The source has told all it knew; only now may what it did not name be deleted."""

    source: str


Event = Put | Delete | Synced


class State:
    """All objects by kind and key, and who has synced. Order and repetition of events do not matter
    beyond the last word on each key."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.networks: dict[str, Network] = {}
        self.hosts: dict[str, Host] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.services: dict[str, Service] = {}
        self.policies: dict[str, Policy] = {}
        self.attachments: dict[str, Attachment] = {}
        self.synced: set[str] = set()
        self.collections: dict[str, dict[str, Object]] = {
            "Namespace": self.namespaces,  # type: ignore[dict-item]
            "Network": self.networks,  # type: ignore[dict-item]
            "Host": self.hosts,  # type: ignore[dict-item]
            "Endpoint": self.endpoints,  # type: ignore[dict-item]
            "Service": self.services,  # type: ignore[dict-item]
            "Policy": self.policies,  # type: ignore[dict-item]
            "Attachment": self.attachments,  # type: ignore[dict-item]
        }
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> tuple[At, Object | None] | None:
        """Take one event in. Deleting what is not there is nothing.

        Returns the kind and key that the event speaks of, with the object as it was before.
        """
        if isinstance(event, Put):
            value = event.object
            kind, key = type(value).__name__, value.key
            collection = self.collections[kind]
            old = collection.get(key)
            collection[key] = value
        elif isinstance(event, Delete):
            kind, key = event.kind, event.key
            old = self.collections[kind].pop(key, None)
        else:
            self.synced.add(event.source)
            return None
        return (kind, key), old

    def objects(self) -> Iterable[Object]:
        """Every object, kind by kind."""
        for collection in self.collections.values():
            yield from collection.values()

"""What the tracker remembers: flows, translations, affinity and fragments, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, TypeVar

import msgspec

from cloche.model.address import Address
from cloche.model.flow import AGES_NS, SECOND, Age, Delivery, Entry, Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import Backend


class FlowKind(IntEnum):
    """Numbers as ``enum flow_kind`` in ``bpf/types.h``."""

    PLAIN = 0
    TRANSLATION = 1


class Side(NamedTuple):
    """One side of a flow; incarnation 0 is what is no endpoint of this host."""

    incarnation: int
    address: Address
    port: int


class FlowKey(NamedTuple):
    """Both sides, the one with the lower (address, port) first: one key for both directions."""

    network: int
    low: Side
    high: Side
    protocol: int
    kind: FlowKind = FlowKind.PLAIN


def flow_key(network: int, one: Side, other: Side, protocol: int, kind: FlowKind = FlowKind.PLAIN) -> FlowKey:
    """The key of what goes on between two sides."""
    low, high = sorted((one, other), key=lambda side: (side.address, side.port))
    return FlowKey(network, low, high, protocol, kind)


class Front(NamedTuple):
    """The service's address and port that stand before one side of a translated flow."""

    address: Address
    port: int
    side: Side


class Flow(msgspec.Struct, frozen=True):
    """A flow. ``entry`` is the opener's; ``stack``: one side came through the host's stack.

    ``icmp`` is ``type << 8 | code`` of the packet that opened it. ``seen_ns`` as the clock of packets.
    ``fins`` are the sides that have sent a FIN. ``hairpin``: the opener is the receiver itself.
    """

    opener: Side
    receiver: Side
    network: int
    protocol: int
    generation: int
    seen_ns: int
    age: Age
    action: Verdict = Verdict.ALLOW
    reason: Reason = Reason.NONE
    entry: Entry = Entry.ENDPOINT
    stack: bool = False
    icmp: int = 0
    replied: bool = False
    fins: tuple[Side, ...] = ()
    front: Front | None = None
    hairpin: bool = False


class Translation(msgspec.Struct, frozen=True):
    """What a client's flow to a service was translated to; lives as long as that flow was seen to."""

    backend: Backend
    number: int
    epoch: int
    seen_ns: int
    age: Age


class AffinityKey(NamedTuple):
    """A service port's number and a client's address."""

    number: int
    network: int
    client: Address


class Affinity(NamedTuple):
    """Where a client's last flow went, and when."""

    backend: Backend
    seen_ns: int


class FragmentKey(NamedTuple):
    """A fragmented packet, addresses as on the wire; incarnation 0: through the stack; IPv6: protocol 0."""

    network: int
    incarnation: int
    source: Address
    destination: Address
    id: int
    protocol: int


class Fragments(msgspec.Struct, frozen=True):
    """What a first fragment left for the later ones.

    ``seen`` has a bit for each 8 bytes of payload; ``have`` and ``last`` are in bytes (0: not known).
    """

    seen_ns: int
    verdict: Verdict
    reason: Reason
    source: Address
    destination: Address
    source_port: int
    destination_port: int
    delivery: Delivery
    endpoint: str
    seen: int
    have: int
    last: int = 0


K = TypeVar("K")
V = TypeVar("V")


class Tracker(msgspec.Struct, frozen=True):
    """All that is remembered, as one value; every change makes a new one."""

    flows: Mapping[FlowKey, Flow] = {}
    translations: Mapping[FlowKey, Translation] = {}
    affinity: Mapping[AffinityKey, Affinity] = {}
    fragments: Mapping[FragmentKey, Fragments] = {}
    answers: Mapping[str, int] = {}
    """Until when, in ns, an endpoint's share of answers is used up."""

    def evict(self, key: FlowKey | AffinityKey | FragmentKey) -> Tracker:
        """Forget one entry, as the program was seen to; forgetting what is not there is nothing."""
        return Tracker(
            without(self.flows, key),
            without(self.translations, key),
            without(self.affinity, key),
            without(self.fragments, key),
            self.answers,
        )

    def flow(self, key: FlowKey, now_ns: int) -> Flow | None:
        """The live flow under a key."""
        flow = self.flows.get(key)
        return flow if flow is not None and now_ns - flow.seen_ns < AGES_NS[flow.age] else None

    def translation(self, key: FlowKey, now_ns: int) -> Translation | None:
        """The live translation under a key of kind TRANSLATION."""
        found = self.translations.get(key)
        return found if found is not None and now_ns - found.seen_ns < AGES_NS[found.age] else None

    def last_backend(self, key: AffinityKey, seconds: int, now_ns: int) -> Backend | None:
        """Where the client's last flow to the service port went, when less than ``seconds`` ago."""
        found = self.affinity.get(key)
        return found.backend if found is not None and now_ns - found.seen_ns < seconds * SECOND else None

    def fragment(self, key: FragmentKey, now_ns: int) -> Fragments | None:
        """The live entry of a fragmented packet."""
        found = self.fragments.get(key)
        return found if found is not None and now_ns - found.seen_ns < AGES_NS[Age.FRAGMENT] else None


def having(entries: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    """The entries with one more, or one changed."""
    return {**entries, key: value}


def without(entries: Mapping[K, V], key: object) -> Mapping[K, V]:
    """The entries without one."""
    return {k: v for k, v in entries.items() if k != key}

"""Policies: a subject, rules with peers and ports, in tiers. The one form that every policy API becomes."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from cloche.model.address import Block
from cloche.model.labels import Selector
from cloche.model.topology import NOWHERE, Origin


class Tier(IntEnum):
    """Judged in this order: admin, then default (NetworkPolicy, security groups), then baseline."""

    ADMIN = 0
    DEFAULT = 1
    BASELINE = 2


class Action(StrEnum):
    """What a matching rule does; ``PASS`` leaves the packet to the next tier."""

    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"


class Direction(IntEnum):
    """Seen from the subject: egress is judged where a packet starts, ingress where it ends."""

    EGRESS = 0
    INGRESS = 1


class PodPeer(msgspec.Struct, frozen=True, tag=True, order=True):
    """Endpoints by label. ``namespaces`` None: only the namespace named ``namespace``."""

    pods: Selector
    namespace: str = ""
    namespaces: Selector | None = None


class BlockPeer(msgspec.Struct, frozen=True, tag=True, order=True):
    """Addresses by CIDR, less the excepts; also matches endpoints that have such an address."""

    block: Block
    excepts: tuple[Block, ...] = ()

    def contains(self, address: bytes) -> bool:
        """True when the 16-byte address is in the block and in no except."""
        return self.block.contains(address) and not any(e.contains(address) for e in self.excepts)


Peer = PodPeer | BlockPeer


class PortMatch(msgspec.Struct, frozen=True, order=True):
    """Destination ports of one protocol: first..last, or a name that each destination resolves.

    For ICMP and ICMPv6 the number is ``type << 8 | code``. Protocols without ports match on 0..65535.
    """

    protocol: int
    first: int = 0
    last: int = 65535
    name: str = ""


class Rule(msgspec.Struct, frozen=True):
    """One rule. ``peers`` None: every peer; ``ports`` None: every protocol and port; ``()``: nothing."""

    index: int
    action: Action = Action.ALLOW
    peers: tuple[Peer, ...] | None = None
    ports: tuple[PortMatch, ...] | None = None
    origin: Origin = NOWHERE


class Policy(msgspec.Struct, frozen=True, tag=True):
    """A policy. ``egress``/``ingress`` None: says nothing in that direction (does not isolate).

    In the default tier a direction that is not None isolates its subjects: what no rule allows is
    denied. Elsewhere rules are tried by (priority, namespace, name, index), lowest first.
    """

    kind: str
    namespace: str
    name: str
    subject: PodPeer
    egress: tuple[Rule, ...] | None = None
    ingress: tuple[Rule, ...] | None = None
    tier: Tier = Tier.DEFAULT
    priority: int = 0
    uid: str = ""
    origin: Origin = NOWHERE

    @property
    def key(self) -> str:
        """``kind/namespace/name``."""
        return f"{self.kind}/{self.namespace}/{self.name}"

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of one direction, None where the policy says nothing."""
        return self.egress if direction is Direction.EGRESS else self.ingress

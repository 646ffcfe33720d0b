"""The maps' layout. Generated from bpf/types.h by tools/generate.py; do not edit."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

Buffer = bytes | bytearray | memoryview

CLOCHE_LAYOUT = 1
ATOMS_SIZE = 327936
ROW_UNIT = 16
CONFIG_EVENTS_OFF = 1
CONFIG_QUICK_OFF = 2
ADDRESS_HOST = 1
ADDRESS_SERVICE = 2
ADDRESS_GATEWAY = 4
ADDRESS_HAIRPIN = 8
ADDRESS_BLOCK_BITS = 15
PREFIX_OURS = 1
NODE_SLOTS = 16
NETWORKS = 1024
GROUP_CELLS = 64
GROUPS = 64
SET_NAMES = 1
FRONT_TRIES = 8
FRONT_BACKENDS = 4
FRONT_BLOCK_BITS = 12
FLOW_OPENED_BY_HIGH = 1
FLOW_STACK = 2
FLOW_HOST = 4
FLOW_TRANSLATED = 8
FLOW_HAIRPIN = 16
FLOW_REPLIED = 32
FLOW_FIN_LOW = 64
FLOW_FIN_HIGH = 128
FLOW_FRONT_HIGH = 256
ANSWER_NS = 10000000
ANSWERS_AT_ONCE = 50
FRAGMENT_WORDS = 128
FRAGMENTS_EACH = 16
HINT_BITS = 12
HINTS = 4096


class ProtocolSlot(IntEnum):
    """``enum protocol_slot``."""

    TCP = 0
    UDP = 1
    SCTP = 2
    ICMP = 3
    ICMPV6 = 4
    OTHER = 5
    COUNT = 6


class Verdict(IntEnum):
    """``enum verdict``."""

    UNSET = 0
    ALLOW = 1
    DENY = 2
    NEXT = 3


class Age(IntEnum):
    """``enum age``."""

    TCP_OPENING = 0
    TCP_OPEN = 1
    TCP_CLOSING = 2
    UDP = 3
    UDP_REPLIED = 4
    ICMP = 5
    OTHER = 6
    CUT = 7
    FRAGMENT = 8
    AFFINITY_UNUSED = 9
    COUNT = 12


_CONFIG = Struct("<QQII12Q2Q16s16s16s16sII6s2xI4x")
CONFIG_SIZE = 224
CONFIG_OFFSETS = {
    "generation": 0,
    "clock_ns": 8,
    "flags": 16,
    "event_rate": 20,
    "ages": 24,
    "hash_key": 120,
    "gateway4": 136,
    "gateway6": 152,
    "hairpin4": 168,
    "hairpin6": 184,
    "stack_ifindex": 200,
    "host_mark": 204,
    "stack_mac": 208,
    "event_burst": 216,
}


class Config(NamedTuple):
    """``struct config``, 224 bytes."""

    generation: int
    clock_ns: int
    flags: int
    event_rate: int
    ages: tuple[int, ...]
    hash_key: tuple[int, ...]
    gateway4: bytes
    gateway6: bytes
    hairpin4: bytes
    hairpin6: bytes
    stack_ifindex: int
    host_mark: int
    stack_mac: bytes
    event_burst: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _CONFIG.pack(
            self.generation,
            self.clock_ns,
            self.flags,
            self.event_rate,
            *self.ages,
            *self.hash_key,
            self.gateway4,
            self.gateway6,
            self.hairpin4,
            self.hairpin6,
            self.stack_ifindex,
            self.host_mark,
            self.stack_mac,
            self.event_burst,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _CONFIG.unpack(raw)
        return cls(
            v[0], v[1], v[2], v[3], v[4:16], v[16:18], v[18], v[19], v[20], v[21], v[22], v[23], v[24], v[25]
        )


class EndpointState(IntEnum):
    """``enum endpoint_state``."""

    ABSENT = 0
    CLOSED = 1
    OPEN = 2


_ENDPOINT = Struct("<QQIIII6s6sI16s16sIII36x")
ENDPOINT_SIZE = 128
ENDPOINT_OFFSETS = {
    "egress": 0,
    "ingress": 8,
    "state": 16,
    "ifindex": 20,
    "network": 24,
    "incarnation": 28,
    "mac": 32,
    "gateway_mac": 38,
    "mtu": 44,
    "address4": 48,
    "address6": 64,
    "slot_first": 80,
    "slot_count": 84,
    "flags": 88,
}


class Endpoint(NamedTuple):
    """``struct endpoint``, 128 bytes."""

    egress: int
    ingress: int
    state: int
    ifindex: int
    network: int
    incarnation: int
    mac: bytes
    gateway_mac: bytes
    mtu: int
    address4: bytes
    address6: bytes
    slot_first: int
    slot_count: int
    flags: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _ENDPOINT.pack(
            self.egress,
            self.ingress,
            self.state,
            self.ifindex,
            self.network,
            self.incarnation,
            self.mac,
            self.gateway_mac,
            self.mtu,
            self.address4,
            self.address6,
            self.slot_first,
            self.slot_count,
            self.flags,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _ENDPOINT.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13])


_ADDRESS_KEY = Struct("<I16s")
ADDRESS_KEY_SIZE = 20
ADDRESS_KEY_OFFSETS = {"network": 0, "address": 4}


class AddressKey(NamedTuple):
    """``struct address_key``, 20 bytes."""

    network: int
    address: bytes

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _ADDRESS_KEY.pack(self.network, self.address)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _ADDRESS_KEY.unpack(raw)
        return cls(v[0], v[1])


_ADDRESS = Struct("<QII")
ADDRESS_SIZE = 16
ADDRESS_OFFSETS = {"class_": 0, "endpoint": 8, "flags": 12}


class Address(NamedTuple):
    """``struct address``, 16 bytes."""

    class_: int
    endpoint: int
    flags: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _ADDRESS.pack(self.class_, self.endpoint, self.flags)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _ADDRESS.unpack(raw)
        return cls(v[0], v[1], v[2])


_PREFIX = Struct("<QI4x")
PREFIX_SIZE = 16
PREFIX_OFFSETS = {"class_": 0, "flags": 8}


class Prefix(NamedTuple):
    """``struct prefix``, 16 bytes."""

    class_: int
    flags: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _PREFIX.pack(self.class_, self.flags)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _PREFIX.unpack(raw)
        return cls(v[0], v[1])


_PREFIX_KEY = Struct("<II16s")
PREFIX_KEY_SIZE = 24
PREFIX_KEY_OFFSETS = {"network": 0, "length": 4, "address": 8}


class PrefixKey(NamedTuple):
    """``struct prefix_key``, 24 bytes."""

    network: int
    length: int
    address: bytes

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _PREFIX_KEY.pack(self.network, self.length, self.address)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _PREFIX_KEY.unpack(raw)
        return cls(v[0], v[1], v[2])


_HEAD = Struct("<QII")
HEAD_SIZE = 16
HEAD_OFFSETS = {"groups": 0, "common": 8, "first": 12}


class Head(NamedTuple):
    """``struct head``, 16 bytes."""

    groups: int
    common: int
    first: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _HEAD.pack(self.groups, self.common, self.first)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _HEAD.unpack(raw)
        return cls(v[0], v[1], v[2])


_UNIT = Struct("<16I")
UNIT_SIZE = 64
UNIT_OFFSETS = {"cells": 0}


class Unit(NamedTuple):
    """``struct unit``, 64 bytes."""

    cells: tuple[int, ...]

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _UNIT.pack(*self.cells)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _UNIT.unpack(raw)
        return cls(v[0:16])


_SET = Struct("<III4x")
SET_SIZE = 16
SET_OFFSETS = {"counter_first": 0, "rules": 4, "flags": 8}


class Set(NamedTuple):
    """``struct set``, 16 bytes."""

    counter_first: int
    rules: int
    flags: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _SET.pack(self.counter_first, self.rules, self.flags)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _SET.unpack(raw)
        return cls(v[0], v[1], v[2])


_NAME_KEY = Struct("<I16s")
NAME_KEY_SIZE = 20
NAME_KEY_OFFSETS = {"endpoint": 0, "address": 4}


class NameKey(NamedTuple):
    """``struct name_key``, 20 bytes."""

    endpoint: int
    address: bytes

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _NAME_KEY.pack(self.endpoint, self.address)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _NAME_KEY.unpack(raw)
        return cls(v[0], v[1])


_NAME_ENTRY = Struct("<QI4x")
NAME_ENTRY_SIZE = 16
NAME_ENTRY_OFFSETS = {"expires_ns": 0, "cell": 8}


class NameEntry(NamedTuple):
    """``struct name_entry``, 16 bytes."""

    expires_ns: int
    cell: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _NAME_ENTRY.pack(self.expires_ns, self.cell)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _NAME_ENTRY.unpack(raw)
        return cls(v[0], v[1])


_SERVICE_KEY = Struct("<I16sHB1x")
SERVICE_KEY_SIZE = 24
SERVICE_KEY_OFFSETS = {"network": 0, "address": 4, "port": 20, "protocol": 22}


class ServiceKey(NamedTuple):
    """``struct service_key``, 24 bytes."""

    network: int
    address: bytes
    port: int
    protocol: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _SERVICE_KEY.pack(self.network, self.address, self.port, self.protocol)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _SERVICE_KEY.unpack(raw)
        return cls(v[0], v[1], v[2], v[3])


_SERVICE = Struct("<IIIII4x")
SERVICE_SIZE = 24
SERVICE_OFFSETS = {"number": 0, "first": 4, "count": 8, "epoch": 12, "affinity_seconds": 16}


class Service(NamedTuple):
    """``struct service``, 24 bytes."""

    number: int
    first: int
    count_: int
    epoch: int
    affinity_seconds: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _SERVICE.pack(self.number, self.first, self.count_, self.epoch, self.affinity_seconds)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _SERVICE.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4])


_BACKEND = Struct("<16sH2xI")
BACKEND_SIZE = 24
BACKEND_OFFSETS = {"address": 0, "port": 16, "service": 20}


class Backend(NamedTuple):
    """``struct backend``, 24 bytes."""

    address: bytes
    port: int
    service: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _BACKEND.pack(self.address, self.port, self.service)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _BACKEND.unpack(raw)
        return cls(v[0], v[1], v[2])


class FrontState(IntEnum):
    """``enum front_state``."""

    EMPTY = 0
    GONE = 1
    BUSY = 2
    HIDDEN = 3
    OPEN = 4


_FRONT = Struct("<Q16sIHB1xIIIII4x4H64s")
FRONT_SIZE = 128
FRONT_OFFSETS = {
    "word": 0,
    "address": 8,
    "network": 24,
    "port": 28,
    "protocol": 30,
    "number": 32,
    "first": 36,
    "count": 40,
    "epoch": 44,
    "affinity_seconds": 48,
    "ports": 56,
    "addresses": 64,
}


class Front(NamedTuple):
    """``struct front``, 128 bytes."""

    word: int
    address: bytes
    network: int
    port: int
    protocol: int
    number: int
    first: int
    count_: int
    epoch: int
    affinity_seconds: int
    ports: tuple[int, ...]
    addresses: bytes

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FRONT.pack(
            self.word,
            self.address,
            self.network,
            self.port,
            self.protocol,
            self.number,
            self.first,
            self.count_,
            self.epoch,
            self.affinity_seconds,
            *self.ports,
            self.addresses,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FRONT.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10:14], v[14])


_MEMBER_KEY = Struct("<I16sH2x")
MEMBER_KEY_SIZE = 24
MEMBER_KEY_OFFSETS = {"service": 0, "address": 4, "port": 20}


class MemberKey(NamedTuple):
    """``struct member_key``, 24 bytes."""

    service: int
    address: bytes
    port: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _MEMBER_KEY.pack(self.service, self.address, self.port)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _MEMBER_KEY.unpack(raw)
        return cls(v[0], v[1], v[2])


_AFFINITY_KEY = Struct("<II16s")
AFFINITY_KEY_SIZE = 24
AFFINITY_KEY_OFFSETS = {"service": 0, "network": 4, "client": 8}


class AffinityKey(NamedTuple):
    """``struct affinity_key``, 24 bytes."""

    service: int
    network: int
    client: bytes

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _AFFINITY_KEY.pack(self.service, self.network, self.client)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _AFFINITY_KEY.unpack(raw)
        return cls(v[0], v[1], v[2])


_AFFINITY = Struct("<Q16sH6x")
AFFINITY_SIZE = 32
AFFINITY_OFFSETS = {"seen_ns": 0, "address": 8, "port": 24}


class Affinity(NamedTuple):
    """``struct affinity``, 32 bytes."""

    seen_ns: int
    address: bytes
    port: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _AFFINITY.pack(self.seen_ns, self.address, self.port)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _AFFINITY.unpack(raw)
        return cls(v[0], v[1], v[2])


class FlowKind(IntEnum):
    """``enum flow_kind``."""

    PLAIN = 0
    TRANSLATION = 1


_FLOW_KEY = Struct("<IIIHH16s16sBB2x")
FLOW_KEY_SIZE = 52
FLOW_KEY_OFFSETS = {
    "network": 0,
    "low_incarnation": 4,
    "high_incarnation": 8,
    "low_port": 12,
    "high_port": 14,
    "low": 16,
    "high": 32,
    "protocol": 48,
    "kind": 49,
}


class FlowKey(NamedTuple):
    """``struct flow_key``, 52 bytes."""

    network: int
    low_incarnation: int
    high_incarnation: int
    low_port: int
    high_port: int
    low: bytes
    high: bytes
    protocol: int
    kind: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FLOW_KEY.pack(
            self.network,
            self.low_incarnation,
            self.high_incarnation,
            self.low_port,
            self.high_port,
            self.low,
            self.high,
            self.protocol,
            self.kind,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FLOW_KEY.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8])


_FLOW = Struct("<QQQBBBBIII16sHHII4x")
FLOW_SIZE = 72
FLOW_OFFSETS = {
    "generation": 0,
    "seen_ns": 8,
    "opened_ns": 16,
    "age": 24,
    "action": 25,
    "reason": 26,
    "direction": 27,
    "flags": 28,
    "owner": 32,
    "slot": 36,
    "service_address": 40,
    "service_port": 56,
    "icmp": 58,
    "service": 60,
    "epoch": 64,
}


class Flow(NamedTuple):
    """``struct flow``, 72 bytes."""

    generation: int
    seen_ns: int
    opened_ns: int
    age: int
    action: int
    reason: int
    direction: int
    flags: int
    owner: int
    slot: int
    service_address: bytes
    service_port: int
    icmp: int
    service: int
    epoch: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FLOW.pack(
            self.generation,
            self.seen_ns,
            self.opened_ns,
            self.age,
            self.action,
            self.reason,
            self.direction,
            self.flags,
            self.owner,
            self.slot,
            self.service_address,
            self.service_port,
            self.icmp,
            self.service,
            self.epoch,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FLOW.unpack(raw)
        return cls(
            v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14]
        )


_FLOW_WORD = Struct("<QQQ")
FLOW_WORD_SIZE = 24
FLOW_WORD_OFFSETS = {"open": 0, "claimed": 8, "until_ns": 16}


class FlowWord(NamedTuple):
    """``struct flow_word``, 24 bytes."""

    open: int
    claimed: int
    until_ns: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FLOW_WORD.pack(self.open, self.claimed, self.until_ns)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FLOW_WORD.unpack(raw)
        return cls(v[0], v[1], v[2])


_OWNER = Struct("<IIQQQQ")
OWNER_SIZE = 40
OWNER_OFFSETS = {
    "hand": 0,
    "claims": 4,
    "event_tokens": 8,
    "event_time_ns": 16,
    "events_suppressed": 24,
    "answers_ns": 32,
}


class Owner(NamedTuple):
    """``struct owner``, 40 bytes."""

    hand: int
    claims: int
    event_tokens: int
    event_time_ns: int
    events_suppressed: int
    answers_ns: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _OWNER.pack(
            self.hand,
            self.claims,
            self.event_tokens,
            self.event_time_ns,
            self.events_suppressed,
            self.answers_ns,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _OWNER.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5])


_FRAGMENT_KEY = Struct("<II16s16sIB3x")
FRAGMENT_KEY_SIZE = 48
FRAGMENT_KEY_OFFSETS = {
    "network": 0,
    "incarnation": 4,
    "source": 8,
    "destination": 24,
    "id": 40,
    "protocol": 44,
}


class FragmentKey(NamedTuple):
    """``struct fragment_key``, 48 bytes."""

    network: int
    incarnation: int
    source: bytes
    destination: bytes
    id: int
    protocol: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FRAGMENT_KEY.pack(
            self.network, self.incarnation, self.source, self.destination, self.id, self.protocol
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FRAGMENT_KEY.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5])


_FRAGMENT = Struct("<Q16s16sHHBBBBIIII128Q")
FRAGMENT_SIZE = 1088
FRAGMENT_OFFSETS = {
    "seen_ns": 0,
    "new_source": 8,
    "new_destination": 24,
    "source_port": 40,
    "destination_port": 42,
    "protocol": 44,
    "verdict": 45,
    "reason": 46,
    "delivery": 47,
    "endpoint": 48,
    "last": 52,
    "have": 56,
    "slot": 60,
    "seen": 64,
}


class Fragment(NamedTuple):
    """``struct fragment``, 1088 bytes."""

    seen_ns: int
    new_source: bytes
    new_destination: bytes
    source_port: int
    destination_port: int
    protocol: int
    verdict: int
    reason: int
    delivery: int
    endpoint: int
    last: int
    have: int
    slot: int
    seen: tuple[int, ...]

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _FRAGMENT.pack(
            self.seen_ns,
            self.new_source,
            self.new_destination,
            self.source_port,
            self.destination_port,
            self.protocol,
            self.verdict,
            self.reason,
            self.delivery,
            self.endpoint,
            self.last,
            self.have,
            self.slot,
            *self.seen,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _FRAGMENT.unpack(raw)
        return cls(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13:141])


class EventKind(IntEnum):
    """``enum event_kind``."""

    NEW = 0
    DROP = 1
    CLOSED = 2
    CUT = 3


_EVENT = Struct("<QQBBBBHH16s16s16sH2xIIIIIIIIIIII4x")
EVENT_SIZE = 128
EVENT_OFFSETS = {
    "time_ns": 0,
    "generation": 8,
    "kind": 16,
    "verdict": 17,
    "reason": 18,
    "protocol": 19,
    "source_port": 20,
    "destination_port": 22,
    "source": 24,
    "destination": 40,
    "service_address": 56,
    "service_port": 72,
    "network": 76,
    "source_endpoint": 80,
    "destination_endpoint": 84,
    "egress_set": 88,
    "egress_rule": 92,
    "ingress_set": 96,
    "ingress_rule": 100,
    "source_class": 104,
    "destination_class": 108,
    "atom": 112,
    "suppressed": 116,
    "link": 120,
}


class Event(NamedTuple):
    """``struct event``, 128 bytes."""

    time_ns: int
    generation: int
    kind: int
    verdict: int
    reason: int
    protocol: int
    source_port: int
    destination_port: int
    source: bytes
    destination: bytes
    service_address: bytes
    service_port: int
    network: int
    source_endpoint: int
    destination_endpoint: int
    egress_set: int
    egress_rule: int
    ingress_set: int
    ingress_rule: int
    source_class: int
    destination_class: int
    atom: int
    suppressed: int
    link: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _EVENT.pack(
            self.time_ns,
            self.generation,
            self.kind,
            self.verdict,
            self.reason,
            self.protocol,
            self.source_port,
            self.destination_port,
            self.source,
            self.destination,
            self.service_address,
            self.service_port,
            self.network,
            self.source_endpoint,
            self.destination_endpoint,
            self.egress_set,
            self.egress_rule,
            self.ingress_set,
            self.ingress_rule,
            self.source_class,
            self.destination_class,
            self.atom,
            self.suppressed,
            self.link,
        )

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _EVENT.unpack(raw)
        return cls(
            v[0],
            v[1],
            v[2],
            v[3],
            v[4],
            v[5],
            v[6],
            v[7],
            v[8],
            v[9],
            v[10],
            v[11],
            v[12],
            v[13],
            v[14],
            v[15],
            v[16],
            v[17],
            v[18],
            v[19],
            v[20],
            v[21],
            v[22],
            v[23],
        )


_COUNTER = Struct("<QQ")
COUNTER_SIZE = 16
COUNTER_OFFSETS = {"allowed": 0, "denied": 8}


class Counter(NamedTuple):
    """``struct counter``, 16 bytes."""

    allowed: int
    denied: int

    def pack(self) -> bytes:
        """Its bytes in a map."""
        return _COUNTER.pack(self.allowed, self.denied)

    @classmethod
    def unpack(cls, raw: Buffer) -> Self:
        """The value of exactly these bytes; struct.error when there are more or fewer."""
        v = _COUNTER.unpack(raw)
        return cls(v[0], v[1])


class Delivery(IntEnum):
    """``enum delivery``."""

    NOWHERE = 0
    ENDPOINT = 1
    STACK = 2
    BACK = 3
    PASS = 4

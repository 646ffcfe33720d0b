"""Values of ``tables.schema`` to the bytes of the maps and back. Pure; one pair of functions per thing.

Layouts are those of ``layout`` (generated); addresses are 16 bytes, numbers little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cloche.datapath import layout
from cloche.datapath.layout import Buffer
from cloche.model.address import Address, Block
from cloche.tables.schema import (
    AddressEntry,
    AddressKey,
    BackendEntry,
    EndpointEntry,
    MemberKey,
    PrefixEntry,
    PrefixKey,
    ServiceEntry,
    ServiceKey,
    SetEntry,
    unpack,
)


def number_bytes(number: int) -> bytes:
    """A u32."""
    return number.to_bytes(4, "little")


def read_number(raw: bytes) -> int:
    """The u32."""
    return int.from_bytes(raw, "little")


def address_key(key: AddressKey) -> bytes:
    """``struct address_key``."""
    return layout.AddressKey(key.network, key.address).pack()


def read_address_key(raw: bytes) -> AddressKey:
    """From ``struct address_key``."""
    value = layout.AddressKey.unpack(raw)
    return AddressKey(value.network, Address(value.address))


def address_entry(entry: AddressEntry) -> bytes:
    """``struct address``."""
    return layout.Address(entry.class_.pack(), entry.endpoint, entry.flags).pack()


def read_address_entry(raw: bytes) -> AddressEntry:
    """From ``struct address``."""
    value = layout.Address.unpack(raw)
    return AddressEntry(unpack(value.class_), value.endpoint, value.flags)


def prefix_key(key: PrefixKey) -> bytes:
    """``struct prefix_key``."""
    return layout.PrefixKey(key.network, key.block.length, key.block.address).pack()


def read_prefix_key(raw: Buffer) -> PrefixKey:
    """From ``struct prefix_key``. Raises ValueError for what is no block."""
    value = layout.PrefixKey.unpack(raw)
    free = 128 - value.length
    if value.network >= layout.NETWORKS or free < 0 or int.from_bytes(value.address, "big") & (1 << free) - 1:
        raise ValueError(f"length {value.length} in network {value.network} is no block")
    return PrefixKey(value.network, Block(Address(value.address), value.length))


def prefix_entry(entry: PrefixEntry) -> bytes:
    """``struct prefix``."""
    return layout.Prefix(entry.class_.pack(), entry.flags).pack()


def read_prefix_entry(raw: Buffer) -> PrefixEntry:
    """From ``struct prefix``."""
    value = layout.Prefix.unpack(raw)
    return PrefixEntry(unpack(value.class_), value.flags)


def endpoint_entry(entry: EndpointEntry) -> bytes:
    """``struct endpoint``."""
    words = {"egress": entry.egress.pack(), "ingress": entry.ingress.pack()}
    return layout.Endpoint(**{**entry._asdict(), **words}).pack()


def read_endpoint_entry(raw: bytes) -> EndpointEntry:
    """From ``struct endpoint``."""
    value = layout.Endpoint.unpack(raw)
    words = {"egress": unpack(value.egress), "ingress": unpack(value.ingress)}
    return EndpointEntry(**{**value._asdict(), **words})


def set_entry(entry: SetEntry) -> bytes:
    """``struct set``."""
    return layout.Set(*entry).pack()


def read_set_entry(raw: bytes) -> SetEntry:
    """From ``struct set``."""
    return SetEntry(*layout.Set.unpack(raw))


def service_key(key: ServiceKey) -> bytes:
    """``struct service_key``."""
    return layout.ServiceKey(*key).pack()


def read_service_key(raw: bytes) -> ServiceKey:
    """From ``struct service_key``."""
    value = layout.ServiceKey.unpack(raw)
    return ServiceKey(value.network, Address(value.address), value.port, value.protocol)


def service_entry(entry: ServiceEntry) -> bytes:
    """``struct service``."""
    return layout.Service(*entry).pack()


def read_service_entry(raw: bytes) -> ServiceEntry:
    """From ``struct service``."""
    return ServiceEntry(*layout.Service.unpack(raw))


def backend_entry(entry: BackendEntry) -> bytes:
    """``struct backend``."""
    return layout.Backend(*entry).pack()


def read_backend_entry(raw: bytes) -> BackendEntry:
    """From ``struct backend``."""
    value = layout.Backend.unpack(raw)
    return BackendEntry(Address(value.address), value.port, value.service)


def member_key(key: MemberKey) -> bytes:
    """``struct member_key``."""
    return layout.MemberKey(*key).pack()


def read_member_key(raw: bytes) -> MemberKey:
    """From ``struct member_key``."""
    value = layout.MemberKey.unpack(raw)
    return MemberKey(value.service, Address(value.address), value.port)


class Codec(NamedTuple):
    """How keys and values of one hash map become bytes and come back."""

    key: Callable[[Any], bytes]
    value: Callable[[Any], bytes]
    read_key: Callable[[bytes], Any]
    read_value: Callable[[bytes], Any]


HASHES: dict[str, Codec] = {
    "links": Codec(number_bytes, number_bytes, read_number, read_number),
    "addresses": Codec(address_key, address_entry, read_address_key, read_address_entry),
    "services": Codec(service_key, service_entry, read_service_key, read_service_entry),
    "members": Codec(member_key, number_bytes, read_member_key, read_number),
}


class RecordCodec(NamedTuple):
    """How the values of one array of structs become bytes and come back; keys are indexes."""

    value: Callable[[Any], bytes]
    read_value: Callable[[bytes], Any]
    size: int


RECORDS: dict[str, RecordCodec] = {
    "endpoints": RecordCodec(endpoint_entry, read_endpoint_entry, layout.ENDPOINT_SIZE),
    "sets": RecordCodec(set_entry, read_set_entry, layout.SET_SIZE),
    "backends": RecordCodec(backend_entry, read_backend_entry, layout.BACKEND_SIZE),
}

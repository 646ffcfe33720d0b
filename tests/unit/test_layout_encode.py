"""Schema values become the maps' bytes and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.datapath import encode, layout
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
    Versioned,
)

u8, u16, u24, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 24, 32))
addresses = st.binary(min_size=16, max_size=16).map(Address)
macs = st.binary(min_size=6, max_size=6)
words = st.builds(Versioned, u24, u24, u16)
VALUES = {
    "links": (u32, u32),
    "addresses": (st.builds(AddressKey, u32, addresses), st.builds(AddressEntry, words, u32, u32)),
    "services": (
        st.builds(ServiceKey, u32, addresses, u16, u8),
        st.builds(ServiceEntry, u32, u32, u32, u32, u32),
    ),
    "members": (st.builds(MemberKey, u32, addresses, u16), u32),
}
identity = (words, words, u32, u32, u32, u32, macs, macs, u32, addresses, addresses, u32, u32, u32)
RECORDS = {
    "endpoints": st.builds(EndpointEntry, *identity),
    "sets": st.builds(SetEntry, u32, u32, u32),
    "backends": st.builds(BackendEntry, addresses, u16, u32),
}


@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_hash_entries_come_back_as_they_were(data: st.DataObject, name: str) -> None:
    """Key and value of every hash map survive the way through bytes."""
    key, value = (data.draw(strategy) for strategy in VALUES[name])
    codec = encode.HASHES[name]
    assert codec.read_key(codec.key(key)) == key
    assert codec.read_value(codec.value(value)) == value


@given(st.data(), st.sampled_from(sorted(RECORDS)))
def test_records_come_back_as_they_were(data: st.DataObject, name: str) -> None:
    """A struct of every array survives the way through bytes, in exactly its size."""
    value = data.draw(RECORDS[name])
    codec = encode.RECORDS[name]
    raw = codec.value(value)
    assert len(raw) == codec.size
    assert codec.read_value(raw) == value


def masked(address: Address, length: int) -> Block:
    """The block of this length around an address."""
    return Block(
        Address((int.from_bytes(address, "big") >> 128 - length << 128 - length).to_bytes(16, "big")), length
    )


@given(
    st.builds(
        PrefixKey, st.integers(0, layout.NETWORKS - 1), st.builds(masked, addresses, st.integers(0, 128))
    ),
    st.builds(PrefixEntry, words, u32),
)
def test_blocks_come_back_as_they_were(key: PrefixKey, entry: PrefixEntry) -> None:
    """A block and what is said of it survive the way through bytes."""
    assert encode.read_prefix_key(encode.prefix_key(key)) == key
    assert encode.read_prefix_entry(encode.prefix_entry(entry)) == entry


@given(st.binary(min_size=16, max_size=16).filter(any), st.sampled_from([0, 1, 129, 2**32 - 1]))
def test_what_is_no_block_is_not_read_as_one(address: bytes, length: int) -> None:
    """Bits behind the length, and a length over 128, are told."""
    raw = layout.PrefixKey(1, length, b"\x01" + address[1:]).pack()
    with pytest.raises(ValueError, match="is no block"):
        encode.read_prefix_key(raw)


def test_an_endpoints_words_stand_first() -> None:
    """Both sets of an endpoint are whole 8-byte words, so that each is one store."""
    assert (layout.ENDPOINT_OFFSETS["egress"], layout.ENDPOINT_OFFSETS["ingress"]) == (0, 8)
    assert layout.CONFIG_OFFSETS["generation"] == 0

"""Schema values become the maps' bytes and come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloche.datapath import encode, layout
from cloche.model.address import Address, Block, parse_block
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
    "prefixes": (
        st.builds(PrefixKey, u32, st.builds(Block, addresses, st.integers(0, 128))),
        st.builds(PrefixEntry, words, u32),
    ),
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


def test_a_prefix_is_compared_from_its_networks_highest_bit() -> None:
    """The trie's key is the bit count, then the network most significant byte first, then the address."""
    raw = encode.prefix_key(PrefixKey(0x01020304, parse_block("10.0.0.0/8")))
    assert raw[:4] == (32 + 96 + 8).to_bytes(4, "little")
    assert raw[4:8] == bytes((1, 2, 3, 4))
    assert raw[8:] == bytes(10) + b"\xff\xff\x0a\x00\x00\x00"


def test_an_endpoints_words_stand_first() -> None:
    """Both sets of an endpoint are whole 8-byte words, so that each is one store."""
    assert (layout.ENDPOINT_OFFSETS["egress"], layout.ENDPOINT_OFFSETS["ingress"]) == (0, 8)
    assert layout.CONFIG_OFFSETS["generation"] == 0

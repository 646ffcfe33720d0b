"""Where addresses are looked up at all: wherever there are any, and as good as nowhere else."""

from __future__ import annotations

from program_lab import NETWORK, Lab

from cloche.datapath.audit import Auditor
from cloche.datapath.nearby import Nearby, bit_of
from cloche.datapath.reconcile import Writer
from cloche.datapath.testrun import Engine
from cloche.model.address import Address, parse_address
from cloche.tables.mirror import apply_write
from cloche.tables.schema import AddressEntry, AddressKey, Put, Remove, Tables, settled
from frames import Flow, udp

SOME = tuple(
    AddressKey(network, parse_address(text))
    for network in (1, 2, 2**32 - 1)
    for text in (
        "10.244.3.1",
        "10.244.3.255",
        "10.244.4.0",
        "fd00:244::1",
        "fd00:244::aa00:1",
        "2001:db8::f",
    )
)
ENTRY = AddressEntry(settled(3), 0, 2)


def bits(engine: Engine) -> int:
    """How many bits are set."""
    words = engine.loaded.maps.address_blocks.mapped().cast("Q")
    return sum(word.bit_count() for word in words)


def test_a_packet_finds_an_address_in_every_block(lab: Lab) -> None:
    """Of many blocks of both families, spread over all words, each has the program look its addresses up."""
    for number in range(0, 256, 3):
        four = parse_address(f"198.18.{number}.{number}")
        six = parse_address(f"2001:db8:{number:x}:{number * 251:x}::{number * 257:x}")
        for destination, source in ((four, lab.a.four), (six, lab.a.six)):
            packet = udp(Flow(source, destination, 999, 999))
            assert lab.word_of(lab.a, packet) == "stack"
            lab.engine.write([lab.address(destination, lab.b.number, 1)])
            lab.engine.forget("flows")
            assert lab.word_of(lab.a, packet) == "b"
            lab.engine.write([Remove("addresses", AddressKey(NETWORK, destination))])
            lab.engine.forget("flows")


def test_neighbours_in_a_block_share_its_bit() -> None:
    """Addresses that differ in their last byte alone have one bit, as the program masks it."""
    for at in SOME:
        for last in range(256):
            assert bit_of(at._replace(address=Address(at.address[:15] + bytes([last])))) == bit_of(at)


def test_bits_are_set_before_entries_and_taken_away_by_the_next_writer(engine: Engine) -> None:
    """What is written is looked up, what went may be for a while; a restart leaves the bits it needs."""
    engine.write([Put("addresses", at, ENTRY) for at in SOME])
    nearby = Nearby(engine.loaded.maps.address_blocks)
    assert all(nearby.has(at) for at in SOME)
    many = bits(engine)
    engine.write([Remove("addresses", at) for at in SOME[1:]])
    Writer(engine.loaded.maps)
    assert nearby.has(SOME[0])
    assert bits(engine) == 1 < many


def test_a_bit_that_was_taken_away_is_found_and_set_again(engine: Engine) -> None:
    """Reading back tells that packets do not find the address, so does the audit, whose writes mend it."""
    tables = Tables()
    writes = [Put("addresses", at, ENTRY) for at in SOME]
    for write in writes:
        apply_write(tables, write)
    engine.write(writes)
    words = engine.loaded.maps.address_blocks.mapped().cast("Q")
    for at in SOME:
        word, bit = bit_of(at)
        words[word] &= ~(1 << bit)
        assert at not in engine.tables().addresses
        told = [one for step in Auditor(engine.loaded.maps).steps(tables) for one in step]
        assert any("address_blocks" in one.what for one in told)
        engine.write([one.write for one in told])
        assert engine.tables().addresses == tables.addresses

"""Entries of addresses and blocks in the next generation. What comes has no class of its own until the flip;
what goes loses it with the flip, and is removed when a grace period has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from cloche.compiler.held import Draft, Held
from cloche.compiler.numbers import FullError
from cloche.model.address import Address, Block
from cloche.partition.classes import Signature
from cloche.partition.view import AddressFact
from cloche.tables.schema import (
    NETWORKS,
    NODES_EACH,
    AddressEntry,
    AddressKey,
    PrefixEntry,
    PrefixKey,
    Remove,
    Versioned,
    nodes_of,
)

V = TypeVar("V")
DEAREST = 16
"""No block needs more nodes of the tree."""


def number_of(held: Held, draft: Draft, signature: Signature | None) -> int:
    """A class's number in the next generation; 0 for none."""
    if signature is None:
        return 0
    return draft.classes[signature] if signature in draft.classes else held.classes[signature]


def write_addresses(held: Held, draft: Draft) -> None:
    """Make address entries say what the view says. Raises FullError when they do not fit.

    Equal facts over equal words get one entry for all, as a big world has many addresses and few classes.
    """
    facts, entries, step = held.view.addresses, held.tables.addresses, draft.step
    made: dict[tuple[Versioned | None, AddressFact], AddressEntry] = {}
    new = 0
    for at in held.view.dirty_addresses:
        fact, old = facts.get(at), entries.get(at)
        if fact is None:
            if old is not None:
                _drop_address(at, old, draft)
            continue
        new += old is None
        alike = old and old.class_, fact
        entry = made.get(alike)
        if entry is None:
            word = step.turned(alike[0], number_of(held, draft, fact.signature))
            entry = made[alike] = AddressEntry(word, fact.endpoint, int(fact.flags))
        if entry != old:
            draft.change("addresses", at, entry, entry.class_)
            if old is not None and old.endpoint != entry.endpoint:
                _leave(old, draft)
    if new and len(entries) + new > held.capacity.addresses:
        raise FullError("addresses", len(entries) + new, held.capacity.addresses)


def _leave(old: AddressEntry, draft: Draft) -> None:
    """An address is no more its endpoint's: the short way of known flows finds that out by the flip."""
    if old.endpoint:
        draft.flips = True


def _drop_address(at: AddressKey, old: AddressEntry, draft: Draft) -> None:
    _leave(old, draft)
    word = draft.step.turned(old.class_, 0)
    if word != old.class_:
        draft.change("addresses", at, old._replace(class_=word), word)
    draft.removes.append(Remove("addresses", at))


def write_prefixes(held: Held, draft: Draft) -> None:
    """Make prefix entries say what the view says. Raises FullError when they do not fit."""
    facts, entries, step = held.view.prefixes, held.tables.prefixes, draft.step
    new = 0
    gone = (at.block.length for at in held.view.dirty_prefixes)
    lengths = sorted({*held.view.lengths(), *gone}, reverse=True)
    for at in sorted(held.view.dirty_prefixes):
        fact, old = facts.get(at), entries.get(at)
        if fact is None:
            if old is not None:
                above = _above(at, lengths, facts)
                word = step.turned(old.class_, number_of(held, draft, above and above.signature))
                if word != old.class_:
                    draft.change("prefixes", at, old._replace(class_=word), word)
                draft.removes.append(Remove("prefixes", at))
            continue
        new += old is None
        absent = 0
        if old is None:
            hiding = _above(at, lengths, entries)
            absent = hiding.class_.at(step.now) if hiding is not None else 0
        word = step.turned(old.class_ if old else None, number_of(held, draft, fact.signature), absent)
        entry = PrefixEntry(word, int(fact.flags))
        if entry != old:
            draft.change("prefixes", at, entry, word)
    if new:
        _fit([*entries, *(at for at in held.view.dirty_prefixes if at in facts and at not in entries)], held)


def _fit(blocks: list[PrefixKey], held: Held) -> None:
    """Raise FullError when so many blocks, or the tree of them, could be too big."""
    room = held.capacity.prefixes
    networks = 1 + max(at.network for at in blocks)
    if networks > NETWORKS:
        raise FullError("networks", networks, NETWORKS)
    nodes = sum(nodes_of(at.block) for at in blocks) if len(blocks) * DEAREST > room * NODES_EACH else 0
    if (needed := max(len(blocks), -(-nodes // NODES_EACH))) > room:
        raise FullError("prefixes", needed, room)


def _above(at: PrefixKey, lengths: list[int], held: Mapping[PrefixKey, V]) -> V | None:
    """What the longest shorter block says."""
    value = int.from_bytes(at.block.address, "big")
    for length in lengths:
        if length < at.block.length and (length >= 96 or not at.block.ipv4):
            address = Address((value >> (128 - length) << (128 - length)).to_bytes(16, "big"))
            found = held.get(PrefixKey(at.network, Block(address, length)))
            if found is not None:
                return found
    return None

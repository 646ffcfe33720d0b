"""Words whose old number is too old to tell from a coming one are levelled: old := new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from cloche.compiler.atoms import runs
from cloche.compiler.held import Draft, Held
from cloche.compiler.words import LEVEL_AFTER, ancient
from cloche.tables.schema import Put, Tables, Versioned, Write, settled


def level(held: Held, draft: Draft) -> None:
    """Level the words whose time has come."""
    now = draft.step.now
    for word in held.aging:
        if word.generation > draft.step.next - LEVEL_AFTER:
            break
        draft.levelled += 1
        draft.levels += _levels(held.tables, word.map, word.key, now)


def _levels(tables: Tables, name: str, key: object, now: int) -> Iterator[Write]:
    """The writes that level one entry, if it is there and still old."""

    def levelled(word: Versioned) -> Versioned:
        return settled(word.at(now)) if ancient(word, now) else word

    if name == "atoms":
        first, last = cast(tuple[int, int], key)
        for begin, end, word in runs(tables.atoms, first, last):
            if ancient(word, now):
                yield Put("atoms", (begin, end), levelled(word))
        return
    entry = getattr(tables, name).get(key)
    if entry is None:
        return
    if name == "rows":
        fresh = levelled(entry)
    elif name == "endpoints":
        fresh = entry._replace(egress=levelled(entry.egress), ingress=levelled(entry.ingress))
    else:
        fresh = entry._replace(class_=levelled(entry.class_))
    if fresh != entry:
        yield Put(name, key, fresh)

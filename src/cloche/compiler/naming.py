"""Numbers for classes, sets and atoms in the next generation: what lives on keeps its number, what is new
takes over the number of what it came from, where that is free to take.
"""

from __future__ import annotations

from collections import Counter

from cloche.compiler.atoms import overlay, renumber, runs
from cloche.compiler.held import Draft, Held
from cloche.compiler.numbers import take_over
from cloche.model.policy import Direction
from cloche.partition.classes import Signature
from cloche.partition.subjects import SharedSet
from cloche.partition.view import AddressFact, PrefixFact
from cloche.tables.schema import AddressEntry, PrefixEntry, Put, SetEntry


def name_classes(held: Held, draft: Draft) -> None:
    """Give the classes that came their numbers. Raises FullError when there are too many."""
    classes = held.view.classes
    came = classes.counts.keys() if held.first else classes.came
    new = [signature for signature in came if signature not in held.classes]
    draft.classes_gone = {s: held.classes[s] for s in classes.went if s in held.classes}
    dead = set(held.live_classes) if held.first else set(draft.classes_gone.values())
    draft.classes = take_over(_class_votes(held, new), dead) if dead and new else {}
    rest = [signature for signature in new if signature not in draft.classes]
    draft.class_numbers_gone = dead - set(draft.classes.values())
    draft.classes.update(zip(rest, held.class_numbers.take(len(rest)), strict=True))


def _class_votes(held: Held, new: list[Signature]) -> dict[Signature, Counter[int]]:
    """How much of each new class has which number now."""
    votes: dict[Signature, Counter[int]] = {signature: Counter() for signature in new}
    view, tables = held.view, held.tables
    for at in view.dirty_addresses:
        _vote(votes, view.addresses.get(at), tables.addresses.get(at), tables.generation)
    for block in view.dirty_prefixes:
        _vote(votes, view.prefixes.get(block), tables.prefixes.get(block), tables.generation)
    return votes


def _vote(
    votes: dict[Signature, Counter[int]],
    fact: AddressFact | PrefixFact | None,
    entry: AddressEntry | PrefixEntry | None,
    now: int,
) -> None:
    if fact is not None and fact.signature in votes and entry is not None:
        number = entry.class_.at(now)
        if number:
            votes[fact.signature][number] += 1


def name_sets(held: Held, draft: Draft) -> None:
    """Give the sets that came their numbers, rules and counters. Raises FullError when they do not fit."""
    shared = list(held.view.subjects.shared.values())
    new = [one for one in shared if one not in held.sets]
    draft.sets_gone = {one: number for one, number in held.sets.items() if not one.uses}
    dead = set(held.live_sets) if held.first else set(draft.sets_gone.values())
    draft.sets = _same_rules(held, new, dead)
    if held.first:
        nameless = {number for number in dead if number not in held.tables.rules}
        left = [one for one in new if one not in draft.sets]
        draft.sets.update(take_over(_set_votes(held, left), nameless))
    rest = [one for one in new if one not in draft.sets]
    draft.set_numbers_gone = dead - set(draft.sets.values())
    draft.sets.update(zip(rest, held.set_numbers.take(len(rest)), strict=True))
    for number in draft.set_numbers_gone:
        _give_up_counters(held, draft, number)
    for one, number in draft.sets.items():
        _write_set(held, draft, one, number)


def _same_rules(held: Held, new: list[SharedSet], dead: set[int]) -> dict[SharedSet, int]:
    """The sets whose rules a number stood for already: numbers keep their rules for life."""
    known = {held.tables.rules[number]: number for number in dead if number in held.tables.rules}
    return {one: known[one.rules.key] for one in new if one.rules.key in known} if known else {}


def _set_votes(held: Held, new: list[SharedSet]) -> dict[SharedSet, Counter[int]]:
    """How many endpoints of each new set have which number now."""
    votes: dict[SharedSet, Counter[int]] = {one: Counter() for one in new}
    for subject in held.view.subjects.subjects.values():
        entry = held.tables.endpoints.get(subject.attachment.number)
        if entry is None:
            continue
        for direction, word in zip(Direction, (entry.egress, entry.ingress), strict=True):
            one = subject.sets[direction]
            if one in votes:
                votes[one][word.at(held.tables.generation)] += 1
    return votes


def _write_set(held: Held, draft: Draft, one: SharedSet, number: int) -> None:
    rules = one.rules.key
    entry = held.tables.sets.get(number)
    if number not in held.live_sets or entry is None or entry.rules != len(rules):
        if number in held.live_sets:
            _give_up_counters(held, draft, number)
        first = held.counters.take(len(rules))
        draft.changes.append(Put("sets", number, SetEntry(first, len(rules), 0)))
    if held.tables.rules.get(number) != rules:
        draft.changes.append(Put("rules", number, rules))


def _give_up_counters(held: Held, draft: Draft, number: int) -> None:
    entry = held.tables.sets.get(number)
    if entry is not None and entry.rules:
        draft.counters_gone.append((entry.counter_first, entry.rules))


def name_atoms(held: Held, draft: Draft) -> None:
    """Number the cut of the ports anew if it changed. Raises FullError when there are too many atoms."""
    cut = held.view.port_sets.cut()
    if cut == held.cut:
        return
    draft.atoms, draft.cut = renumber(held.atoms, cut, held.atom_numbers), cut
    words = held.tables.atoms
    for first, last, old, number in overlay(held.atoms.intervals, draft.atoms.intervals):
        if old == number and not held.first:
            continue
        for begin, end, word in runs(words, first, last):
            turned = draft.step.turned(word, number)
            if turned != word:
                draft.change("atoms", (begin, end), turned, turned)

"""Rows in the next generation: what each set decides for each class, computed once for all that ask alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloche.compiler.atoms import Atoms
from cloche.compiler.held import Draft, Held
from cloche.compiler.recut import Content, Recut
from cloche.compiler.rows import Gone, Wish
from cloche.partition.classes import Signature
from cloche.partition.rules import Question
from cloche.partition.subjects import SharedSet
from cloche.tables.schema import Versioned


def fill_rows(held: Held, draft: Draft) -> None:
    """Plan and write the rows of every pair of a set and a class that may decide otherwise now.

    A pair that decides as before keeps its row, also when the ports are cut anew. Raises FullError when the
    cells do not fit.
    """
    atoms = held.atoms if draft.atoms is None else draft.atoms
    fill = _Fill(held, draft, atoms)
    for one, signatures in _to_do(held, draft):
        number = draft.sets[one] if one in draft.sets else held.sets[one]
        _fill_set(one, number, signatures, fill)
    gone = Gone(draft.set_numbers_gone, draft.class_numbers_gone)
    draft.rows = held.rows.plan(fill.wishes, gone, Recut(held.atoms, atoms), held.tables)
    draft.cells += draft.rows.writes
    _turn_rows(held, draft)


def _turn_rows(held: Held, draft: Draft) -> None:
    """Let pairs have their rows from the next generation on; equal words are one, as many are sent."""
    words, step = held.tables.rows, draft.step
    live_sets, live_classes = held.live_sets, held.live_classes
    made: dict[Versioned, Versioned] = {}
    for pair, row in draft.rows.rows.items():
        word = words.get(pair)
        if word is not None and word.old == word.new == row:
            continue
        counts = pair[0] in live_sets and pair[1] in live_classes
        turned = step.turned(word, row) if counts else step.hidden(word, row)
        if turned != word:
            turned = made.setdefault(turned, turned)
            draft.change("rows", pair, turned, turned)


def _to_do(held: Held, draft: Draft) -> Iterator[tuple[SharedSet, Iterable[Signature]]]:
    """The sets and classes whose decisions are to be found anew."""
    every = held.view.classes.counts
    subjects = held.view.subjects
    differing = _differing(draft)
    for one in subjects.shared.values():
        if held.first or one in draft.sets or one in subjects.rewritten:
            yield one, every
            continue
        for difference, signatures in differing.items():
            if difference is None or not difference.isdisjoint(one.rules.by_predicate):
                yield one, signatures


def _differing(draft: Draft) -> dict[frozenset[int] | None, list[Signature]]:
    """New classes by the predicates in which they differ from the class whose number they took over; who
    names none of these decides for them as before. None: they differ in more, or took over none."""
    before = {number: signature for signature, number in draft.classes_gone.items()}
    differing: dict[frozenset[int] | None, list[Signature]] = {}
    for signature, number in draft.classes.items():
        old, difference = before.get(number), None
        if old is not None and (old.kind, old.ports) == (signature.kind, signature.ports):
            difference = old.predicates ^ signature.predicates
        differing.setdefault(difference, []).append(signature)
    return differing


class _Fill:
    """Where the decisions go, and by which numbers."""

    def __init__(self, held: Held, draft: Draft, atoms: Atoms) -> None:
        self.numbers = {**held.classes, **draft.classes} if draft.classes else held.classes
        self.atoms = atoms
        self.wishes: list[Wish] = []


def _fill_set(one: SharedSet, set_: int, signatures: Iterable[Signature], fill: _Fill) -> None:
    """What one set wants for each of these classes; of those that ask alike the first is decided for."""
    numbers, question = fill.numbers, one.rules.question
    asking: dict[Question, tuple[Signature, list[int]]] = {}
    for signature in signatures:
        asked = question(signature)
        alike = asking.get(asked)
        if alike is None:
            alike = asking[asked] = signature, []
        alike[1].append(numbers[signature])
    for signature, classes in asking.values():
        decided = one.rules.decide(signature, fill.atoms.masks, fill.atoms.everything)
        fill.wishes.append(Wish(set_, _content(decided, fill.atoms), classes))


def _content(decided: list[tuple[int, int]], atoms: Atoms) -> Content:
    """Cells by atom number, from masks of atoms: most have the cell of one mask, the others are few."""
    usual = max(decided, key=lambda found: found[0].bit_count(), default=(0, 0))
    cells = [usual[1]] * atoms.size
    for mask, cell in (*decided, (~atoms.everything & (1 << atoms.size) - 1, 0)):
        left = mask if cell != usual[1] else 0
        while left:
            lowest = left & -left
            cells[lowest.bit_length() - 1] = cell
            left ^= lowest
    return tuple(cells)

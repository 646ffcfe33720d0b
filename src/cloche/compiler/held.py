"""What a compiler holds between two changes, and the draft of the next one."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from cloche.compiler.atoms import Atoms, read_atoms, runs
from cloche.compiler.digest import Digest
from cloche.compiler.numbers import Numbers, Ranges
from cloche.compiler.rows import RowPlan, Rows
from cloche.compiler.services import ServicePlan, Services
from cloche.compiler.words import Step, aging, since_generation
from cloche.partition.classes import Signature
from cloche.partition.ports import Cut
from cloche.partition.subjects import SharedSet
from cloche.partition.view import View
from cloche.tables.schema import Capacity, Put, Tables, Versioned, Write


class Aging(NamedTuple):
    """A word that must be levelled: the generation since which its new number counts, its map and key."""

    generation: int
    map: str
    key: object


class Refused(NamedTuple):
    """An object that is not as it asks to be: its key and why."""

    key: str
    why: str


class Draft:
    """The next change while it is made. ``flips``: something counts only from the next generation on."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.flips = step.now == 0
        self.classes: dict[Signature, int] = {}
        self.classes_gone: dict[Signature, int] = {}
        self.sets: dict[SharedSet, int] = {}
        self.sets_gone: dict[SharedSet, int] = {}
        self.class_numbers_gone: set[int] = set()
        self.set_numbers_gone: set[int] = set()
        self.counters_gone: list[tuple[int, int]] = []
        self.atoms: Atoms | None = None
        self.cut: Cut | None = None
        self.rows = RowPlan()
        self.services = ServicePlan()
        self.keys: dict[str, int] = {}
        self.aging: list[Aging] = []
        self.levels: list[Write] = []
        self.levelled = 0
        self.closings: list[Write] = []
        self.cells: list[Write] = []
        self.changes: list[Write] = []
        self.opens: list[Write] = []
        self.removes: list[Write] = []
        self.late: list[Write] = []
        self.refused: list[Refused] = []

    def change(self, map_: str, key: object, value: object, *words: Versioned) -> None:
        """Write an entry before the flip; ``words`` are the versioned ones in it."""
        self.changes.append(Put(map_, key, value))
        for word in words:
            if aging(word):
                self.flips = True
                self.aging.append(Aging(self.step.next, map_, key))
                break


class Held:
    """The view, the tables as written so far, and who has which number."""

    def __init__(self, host: str, capacity: Capacity, tables: Tables) -> None:
        self.capacity, self.tables = capacity, tables
        self.view = View(host)
        self.first = True
        self.digest: Digest | None = None
        """Of the tables; None until they are written the first time."""
        self.graced = tables.generation == 0
        self.classes: dict[Signature, int] = {}
        self.sets: dict[SharedSet, int] = {}
        self.keys: dict[str, int] = {}
        self.class_numbers = Numbers("classes", 1, capacity.classes)
        self.set_numbers = Numbers("sets", 1, capacity.sets)
        self.atom_numbers = Numbers("atoms", 0, capacity.atoms)
        self.counters = Ranges("counters", 0, capacity.counters)
        self.rows = Rows(capacity.cells)
        self.services = Services(capacity, tables)
        self.atoms = read_atoms(tables.atoms, tables.generation)
        self.cut: Cut | None = None
        self.aging: deque[Aging] = deque()
        self.live_classes: set[int] = set()
        self.live_sets: set[int] = set()
        self._adopt()

    def settle(self) -> None:
        """A grace period has passed (or will, before the next change's first write)."""
        for numbers in (self.class_numbers, self.set_numbers, self.atom_numbers):
            numbers.settle()
        self.counters.settle()
        self.rows.settle()
        self.services.settle()

    def undo(self) -> None:
        """A draft is not carried out: what it took is free again."""
        for numbers in (self.class_numbers, self.set_numbers, self.atom_numbers):
            numbers.undo()
        self.counters.undo()
        self.rows.undo()
        self.services.undo()

    def _adopt(self) -> None:
        """Take over the numbers that adopted tables use."""
        tables, at = self.tables, self.tables.generation
        self.live_classes = {entry.class_.at(at) for entry in tables.addresses.values()}
        self.live_classes |= {entry.class_.at(at) for entry in tables.prefixes.values()}
        self.live_classes.discard(0)
        endpoints = tables.endpoints.values()
        self.live_sets = {word.at(at) for e in endpoints for word in (e.egress, e.ingress)} - {0}
        self.class_numbers.occupy(self.live_classes)
        self.set_numbers.occupy(self.live_sets)
        self.atom_numbers.occupy(self.atoms.numbers())
        held = [tables.sets[number] for number in self.live_sets if number in tables.sets]
        self.counters.occupy((entry.counter_first, entry.rules) for entry in held)
        self.rows.adopt(tables, [(s, c) for s in self.live_sets for c in self.live_classes], self.atoms)
        self.aging.extend(sorted(self._old_words(), key=lambda word: word.generation))

    def _old_words(self) -> list[Aging]:
        tables, at = self.tables, self.tables.generation
        words: list[tuple[str, object, Versioned]] = []
        words += [("addresses", key, entry.class_) for key, entry in tables.addresses.items()]
        words += [("prefixes", key, entry.class_) for key, entry in tables.prefixes.items()]
        words += [("rows", key, word) for key, word in tables.rows.items()]
        for number, endpoint in tables.endpoints.items():
            words += [("endpoints", number, word) for word in (endpoint.egress, endpoint.ingress)]
        found = [Aging(since_generation(w, at), name, key) for name, key, w in words if aging(w)]
        for first, last, word in runs(tables.atoms, 0, len(tables.atoms) - 1):
            if aging(word):
                found.append(Aging(since_generation(word, at), "atoms", (first, last)))
        return found

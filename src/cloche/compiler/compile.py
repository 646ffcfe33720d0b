"""The compiler of one host's tables: events in, ordered writes out.

A change is planned whole before anything is kept, so what does not fit leaves everything as it was. The
writes of a change, in order: words levelled; what goes is closed; cells, rows, atoms, blocks, addresses and
endpoints beside what counts; the flip; what came is opened; services; a grace period, so that no change but
the first after tables were found has to begin with one; removals.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloche.compiler.costs import costs
from cloche.compiler.digest import Digest
from cloche.compiler.endpoints import write_endpoints
from cloche.compiler.entries import write_addresses, write_prefixes
from cloche.compiler.filling import fill_rows
from cloche.compiler.held import Draft, Held, Refused
from cloche.compiler.levelling import level
from cloche.compiler.naming import name_atoms, name_classes, name_sets
from cloche.compiler.numbers import FullError
from cloche.compiler.words import Step
from cloche.errors import TooBigError
from cloche.model.state import Event, Put, State
from cloche.partition.view import undo
from cloche.tables.mirror import apply_write
from cloche.tables.schema import Capacity, Flip, Grace, Tables, Write


class Counts(msgspec.Struct, frozen=True):
    """How much the tables hold."""

    endpoints: int
    addresses: int
    prefixes: int
    classes: int
    sets: int
    atoms: int
    rows: int
    services: int
    backends: int


class Change(msgspec.Struct, frozen=True):
    """What a batch of events comes to. ``generation`` is active after ``writes`` (none: nothing changed);
    ``digest`` is its canonical hash; ``refused`` are objects that are not as they ask to be."""

    generation: int
    writes: tuple[Write, ...]
    refused: tuple[Refused, ...]
    digest: str
    counts: Counts


class Compiler:
    """One host's compiler. ``previous``: the tables that the kernel holds (adopted, not copied);
    ``generation``: the highest number ever used, so that none is used twice."""

    def __init__(
        self, host: str, capacity: Capacity, previous: Tables | None = None, generation: int = 0
    ) -> None:
        self._held = Held(host, capacity, Tables() if previous is None else previous)
        self._highest = max(generation, self._held.tables.generation)

    @property
    def tables(self) -> Tables:
        """The tables as they are when all writes so far are done. Not to be changed."""
        return self._held.tables

    @property
    def state(self) -> State:
        """All that was taken in. Not to be changed."""
        return self._held.view.state

    def catch_up(self) -> None:
        """Do what a change left to be done when nobody waits for it; else the next one begins with that."""
        self._held.rows.catch_up()

    @property
    def digest(self) -> str:
        """The canonical hash of the tables; empty before the first change."""
        return "" if self._held.digest is None else self._held.digest.text

    def update(self, events: Iterable[Event], *, anew: bool = False, digested: bool = True) -> Change:
        """Take events in and say what to write. ``anew``: in a new generation, whatever there is to write.
        ``digested`` False: the change comes without its digest, which is asked for later.

        Raises TooBigError when the outcome does not fit; then the events were not taken in.
        """
        held = self._held
        before = held.view.apply(events)
        step = Step(held.tables.generation, self._highest + 1)
        if not held.graced:
            held.settle()
        draft = Draft(step)
        draft.flips |= anew
        try:
            _plan(held, draft)
        except FullError as error:
            found = costs(error.what, held.view)
            held.undo()
            held.view.apply(undo(before))
            raise TooBigError(error.what, error.needed, error.capacity, found) from None
        writes = _in_order(held, draft)
        _keep(held, draft, writes)
        self._highest = max(self._highest, held.tables.generation)
        generation, refused = held.tables.generation, tuple(draft.refused)
        return Change(generation, writes, refused, self.digest if digested else "", _counts(held))


def compile_full(state: State, host: str, capacity: Capacity, previous: Tables | None = None) -> Tables:
    """The tables of one host for a state, made at once. ``previous`` lends its numbers and is changed.

    Raises TooBigError when they do not fit.
    """
    compiler = Compiler(host, capacity, previous)
    compiler.update(Put(value) for value in state.objects())
    return compiler.tables


def _plan(held: Held, draft: Draft) -> None:
    """Find all that is to be written. Raises FullError when it does not fit."""
    if held.first:
        _look_at_all(held)
    name_classes(held, draft)
    name_sets(held, draft)
    name_atoms(held, draft)
    fill_rows(held, draft)
    write_prefixes(held, draft)
    write_addresses(held, draft)
    write_endpoints(held, draft)
    draft.services = held.services.plan(held.view.dirty_services, held.view.state.services)
    if draft.flips:
        level(held, draft)


def _look_at_all(held: Held) -> None:
    """Whatever the tables hold is compared with what they should."""
    view, tables = held.view, held.tables
    view.dirty_addresses.update(dict.fromkeys(tables.addresses))
    view.dirty_prefixes.update(tables.prefixes)


def _in_order(held: Held, draft: Draft) -> tuple[Write, ...]:
    """All writes of a draft, in their order."""
    services = draft.services
    new = [*services.removed, *services.writes]
    early = new if _backends_open(held, draft) else []
    writes: list[Write] = [*early, *draft.levels, *draft.closings, *draft.cells, *draft.changes]
    if draft.flips:
        writes += [Flip(draft.step.next), *draft.opens]
    if not early:
        writes += new
    removes = [*draft.removes, *services.removes]
    if draft.flips or removes or draft.late:
        writes += [Grace(), *removes, *draft.late]
    if writes and not held.graced:
        writes.insert(0, Grace())
    return tuple(writes)


def _backends_open(held: Held, draft: Draft) -> bool:
    """True when no service's new list needs an endpoint that this change opens."""
    return not draft.opens and not draft.late


def _keep(held: Held, draft: Draft, writes: tuple[Write, ...]) -> None:
    """The draft is carried out: the tables are as written, numbers are taken and given up."""
    _write(held, draft, writes)
    for signature in draft.classes_gone:
        del held.classes[signature]
    for one in draft.sets_gone:
        del held.sets[one]
    held.classes.update(draft.classes)
    held.sets.update(draft.sets)
    held.live_classes = (held.live_classes - draft.class_numbers_gone) | set(draft.classes.values())
    held.live_sets = (held.live_sets - draft.set_numbers_gone) | set(draft.sets.values())
    held.class_numbers.keep(draft.class_numbers_gone)
    held.set_numbers.keep(draft.set_numbers_gone)
    held.counters.keep(draft.counters_gone)
    held.rows.keep(draft.rows, draft.set_numbers_gone, draft.class_numbers_gone)
    if draft.atoms is not None:
        held.atom_numbers.keep(set(held.atoms.numbers()) - set(draft.atoms.numbers()))
        held.atoms, held.cut = draft.atoms, draft.cut
    held.services.keep(draft.services)
    for key in held.view.subjects.touched:
        held.keys.pop(key, None)
    held.keys.update(draft.keys)
    for _ in range(draft.levelled):
        held.aging.popleft()
    held.aging.extend(draft.aging)
    _rest(held, writes)
    held.view.taken()
    held.first = False


def _write(held: Held, draft: Draft, writes: tuple[Write, ...]) -> None:
    """Do the writes, and have the tables' digest."""
    atoms = held.atoms if draft.atoms is None else draft.atoms
    if held.digest is not None:
        held.digest.carry_out(writes, draft.step.next, atoms, held.rows.in_use)
        return
    for write in writes:
        apply_write(held.tables, write)
    held.digest = Digest(held.tables, atoms)


def _rest(held: Held, writes: tuple[Write, ...]) -> None:
    """Let what was given up be used again once a grace period has followed the flip."""
    for write in writes:
        if isinstance(write, Flip):
            held.graced = False
        elif isinstance(write, Grace):
            held.graced = True
    if held.graced:
        held.settle()


def _counts(held: Held) -> Counts:
    tables = held.tables
    return Counts(
        endpoints=len(tables.endpoints),
        addresses=len(tables.addresses),
        prefixes=len(tables.prefixes),
        classes=len(held.classes),
        sets=len(held.sets),
        atoms=held.atoms.everything.bit_count(),
        rows=held.rows.count,
        services=len(tables.services),
        backends=len(tables.backends),
    )

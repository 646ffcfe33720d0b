"""What a change costs in writes: it follows classes and sets, never how many pods share them."""

from __future__ import annotations

from collections import Counter

import policy_worlds as pw
import pytest
from small_numbers import SOON, levelling_after

from cloche.compiler import Compiler
from cloche.model.address import parse_address
from cloche.model.labels import make_labels
from cloche.model.policy import Policy
from cloche.model.state import Delete, Event, Put
from cloche.model.topology import Attachment, Endpoint
from cloche.tables.schema import Capacity, Grace, Remove, Write
from cloche.tables.schema import Put as PutEntry

FEW, MANY = 10, 200
SETS = 6
"""Of the world below: one for each direction of each kind of pod that a policy selects."""


def pod(number: int, **labels: str) -> list[Event]:
    """A pod of both families and its attachment, each under this number."""
    addresses = (
        parse_address(f"10.244.{number // 200}.{2 + number % 200}"),
        parse_address(f"fd00:244::{number + 2:x}"),
    )
    mac = bytes((2, 0, 0, 0)) + (number + 1).to_bytes(2, "big")
    endpoint = Endpoint("x", f"p{number}", addresses, make_labels(labels), host="node")
    return [Put(endpoint), Put(Attachment(endpoint.key, number + 1, number + 1, 100 + number, mac, mac))]


def policies() -> list[Policy]:
    """Web is reached by db, db by web, and each team reaches the next."""
    found = [
        pw.policy("x/web", pw.pods(where="x", app="web"), ingress=[pw.rule(pw.pods(where="x", app="db"))]),
        pw.policy("x/db", pw.pods(where="x", app="db"), ingress=[pw.rule(pw.pods(where="x", app="web"))]),
    ]
    for team in range(4):
        other = pw.pods(where="x", team=str((team + 1) % 4))
        subject = pw.pods(where="x", team=str(team))
        found.append(pw.policy(f"x/t{team}", subject, egress=[pw.rule(other, ports=[pw.port(80)])]))
    return found


def compiled(count: int) -> Compiler:
    """The compiler of a host with this many pods of eight kinds, one generation active."""
    compiler = Compiler("node", Capacity())
    events: list[Event] = [Put(pw.NETWORK), Put(pw.HOST), Put(pw.namespace("x"))]
    for number in range(count):
        events += pod(number, app=("web", "db")[number % 2], team=str(number // 2 % 4))
    compiler.update([*events, *map(Put, policies())])
    return compiler


def tally(writes: tuple[Write, ...]) -> Counter[str]:
    """How many writes of each kind; grace periods are no writes."""
    return Counter(
        write.map if isinstance(write, PutEntry) else f"-{write.map}" if isinstance(write, Remove) else "flip"
        for write in writes
        if not isinstance(write, Grace)
    )


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_new_pod_of_a_known_class_costs_its_own_entries(count: int) -> None:
    """One write per address, its link, its entry (closed, then open) and one flip."""
    change = compiled(count).update(pod(500, app="web", team="1"))
    assert tally(change.writes) == {"addresses": 2, "links": 1, "endpoints": 2, "flip": 1}


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_relabelled_pod_of_a_known_class_costs_its_own_entries(count: int) -> None:
    """One write per address, one of its entry, one flip."""
    change = compiled(count).update(pod(0, app="db", team="1")[:1])
    assert tally(change.writes) == {"addresses": 2, "endpoints": 1, "flip": 1}


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_label_that_no_policy_names_costs_nothing(count: int) -> None:
    """No write, no flip."""
    change = compiled(count).update(pod(0, app="web", team="0", colour="red")[:1])
    assert change.writes == ()


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_new_class_costs_at_most_a_row_number_for_each_set(count: int) -> None:
    """A pod like no other: row numbers for no more than all sets, and no cells, as no row is new."""
    compiler = compiled(count)
    change = compiler.update(pod(500, app="web", team="9"))
    found = tally(change.writes)
    assert 0 < found.pop("rows") <= SETS
    assert found == {"addresses": 2, "links": 1, "endpoints": 2, "flip": 1}


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_new_set_costs_a_row_number_for_each_class(count: int) -> None:
    """A policy for one pod: its set, a row number for each class, and the rows not held yet."""
    compiler = compiled(count)
    compiler.update(pod(500, app="alone"))
    alone = pw.policy(
        "x/alone", pw.pods(where="x", app="alone"), ingress=[pw.rule(pw.pods(where="x", app="db"))]
    )
    before = compiler.update(()).counts
    found = tally(compiler.update([Put(alone)]).writes)
    assert found["rows"] <= before.classes + 1
    assert found["cells"] <= before.classes
    assert found["endpoints"] == 1
    assert found["addresses"] <= 2


@pytest.mark.parametrize("count", (FEW, MANY))
def test_a_pod_that_goes_costs_its_own_entries(count: int) -> None:
    """What it had is closed, flipped and removed; nobody else is written."""
    found = tally(compiled(count).update([Delete("Endpoint", "x/p0"), Delete("Attachment", "x/p0")]).writes)
    assert set(found) <= {"addresses", "endpoints", "flip", "-addresses", "-links", "-endpoints"}
    assert sum(found.values()) <= 8


def relabelled(turn: int) -> list[Event]:
    """The five web pods become db pods one after another, then web pods again, and so on."""
    number = turn % 5 * 2
    return pod(number, app=("db", "web")[turn // 5 % 2], team=str(number // 2 % 4))[:1]


def test_levelling_is_counted_and_bounded() -> None:
    """A word that was turned is levelled once, by a later change's writes: over many changes that is no more
    than each change's own writes once again."""
    compiler = compiled(MANY)
    with levelling_after(SOON):
        found = [tally(compiler.update(relabelled(turn)).writes) for turn in range(40)]
    own = Counter({"addresses": 2, "endpoints": 1, "flip": 1})
    assert found[0] == own
    total = sum(found, Counter())
    assert 70 < total["addresses"] - 80 <= 80
    assert 35 < total["endpoints"] - 40 <= 40
    assert set(total) == set(own)

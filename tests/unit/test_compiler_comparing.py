"""Two tables that say the same have no difference; whatever is altered in one of them is named."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from policy_worlds import attached, namespace, pod, pods, policy, port, rule

from cloche.compiler import Compiler, digest
from cloche.compiler.comparing import compare
from cloche.model.address import parse_address
from cloche.model.state import Event, Put, State
from cloche.model.topology import TCP, Backend, Host, Service, ServicePort
from cloche.tables.schema import Capacity, Flip, Tables, settled
from worlds import HERE, TIMES, histories

SMALL = Capacity(classes=256, sets=64, cells=65536, endpoints=64, quota=16)
HOST = "here"
WEB, FRIEND, STRANGER = (
    pod(f"x/{name}", number, {"app": name}, host=HOST)
    for number, name in enumerate(("web", "friend", "stranger"), 1)
)
LID = policy(
    "x/lid", pods(where="x", app="web"), ingress=[rule(pods(where="x", app="friend"), ports=[port(80)])]
)
SERVICE = Service(
    "x",
    "web",
    (parse_address("10.96.0.7"),),
    (ServicePort("", TCP, 8080, (Backend(WEB.addresses[0], 80, WEB.key),)),),
)


def named(number: int) -> str:
    """A name for an endpoint's number."""
    return f"number {number}"


def anew(state: State, host: str) -> Tables:
    """The tables of a state from nothing."""
    compiler = Compiler(host, SMALL)
    compiler.update(Put(value) for value in state.objects())
    return compiler.tables


@settings(max_examples=15 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(length=5))
def test_history_makes_no_difference(batches: list[list[Event]]) -> None:
    """Tables reached by changes, numbers and all, have no difference from those compiled from nothing."""
    compiler = Compiler(HERE, SMALL)
    for batch in batches:
        compiler.update(batch)
    fresh = anew(compiler.state, HERE)
    assert list(compare(compiler.tables, fresh, named)) == []
    assert digest(compiler.tables) == digest(fresh)


@settings(max_examples=6 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(length=4))
def test_other_worlds_differ(batches: list[list[Event]]) -> None:
    """Between any two moments of a history: hashes differ exactly when a difference is named."""
    compiler, seen = Compiler(HERE, SMALL), list[Tables]()
    for batch in batches:
        compiler.update(batch)
        seen.append(anew(compiler.state, HERE))
    for one in seen:
        for other in seen:
            assert (digest(one) == digest(other)) == (list(compare(one, other, named)) == [])


@settings(max_examples=10 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(length=3))
def test_a_generation_anew_says_the_same(batches: list[list[Event]]) -> None:
    """With nothing to change, a change that must begin a generation flips, and nothing else differs."""
    compiler = Compiler(HERE, SMALL)
    for batch in batches:
        compiler.update(batch)
    before, generation = digest(compiler.tables), compiler.tables.generation
    change = compiler.update((), anew=True)
    assert (change.digest, change.generation) == (before, generation + 1)
    assert sum(isinstance(write, Flip) for write in change.writes) == 1
    assert compiler.update(()).writes == ()


def small() -> Tables:
    """Three pods, a policy and a service."""
    pods_here = (WEB, FRIEND, STRANGER)
    objects = (Host(HOST), namespace("x"), LID, *pods_here, *attached(*pods_here), SERVICE)
    return anew(State(Put(value) for value in objects), HOST)


def allow(tables: Tables) -> str:
    """Every denying cell allows."""
    for row, cells in tables.cells.items():
        tables.cells[row] = [1 if cell & 3 == 2 else cell for cell in cells]
    return "should be deny"


def join_classes(tables: Tables) -> str:
    """All addresses have one class."""
    (first, *_) = (entry.class_ for entry in tables.addresses.values())
    tables.addresses.update((key, entry._replace(class_=first)) for key, entry in tables.addresses.items())
    return "address"


def drop_prefix(tables: Tables) -> str:
    """A block is missing."""
    tables.prefixes.pop(next(iter(tables.prefixes)))
    return "is missing"


def drop_row(tables: Tables) -> str:
    """No row is there."""
    tables.rows.clear()
    return "ingress set of"


def swap_link(tables: Tables) -> str:
    """A device leads to another endpoint."""
    ifindex = next(iter(tables.links))
    tables.links[ifindex] += 1
    return f"link of device {ifindex}"


def unprotect(tables: Tables) -> str:
    """No endpoint has a set."""
    none = settled(0)
    tables.endpoints.update((n, e._replace(egress=none, ingress=none)) for n, e in tables.endpoints.items())
    return "has another ingress set"


def change_mac(tables: Tables) -> str:
    """An endpoint has another MAC address."""
    number = next(iter(tables.endpoints))
    tables.endpoints[number] = tables.endpoints[number]._replace(mac=b"\2\0\0\0\0\7")
    return "mac is"


def drop_member(tables: Tables) -> str:
    """A service's backend is nobody's member."""
    tables.members.clear()
    return "member"


def move_backend(tables: Tables) -> str:
    """A backend has another port."""
    place = next(iter(tables.backends))
    tables.backends[place] = tables.backends[place]._replace(port=81)
    return "service"


def shrink_set(tables: Tables) -> str:
    """A set has no rules to count."""
    tables.sets.update((n, entry._replace(rules=0)) for n, entry in tables.sets.items())
    return "its entry does not have"


def move_port(tables: Tables) -> str:
    """80/tcp is in the atom of 81/tcp."""
    tables.atoms[80] = tables.atoms[81]
    return "80/tcp"


ALTERATIONS: tuple[Callable[[Tables], str], ...] = (
    allow,
    join_classes,
    drop_prefix,
    drop_row,
    swap_link,
    unprotect,
    change_mac,
    drop_member,
    move_backend,
    shrink_set,
    move_port,
)


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_what_is_altered_is_named(alter: Callable[[Tables], str]) -> None:
    """Each altered part of the tables is named by a difference, and nothing is when nothing is altered."""
    want, have = small(), copy.deepcopy(small())
    have.atoms = array("Q", want.atoms)
    assert list(compare(have, want, named)) == []
    said = alter(have)
    assert any(said in difference for difference in compare(have, want, named))

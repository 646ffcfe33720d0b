"""Another layout of the maps takes an instance over: what is kept, and what is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pods import SERVICES, OpenHost, addresses_of, connect, listen, service_writes, talks

from cloche.config import Loader
from cloche.datapath import Datapath, adoption, layouts, upgrade
from cloche.datapath.loader import OBJECT
from cloche.datapath.maps import open_map
from cloche.datapath.pins import Maps, pin_directory, pinned_maps
from cloche.datapath.testrun import SMALL
from cloche.errors import MachineError
from cloche.model.address import format_address
from cloche.model.reasons import Reason
from cloche.model.topology import DEFAULT_NETWORK, TCP
from cloche.tables.schema import ServiceKey
from other_layout import other_layout

ASKED = 5
"""Few enough for a quota, all of them together."""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object whose layout differs in nearly every map."""
    return other_layout(tmp_path_factory.mktemp("other"))


def take_over(instance: str, path: Path) -> None:
    """Let an object take the instance over."""
    loaded = adoption.open_instance(instance, SMALL, path)
    loaded.maps.close()
    loaded.programs.close()


@pytest.mark.parametrize("loader", [Loader.AUTO, Loader.CLSACT])
def test_everything_is_kept_up_and_down(instance: str, other: Path, loader: Loader) -> None:
    """Tables, generation, flows with their slots, counts and an open connection outlive both ways."""
    host = OpenHost(instance, loader=loader)
    host.pod(1)
    host.pod(2)
    listener = host.inside(2, lambda: listen(addresses_of(2)[0]))
    connection = host.inside(1, lambda: connect(addresses_of(2)[0]))
    key = ServiceKey(DEFAULT_NETWORK, SERVICES[0], 80, TCP)
    host.write(service_writes(key, 5, [(addresses_of(2)[0], 80)]))
    tables, config = host.datapath.read_back(), host.datapath.config()
    assert tables.fronts
    flows = {key: (flow.opened_ns, flow.slot, flow.owner) for key, flow in host.datapath.flows()}
    passed = host.datapath.reasons()[Reason.NONE]
    host.datapath.close()
    take_over(instance, other)
    assert open_map(str(pin_directory(instance) / "maps" / "flows")).info.value_size > 72
    again = Datapath.open(instance, SMALL)
    assert vars_of(again.read_back()) == vars_of(tables)
    assert again.config() == config
    assert {key: (flow.opened_ns, flow.slot, flow.owner) for key, flow in again.flows()} == flows
    assert again.reasons()[Reason.NONE] >= passed > 0
    assert talks(listener, connection)
    again.close()
    listener.close()
    connection.close()


@pytest.mark.parametrize("step", ["attach", "open the gate"])
def test_flows_opened_while_it_is_prepared_are_not_the_next_to_go(
    instance: str, other: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places for new flows are looked for behind theirs, not where those were that came before them."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)

    def ask(first: int) -> None:
        for port in range(first, first + ASKED):
            with host.inside(1, lambda: socket.socket(type=socket.SOCK_DGRAM)) as one:
                one.bind(("", port))
                one.sendto(b"?", (format_address(addresses_of(2)[0]), 9))

    host.datapath.close()
    with monkeypatch.context() as patch:
        patch.setattr(upgrade, "passing", lambda at: ask(20000) if at == step else None)
        take_over(instance, other)
    ask(30000)
    again = Datapath.open(instance, SMALL)
    there = {port for key, _ in again.flows() for port in (key.low_port, key.high_port)} - {9}
    again.close()
    assert there >= {*range(20000, 20000 + ASKED), *range(30000, 30000 + ASKED)}


def test_fronts_are_made_where_there_were_none(instance: str) -> None:
    """An instance of a version without fronts has them after the change, and its service is reached."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    backend = addresses_of(2)[0]
    host.write(service_writes(ServiceKey(DEFAULT_NETWORK, SERVICES[0], 80, TCP), 5, [(backend, 8080)]))
    fronts = host.datapath.read_back().fronts
    host.datapath.close()
    for name in ("fronts", "front_blocks"):
        (pin_directory(instance) / "maps" / name).unlink()
    again = Datapath.open(instance, SMALL)
    assert again.read_back().fronts == fronts
    again.close()
    listener = host.inside(2, lambda: listen(backend, 8080))
    connection = host.inside(1, lambda: connect(SERVICES[0]))
    with listener, connection:
        assert talks(listener, connection)


def vars_of(tables: object) -> dict[str, object]:
    """The tables' fields, for comparing."""
    return {name: getattr(tables, name) for name in ("generation", *Maps._fields) if hasattr(tables, name)}


def test_the_same_layout_needs_no_gate(instance: str) -> None:
    """An object whose maps are laid out alike is told apart from one whose are not."""
    OpenHost(instance).datapath.close()
    maps = pinned_maps(pin_directory(instance))
    assert not upgrade.is_needed(OBJECT, maps)
    structs = layouts.kernel_structs(maps["flows"])
    assert {part for parts in layouts.STRUCTS.values() for part in parts if part} == set(structs)


def test_what_cannot_be_carried_over_is_refused_whole(
    instance: str, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure before the gate leaves programs, maps and traffic as they were, and nothing of the try."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    listener = host.inside(2, lambda: listen(addresses_of(2)[0]))
    connection = host.inside(1, lambda: connect(addresses_of(2)[0]))
    host.datapath.close()
    before = sorted(str(path) for path in pin_directory(instance).rglob("*"))

    def refuse(*_: object) -> None:
        raise MachineError("the kernel says no")

    with monkeypatch.context() as patch:
        patch.setattr(upgrade.hooks, "stage", refuse)
        with pytest.raises(MachineError, match="says no"):
            take_over(instance, other)
    assert sorted(str(path) for path in pin_directory(instance).rglob("*")) == before
    assert talks(listener, connection)
    listener.close()
    connection.close()

"""``doctor``: what it finds here is so, what it tries leaves nothing, what is missing fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloche.cli.main import app
from cloche.datapath import devices, doctor, machine
from cloche.datapath.testrun import SMALL


def readlink(path: Path) -> str:
    """What a descriptor is of, "" when it is closed by now."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def answers() -> dict[str, machine.Answer]:
    """The table by name."""
    return {answer.name: answer for answer in doctor.examine()}


def test_a_machine_that_can_is_fit(private_host: None) -> None:
    """Where the datapath's tests run, nothing that it needs is missing and the status is 0."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["fit"]) == (0, True)
    assert {feature["present"] for feature in told["features"] if feature["needed"]} == {True}


def test_what_is_tried_leaves_nothing(private_host: None) -> None:
    """Devices here, and the programs, maps and links that this process holds, are the same as before."""

    def there() -> tuple[object, ...]:
        held = Path("/proc/self/fd").iterdir()
        return devices.devices(), sorted(name for fd in held if "bpf" in (name := readlink(fd)))

    before = there()
    doctor.examine()
    assert there() == before


def test_a_kernel_below_the_floor_is_not_fit(monkeypatch: pytest.MonkeyPatch, private_host: None) -> None:
    """An older kernel gives status 1 and a line that says which kernel is needed."""
    monkeypatch.setattr(machine, "kernel_version", lambda release="": (5, 15))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "this machine cannot run Cloche" in done.stdout
    assert "without kernel" in done.stderr


def test_a_route_in_the_default_ranges_is_named(private_host: None) -> None:
    """A device with an address inside the default pod range is named, with the option that helps."""
    subprocess.run(["ip", "link", "add", "up0", "type", "veth", "peer", "up0x"], check=True)
    subprocess.run(["ip", "addr", "add", "10.244.7.1/24", "dev", "up0"], check=True)
    subprocess.run(["ip", "link", "set", "up0", "up"], check=True)
    found = answers()["default ranges free"]
    assert (found.present, found.needed) == (False, False)
    assert "up0" in found.detail
    assert "--pod-cidr" in found.hint


def test_sctp_is_what_the_kernel_says(private_host: None) -> None:
    """SCTP sockets are there exactly where one can be opened."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
        opens = True
    except OSError:
        opens = False
    assert answers()["SCTP sockets"].present is opens


def test_without_any_hook_nothing_is_fit(private_host: None) -> None:
    """A machine with neither TCX nor clsact cannot put programs on devices; with one of them it can."""
    hooks = ("TCX links", "clsact qdisc")
    found = answers()
    found |= {name: found[name]._replace(present=True) for name in hooks}
    without = {name: found[name]._replace(present=False) for name in hooks}
    for name, answer in without.items():
        assert doctor.is_fit([*({**found, name: answer}).values()])
    assert not doctor.is_fit([*({**found, **without}).values()])


def test_larger_instances_need_more_memory() -> None:
    """The memory that doctor names grows with what the maps hold."""
    assert doctor.map_bytes(SMALL) * 4 < doctor.map_bytes(doctor.Capacity())

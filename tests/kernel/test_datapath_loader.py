"""Loading, adopting and replacing programs, and what is said when it cannot be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pods import OpenHost, addresses_of, connect, listen, talks

from cloche.datapath import Datapath, bpf, features, links, machine
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.loader import OBJECT, load_unpinned
from cloche.datapath.maps import MapInfo, MapType, create_map
from cloche.datapath.pins import pin_directory
from cloche.datapath.testrun import SMALL
from cloche.errors import MachineError

BAD = """
__attribute__((section("tc"), used)) int reads_nowhere(void *skb) { return *(int *)0x1234; }
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


def compiled(folder: Path, source: str) -> Path:
    """The object of a C source."""
    written, made = folder / "program.c", folder / "program.o"
    written.write_text(source)
    command = [sys.executable, "-m", "ziglang", "clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"]
    subprocess.run([*command, str(written), "-o", str(made)], check=True, capture_output=True)
    return made


def program_ids(instance: str) -> dict[str, int]:
    """The kernel's id of each pinned program, by name."""
    pins = (pin_directory(instance) / "programs").iterdir()
    return {pin.name: bpf.program_info(bpf.get_pinned(str(pin))).id for pin in pins}


def running(instance: str) -> set[int]:
    """The ids of the programs that the instance's links run."""
    pins = (pin_directory(instance) / "links").iterdir()
    return {links.info(bpf.get_pinned(str(pin))).program_id for pin in pins}


def test_the_verifiers_words_are_in_the_error(tmp_path: Path) -> None:
    """A program that the kernel refuses is an error that says what the verifier said."""
    with (
        ObjectFile(compiled(tmp_path, BAD)) as opened,
        pytest.raises(OSError, match=r"R[0-9] invalid mem access"),
    ):
        opened.load()


def test_an_object_without_the_maps_is_refused(tmp_path: Path) -> None:
    """Another object file is refused by naming the maps that it lacks."""
    with pytest.raises(MachineError, match=r"lacks the maps .*config"):
        load_unpinned(SMALL, compiled(tmp_path, BAD))


def test_a_missing_object_is_said(tmp_path: Path) -> None:
    """Without the object file the error says that the package lacks it."""
    with pytest.raises(MachineError, match="without its BPF object"):
        load_unpinned(SMALL, tmp_path / "none.o")


def test_maps_have_the_sizes_asked_for() -> None:
    """Each map holds what the capacity says, and the capacity is read back from the maps."""
    loaded = load_unpinned(SMALL)
    assert loaded.maps.rows.info.max_entries == SMALL.sets * SMALL.classes
    assert loaded.maps.flows.info.max_entries == SMALL.flows
    assert loaded.maps.events.info.max_entries == SMALL.ring_bytes
    loaded.maps.close()
    loaded.programs.close()


def test_an_upgrade_replaces_every_program_under_traffic(instance: str, tmp_path: Path) -> None:
    """Another object's programs take the links over, tables stay, and a connection goes on."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    listener = host.inside(2, lambda: listen(addresses_of(2)[0]))
    connection = host.inside(1, lambda: connect(addresses_of(2)[0]))
    before, tables = program_ids(instance), host.datapath.read_back()
    host.datapath.close()
    newer = tmp_path / "newer.o"
    newer.write_bytes(OBJECT.read_bytes() + b"\0")
    upgraded = Datapath.open(instance, SMALL, newer)
    assert upgraded.adopted
    after = program_ids(instance)
    assert set(before.values()).isdisjoint(after.values())
    assert running(instance) <= set(after.values())
    assert upgraded.read_back().addresses == tables.addresses
    assert talks(listener, connection)
    upgraded.close()
    listener.close()
    connection.close()


def test_an_upgrade_killed_half_way_is_done_again(instance: str) -> None:
    """Where the mark of the object is missing the programs are loaded anew."""
    OpenHost(instance).datapath.close()
    before = program_ids(instance)
    for mark in pin_directory(instance).glob("object-*"):
        mark.rmdir()
    Datapath.open(instance, SMALL).close()
    after = program_ids(instance)
    assert set(before.values()).isdisjoint(after.values())
    assert running(instance) <= set(after.values())


def test_maps_of_another_layout_are_not_adopted(instance: str) -> None:
    """A pinned map of another shape is refused by name, and stays as it was."""
    OpenHost(instance).datapath.close()
    pin = pin_directory(instance) / "maps" / "links"
    pin.unlink()
    for mark in pin_directory(instance).glob("object-*"):
        mark.rmdir()
    other = create_map(MapInfo(int(MapType.HASH), 0, 4, 16, 64, 0, "links"))
    bpf.pin(other.fd, str(pin))
    with pytest.raises(MachineError, match="map links has another layout"):
        Datapath.open(instance, SMALL)
    assert pin.exists()
    other.close()


def test_this_machine_has_every_feature() -> None:
    """Where these tests run, nothing is missing but TCX, and that only before the kernel that has it."""
    lacking = [] if machine.kernel_version() >= (6, 6) else ["TCX links"]
    assert [feature.name for feature in features() if not feature.present] == lacking
    machine.require()


@pytest.mark.parametrize(
    ("release", "version"), [("6.18.44-fc", (6, 18)), ("5.4.0-204-generic", (5, 4)), ("6.6", (6, 6))]
)
def test_kernel_releases_are_read(release: str, version: tuple[int, int]) -> None:
    """Major and minor number come out of every form of a release."""
    assert machine.kernel_version(release) == version


def test_an_old_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel below the floor the error names the kernel that is needed."""
    monkeypatch.setattr(machine, "kernel_version", lambda release="": (5, 19))
    with pytest.raises(MachineError, match=r"kernel is needed .*6\.1"):
        machine.require()

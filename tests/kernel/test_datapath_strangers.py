"""What strangers made is left alone, whatever its name; what an instance made is known by its mark."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pods import RANGES, OpenHost, addresses_of, run_ip

from cloche.datapath import Datapath, devices, namespaces
from cloche.datapath.ownership import (
    ETC,
    check_devices,
    check_namespaces,
    device_group,
    own_devices,
    own_namespaces,
    remove_resolv_conf,
    write_resolv_conf,
)
from cloche.datapath.removal import remove_instance
from cloche.datapath.testrun import SMALL
from cloche.errors import InputError

STRANGERS = pytest.mark.parametrize("ending", ["", "-p", "-1", "-abc"])


def describe(name: str) -> str:
    """All that ``ip`` says of a device, times left out."""
    return subprocess.run(
        ["ip", "-d", "addr", "show", name], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def foreign_namespace(instance: str) -> Iterator[str]:
    """A network namespace that somebody called as this instance would call a pod's."""
    name = f"{instance}.test.pod-1"
    namespaces.create(name)
    yield name
    namespaces.remove(name)


@STRANGERS
@pytest.mark.parametrize("kind", ["veth peer name strange", "dummy", "bridge"])
def test_a_strangers_device_is_refused_and_kept(instance: str, ending: str, kind: str) -> None:
    """A device with a name of the instance's, of whatever kind, is refused with a hint; removing the
    instance leaves it and its address as they were."""
    name = f"{instance}{ending}"
    made = subprocess.run(["ip", "link", "add", name, "type", *kind.split()], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"ip link add type {kind}: {made.stderr.strip()}")
    run_ip(f"addr add 192.0.2.77/24 dev {name}")
    before = describe(name)
    with pytest.raises(InputError) as caught:
        check_devices(instance)
    assert [(f.field, "--instance" in f.hint) for f in caught.value.findings] == [(name, True)]
    assert remove_instance(instance) == []
    assert describe(name) == before
    devices.delete(name)


@STRANGERS
def test_a_strangers_device_is_not_adopted(instance: str, ending: str) -> None:
    """An instance that is made beside such a device, unchecked, fails where it needs the name, takes nothing
    over, and its removal leaves the device."""
    name = f"{instance}{ending}"
    run_ip(f"link add {name} type veth peer name strange")
    before = describe(name)
    datapath = Datapath.open(instance, SMALL)
    if ending in ("", "-p"):
        with pytest.raises(OSError):
            datapath.prepare_host(RANGES)
    else:
        datapath.prepare_host(RANGES)
        if ending == "-1":
            with pytest.raises(FileExistsError):
                datapath.attach_endpoint("test/pod-1", 1, 7, addresses_of(1))
            assert own_namespaces(instance) == []
    datapath.close()
    remove_instance(instance)
    assert describe(name) == before
    devices.delete(name)


def test_what_an_instance_made_is_its_own(instance: str) -> None:
    """Its pair and its endpoints' host sides carry its group from their first moment, its namespaces a mark;
    names are then no clash."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    names = {instance, f"{instance}-p", f"{instance}-1", f"{instance}-2"}
    assert {device.name for device in own_devices(instance)} == names
    assert {device.group for device in own_devices(instance)} == {device_group(instance)}
    assert own_namespaces(instance) == [f"{instance}.test.pod-1", f"{instance}.test.pod-2"]
    check_devices(instance)
    check_namespaces(instance, own_namespaces(instance))
    assert own_devices(f"{instance}x") == []
    host.datapath.close()


def test_a_strangers_namespace_is_refused_and_kept(instance: str, foreign_namespace: str) -> None:
    """A network namespace with a pod's name is refused with a hint, not taken, and not removed."""
    with pytest.raises(InputError, match="network namespace"):
        check_namespaces(instance, [foreign_namespace])
    host = OpenHost(instance)
    with pytest.raises(FileExistsError, match=foreign_namespace):
        host.pod(1)
    host.pod(2)
    host.datapath.close()
    removed = remove_instance(instance)
    assert f"namespace {instance}.test.pod-2" in removed
    assert f"namespace {foreign_namespace}" not in removed
    assert namespaces.names_of(instance) == [foreign_namespace]


def test_a_strangers_resolv_conf_is_refused_and_kept(instance: str) -> None:
    """What somebody put under /etc/netns for such a name is refused and stays; the instance's own goes."""
    mine, theirs = f"{instance}.test.mine", f"{instance}.test.theirs"
    file = ETC / theirs / "resolv.conf"
    file.parent.mkdir(parents=True)
    try:
        file.write_text("nameserver 192.0.2.53\n")
        write_resolv_conf(instance, mine, "nameserver 10.96.0.10\n")
        check_namespaces(instance, [mine])
        with pytest.raises(InputError, match=r"resolv\.conf"):
            check_namespaces(instance, [mine, theirs])
        remove_resolv_conf(instance, theirs)
        remove_instance(instance)
        assert not (ETC / mine).exists()
        assert file.read_text() == "nameserver 192.0.2.53\n"
    finally:
        file.unlink()
        Path(file.parent).rmdir()

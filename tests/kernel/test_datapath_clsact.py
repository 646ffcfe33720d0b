"""The older loader, forced: filters on the clsact qdisc do what TCX links do, and touch nobody else's."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from pods import HOST, OUTSIDE, RANGES, OpenHost, addresses_of, connect, listen, run_ip, talks

from cloche.config import Loader
from cloche.datapath import Datapath, bpf, devices, filters, hooks
from cloche.datapath.links import Hook
from cloche.datapath.loader import OBJECT
from cloche.datapath.pins import pin_directory
from cloche.datapath.removal import instances, remove_instance
from cloche.datapath.testrun import SMALL
from cloche.errors import MachineError
from cloche.model.address import parse_address, parse_block
from cloche.model.reasons import Reason


def tc(arguments: str) -> str:
    """What ``tc`` says; nothing where there is no such qdisc."""
    return subprocess.run(["tc", *arguments.split()], capture_output=True, text=True).stdout


def older(instance: str, **more: object) -> OpenHost:
    """A host whose instance uses clsact."""
    return OpenHost(instance, loader=Loader.CLSACT, **more)  # type: ignore[arg-type]


def uplink(host: OpenHost) -> None:
    """A device of the machine's own that stays when the instance goes, judged as an uplink."""
    run_ip("link add up1 type veth peer up1x")
    run_ip("addr add 198.51.100.1/24 dev up1")
    run_ip("link set up1 up")
    host.datapath.attach_uplinks()


def programs(instance: str) -> dict[str, str]:
    """The program that each hook's filter names."""
    found = {}
    for there in hooks.placed(instance):
        on = filters.find(f"{instance}/{there.name}", there.ifindex)
        found[there.name] = on.program if on else ""
    return found


def test_traffic_passes_and_is_judged(instance: str) -> None:
    """Pods reach each other and what is outside by both families; a spoofed source is dropped, counted."""
    host = older(instance)
    host.give_uplink()
    host.pod(1)
    host.pod(2)
    assert hooks.loader_of(instance) is Loader.CLSACT
    assert not any((pin_directory(instance) / "links").iterdir())
    for address in (*addresses_of(2), *map(parse_address, OUTSIDE), *map(parse_address, HOST)):
        inside = address in addresses_of(2)
        at = host.outside if address in map(parse_address, OUTSIDE) else lambda function: function()
        listener = host.inside(2, lambda a=address: listen(a)) if inside else at(lambda a=address: listen(a))
        with listener, host.inside(1, lambda a=address: connect(a)) as connection:
            assert talks(listener, connection)
    host.inside(1, lambda: run_ip("addr add 10.244.0.99/32 dev eth0"))
    with host.inside(1, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as liar:
        liar.bind(("10.244.0.99", 0))
        liar.sendto(b"lie", ("10.244.0.2", 80))
    assert host.counted(Reason.SPOOFED_ADDRESS) == 1
    host.datapath.close()


def test_a_restart_adopts_the_filters(instance: str) -> None:
    """A second start that leaves the loader open finds every filter where it was and keeps connections."""
    host = older(instance)
    attachment = host.pod(1)
    host.pod(2)
    listener = host.inside(2, lambda: listen(addresses_of(2)[0]))
    connection = host.inside(1, lambda: connect(addresses_of(2)[0]))
    before = [filters.on_device(there.ifindex) for there in hooks.placed(instance)]
    host.datapath.close()
    again = Datapath.open(instance, SMALL)
    assert again.prepare_host(RANGES) == ()
    assert again.adopted
    assert again.is_attached(attachment)
    assert again.attached_numbers() == [1, 2]
    assert [filters.on_device(there.ifindex) for there in hooks.placed(instance)] == before
    assert talks(listener, connection)
    again.close()
    listener.close()
    connection.close()


def test_an_instance_keeps_its_loader(instance: str) -> None:
    """Asking for the other loader of an instance that is there is refused, and it stays as it was."""
    older(instance).datapath.close()
    with pytest.raises(MachineError, match="uses the loader clsact"):
        Datapath.open(instance, SMALL, how=Loader.TCX)
    assert programs(instance) == {"mark": "mark_host", "stack": "from_stack"}


def test_removal_leaves_no_filter_and_no_qdisc(instance: str) -> None:
    """Nothing with the instance's name stays on an uplink, nor the qdisc that held only its filters."""
    host = older(instance)
    uplink(host)
    host.pod(1)
    host.datapath.close()
    assert f"{instance}/uplink" in tc("filter show dev up1 ingress")
    remove_instance(instance)
    assert devices.find("up1") is not None
    assert tc("filter show dev up1 ingress") == ""
    assert "clsact" not in tc("qdisc show dev up1")
    assert instance not in instances()
    assert [d.name for d in devices.devices() if d.name.startswith(instance)] == []


def test_others_filters_stay(instance: str) -> None:
    """Another's filter on an uplink is neither replaced nor removed, and its qdisc stays."""
    host = older(instance)
    uplink(host)
    fd = bpf.get_pinned(str(pin_directory(instance) / "programs" / "from_uplink"))
    filters.attach("theirs/uplink", fd, socket.if_nametoindex("up1"), Hook.INGRESS, 7)
    theirs = tc("filter show dev up1 ingress prio 7")
    host.datapath.close()
    remove_instance(instance)
    assert tc("filter show dev up1 ingress prio 7") == theirs != ""
    assert "clsact" in tc("qdisc show dev up1")


def test_two_instances_share_an_uplink(instance: str) -> None:
    """Two instances have a filter each on one uplink; removing one leaves the other's, and its traffic."""
    other = f"{instance}b"
    first = older(instance)
    uplink(first)
    try:
        second = older(other, ranges=(parse_block("10.66.0.0/16"),))
        second.datapath.attach_uplinks(["up1"])
        second.pod(1, parse_address("10.66.0.1"))
        first.pod(1)
        first.pod(2)
        shown = tc("filter show dev up1 ingress")
        assert f"{instance}/uplink" in shown
        assert f"{other}/uplink" in shown
        remove_instance(other)
        shown = tc("filter show dev up1 ingress")
        assert f"{instance}/uplink" in shown
        assert f"{other}/uplink" not in shown
        listener = first.inside(2, lambda: listen(addresses_of(2)[0]))
        connection = first.inside(1, lambda: connect(addresses_of(2)[0]))
        assert talks(listener, connection)
    finally:
        remove_instance(other)


def test_an_upgrade_replaces_every_filter_under_traffic(instance: str, tmp_path: Path) -> None:
    """Another object's programs take the filters over one by one, and a connection goes on."""
    host = older(instance)
    host.pod(1)
    host.pod(2)
    listener = host.inside(2, lambda: listen(addresses_of(2)[0]))
    connection = host.inside(1, lambda: connect(addresses_of(2)[0]))
    names, before = programs(instance), attached_ids(instance)
    host.datapath.close()
    newer = tmp_path / "newer.o"
    newer.write_bytes(OBJECT.read_bytes() + b"\0")
    upgraded = Datapath.open(instance, SMALL, newer)
    assert upgraded.adopted
    assert programs(instance) == names
    assert attached_ids(instance).isdisjoint(before)
    pinned = (pin_directory(instance) / "programs").iterdir()
    assert attached_ids(instance) <= {bpf.program_info(bpf.get_pinned(str(pin))).id for pin in pinned}
    assert talks(listener, connection)
    upgraded.close()
    listener.close()
    connection.close()


def attached_ids(instance: str) -> set[int]:
    """The kernel's ids of the programs that the instance's filters run, as ``tc`` shows them."""
    found = set()
    for device in devices.devices():
        for where in ("ingress", "egress"):
            words = tc(f"filter show dev {device.name} {where}").split()
            found |= {int(words[at + 1]) for at, word in enumerate(words) if word == "id"}
    return found


def test_a_lost_qdisc_is_seen(instance: str) -> None:
    """Where somebody deleted the qdisc the endpoint counts as not attached, and hooking again mends it."""
    host = older(instance)
    attachment = host.pod(1)
    device = f"{instance}-1"
    tc(f"qdisc del dev {device} clsact")
    assert not host.datapath.is_attached(attachment)
    fd = bpf.get_pinned(str(pin_directory(instance) / "programs" / "from_endpoint"))
    hooks.hook(instance, "endpoint-1", fd, attachment.ifindex)
    assert host.datapath.is_attached(attachment)
    host.datapath.close()

"""What an instance makes on a host, what it refuses, and that all of it goes again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pods import RANGES, OpenHost, addresses_of

from cloche.datapath import Datapath, Settings, check_overlap, devices, host_addresses, namespaces, uplinks
from cloche.datapath.nft import forward_drops
from cloche.datapath.pins import pin_directory
from cloche.datapath.removal import instances, remove_instance
from cloche.datapath.testrun import SMALL
from cloche.errors import InputError
from cloche.model.address import parse_address, parse_block
from cloche.tables.schema import Capacity


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def uplink(name: str, address: str) -> None:
    run("ip", "link", "add", name, "type", "veth", "peer", f"{name}x")
    run("ip", "addr", "add", address, "dev", name)
    run("ip", "link", "set", name, "up")
    run("ip", "link", "set", f"{name}x", "up")


def traces(instance: str) -> list[str]:
    """Whatever on this machine carries the instance's name."""
    found = [d.name for d in devices.devices() if d.name.split("-")[0] == instance]
    found += namespaces.names_of(instance)
    found += [str(pin_directory(instance))] if pin_directory(instance).exists() else []
    return found + [
        line for line in run("nft", "list", "tables").splitlines() if line.endswith(f"-{instance}")
    ]


def test_removal_leaves_nothing(instance: str, tmp_path: Path) -> None:
    """After removal no device, namespace, pin, table or folder carries the instance's name."""
    folder = tmp_path / "state"
    folder.mkdir()
    before = traces(instance)
    host = OpenHost(instance)
    host.pod(1)
    host.datapath.close()
    assert len(traces(instance)) == 6
    remove_instance(instance, [folder])
    assert traces(instance) == before == []
    assert instance not in instances()
    assert not folder.exists()
    assert remove_instance(instance, [folder]) == []


def test_two_instances_do_not_touch_each_other(instance: str) -> None:
    """Removing one instance takes nothing from another whose name begins alike."""
    other = f"{instance}b"
    OpenHost(instance).pod(1)
    try:
        second = OpenHost(other, (parse_block("10.66.0.0/16"),))
        second.pod(1, parse_address("10.66.0.1"))
        mine = traces(instance)
        remove_instance(other)
        assert traces(instance) == mine
        assert traces(other) == []
    finally:
        remove_instance(other)


def test_a_restart_adopts_what_is_pinned(instance: str) -> None:
    """A second start keeps tables, generation, hash key, capacity, endpoints and programs."""
    host = OpenHost(instance)
    attachment = host.pod(1)
    programs = {p.name: p.stat().st_ino for p in (pin_directory(instance) / "programs").iterdir()}
    held, config = host.datapath.read_back(), host.datapath.config()
    host.datapath.close()
    again = Datapath.open(instance, Capacity())
    assert again.prepare_host(RANGES) == ()
    again.configure(Settings())
    assert again.adopted
    assert again.capacity == SMALL
    assert again.config() == config
    assert again.is_attached(attachment)
    assert again.attached_numbers() == [1]
    adopted = again.read_back()
    assert (adopted.endpoints, adopted.addresses) == (held.endpoints, held.addresses)
    assert {p.name: p.stat().st_ino for p in (pin_directory(instance) / "programs").iterdir()} == programs
    again.close()


def test_a_start_killed_half_way_is_started_anew(instance: str) -> None:
    """Maps pinned without programs are those of a start that never finished: swept away."""
    Datapath.open(instance, SMALL).close()
    for pin in (pin_directory(instance) / "programs").iterdir():
        pin.unlink()
    (pin_directory(instance) / "maps" / "flows").unlink()
    opened = Datapath.open(instance, SMALL)
    assert not opened.adopted
    opened.close()


def test_detaching_an_endpoint_removes_it(instance: str) -> None:
    """Device, link, namespace and the route of a kept address go; detaching again is nothing."""
    host = OpenHost(instance)
    kept = parse_address("10.9.9.9")
    attachment = host.pod(3, kept)
    assert "10.9.9.9 " in run("ip", "route")
    for _ in range(2):
        host.datapath.detach_endpoint(attachment, [kept])
        assert not host.datapath.is_attached(attachment)
    assert host.datapath.attached_numbers() == []
    assert "10.9.9.9 " not in run("ip", "route")
    assert namespaces.names_of(instance) == []
    host.datapath.close()


def test_an_endpoint_has_its_addresses_and_its_gateway(instance: str) -> None:
    """Inside are both addresses as host routes without DAD, and a default route of each family."""
    host = OpenHost(instance)
    host.pod(1)
    four, six = (
        host.inside(1, lambda f=f: run("ip", f, "addr", "show", "dev", "eth0")) for f in ("-4", "-6")
    )
    assert "10.244.0.1/32" in four
    assert "fd00:244::1/128" in six
    assert "tentative" not in six
    assert "fe80" not in six
    assert "via 169.254.1.1 dev eth0" in host.inside(1, lambda: run("ip", "-4", "route"))
    assert "via fe80::1 dev eth0" in host.inside(1, lambda: run("ip", "-6", "route"))
    host.datapath.close()


def test_overlaps_are_refused_with_a_hint(instance: str) -> None:
    """A range or kept address that the machine routes elsewhere is refused; its own is not."""
    uplink("up0", "192.0.2.9/24")
    clashes = [parse_block("192.0.0.0/16"), parse_block("192.0.2.7/32"), parse_block("10.244.0.0/16")]
    with pytest.raises(InputError) as caught:
        check_overlap(instance, clashes)
    assert [finding.field for finding in caught.value.findings] == ["192.0.0.0/16", "192.0.2.7/32"]
    assert "--pod-cidr" in caught.value.findings[0].hint
    host = OpenHost(instance)
    check_overlap(instance, RANGES)
    with pytest.raises(InputError, match=instance):
        check_overlap("another", RANGES)
    host.datapath.close()


def test_uplinks_are_what_holds_addresses_or_default_routes(instance: str) -> None:
    """Loopback, bare devices and the instance's own are no uplinks; the host's addresses are found."""
    uplink("up0", "192.0.2.9/24")
    uplink("up1", "2001:db8::1/64")
    host = OpenHost(instance)
    host.pod(1)
    assert uplinks() == ["up0", "up1"]
    assert host_addresses() == [parse_address("192.0.2.9"), parse_address("2001:db8::1")]
    assert host.datapath.attach_uplinks() == ["up0", "up1"]
    assert host.datapath.attach_uplinks(["up1"]) == ["up1"]
    host.datapath.close()


def test_what_is_changed_on_the_machine_is_told(instance: str) -> None:
    """Forwarding that was off is reported when it is switched on, once."""
    datapath = Datapath.open(instance, SMALL)
    changes = {change.sysctl: (change.old, change.new) for change in datapath.prepare_host(RANGES)}
    assert changes["net/ipv6/conf/all/forwarding"] == ("0", "1")
    assert Path("/proc/thread-self/ns/net").exists()
    assert datapath.prepare_host(RANGES) == ()
    datapath.close()


def test_a_chain_that_drops_what_is_forwarded_is_found(private_host: None) -> None:
    """A forward chain with policy drop, as container engines leave it, is named."""
    assert forward_drops() == []
    chain = "{ type filter hook forward priority 0; policy drop; }"
    run("nft", f"add table ip filter; add chain ip filter FORWARD {chain}")
    assert forward_drops() == ["ip filter FORWARD"]


def test_names_of_namespaces_are_unique_and_short_enough() -> None:
    """Two long names that differ at their end keep being two names of at most 255 bytes."""
    names = {namespaces.netns_name("cloche0", f"{'n' * 63}/{'p' * 250}{end}") for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) <= 255
    assert namespaces.netns_name("cloche0", "shop/web") == "cloche0.shop.web"
    assert len(f"{'i' * 8}-{0xFFFFFF:x}") <= devices.LONGEST_NAME
    assert os.sep not in "".join(names)


def test_sockets_and_errors_come_out_of_a_namespace(instance: str) -> None:
    """What a function raises inside a namespace is raised outside, and the caller stays where it was."""
    host = OpenHost(instance)
    host.pod(1)
    before = os.readlink("/proc/thread-self/ns/net")
    assert host.inside(1, lambda: os.readlink("/proc/thread-self/ns/net")) != before
    with pytest.raises(ZeroDivisionError):
        host.inside(1, lambda: 1 // 0)
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert addresses_of(1)[0] == parse_address("10.244.0.1")
    host.datapath.close()


ODD_ROUTES = {
    "blackhole": "route add blackhole 10.244.0.0/16",
    "prohibit, narrower": "route add prohibit 10.244.7.0/24",
    "unreachable, IPv6": "-6 route add unreachable fd00:244::/64",
    "throw, another table": "route add throw 10.244.0.0/16 table 77",
    "another table": "route add 10.244.0.0/17 dev up0 table 77",
    "several devices": "route add 10.0.0.0/8 nexthop dev up0 nexthop dev up1",
    "rule to a table": "rule add to 10.244.0.0/16 lookup 77",
    "rule that discards": "-6 rule add to fd00:244::/48 blackhole",
}


@pytest.mark.parametrize("odd", list(ODD_ROUTES.values()), ids=list(ODD_ROUTES))
def test_routes_of_every_type_count_as_overlap(instance: str, odd: str) -> None:
    """What discards, refuses, is in another table or is a rule clashes like any route, and is kept."""
    for name in ("up0", "up1"):
        uplink(name, "192.0.2.9/32")
    check_overlap(instance, RANGES)
    run("ip", *odd.split())
    with pytest.raises(InputError, match="overlaps"):
        check_overlap(instance, RANGES)


@pytest.mark.parametrize("odd", list(ODD_ROUTES.values())[:3:2], ids=list(ODD_ROUTES)[:3:2])
def test_a_route_that_is_there_is_never_replaced(instance: str, odd: str) -> None:
    """A route that comes between the check and the making stays: the instance cannot lead its range in."""
    run("ip", *odd.split())
    before = run("ip", "route") + run("ip", "-6", "route", "show", "type", "unreachable")
    datapath = Datapath.open(instance, SMALL)
    with pytest.raises(FileExistsError):
        datapath.prepare_host(RANGES)
    datapath.close()
    remove_instance(instance)
    assert before in run("ip", "route") + run("ip", "-6", "route", "show", "type", "unreachable")


def test_every_device_of_a_default_route_is_an_uplink(instance: str) -> None:
    """Also where the route has several, and none of them holds an address."""
    for name in ("up0", "up1"):
        run("ip", "link", "add", name, "type", "veth", "peer", f"{name}x")
        run("ip", "link", "set", name, "up")
    run("ip", "route", "add", "default", "nexthop", "dev", "up0", "nexthop", "dev", "up1")
    assert uplinks() == ["up0", "up1"]

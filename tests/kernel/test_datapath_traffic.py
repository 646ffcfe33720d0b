"""Real packets: endpoints in namespaces, the programs on their links, the host's stack beside them."""

from __future__ import annotations

import socket
import subprocess

import pytest
from pods import HOST, OUTSIDE, RANGES, OpenHost, addresses_of, connect, listen, run_ip, talks

from cloche.datapath import remove_instance
from cloche.datapath.devices import get_sysctl, set_sysctl
from cloche.datapath.layout import EndpointState, EventKind
from cloche.model.address import format_address, parse_address, parse_block
from cloche.model.reasons import Reason


def run_nft(ruleset: str) -> None:
    """Run ``nft`` with this in the calling thread's namespace."""
    subprocess.run(["nft", ruleset], check=True)


FAMILIES = pytest.mark.parametrize("which", [0, 1], ids=["IPv4", "IPv6"])


@FAMILIES
def test_two_pods_talk_by_tcp(open_host: OpenHost, which: int) -> None:
    """A connection between two pods is made, and bytes arrive both ways."""
    host = open_host
    host.pod(1)
    host.pod(2)
    address = addresses_of(2)[which]
    listener = host.inside(2, lambda: listen(address))
    connection = host.inside(1, lambda: connect(address))
    with listener, connection:
        assert talks(listener, connection)
        assert connection.getsockname()[0] == format_address(addresses_of(1)[which])


@FAMILIES
def test_two_pods_talk_by_udp(open_host: OpenHost, which: int) -> None:
    """A datagram goes there and its answer comes back."""
    host = open_host
    host.pod(1)
    host.pod(2)
    family, address = (socket.AF_INET, socket.AF_INET6)[which], addresses_of(2)[which]

    def bound() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.bind((format_address(address), 53))
        made.settimeout(2)
        return made

    server = host.inside(2, bound)
    client = host.inside(1, lambda: socket.socket(family, socket.SOCK_DGRAM))
    client.settimeout(2)
    with server, client:
        client.sendto(b"question", (format_address(address), 53))
        heard, sender = server.recvfrom(100)
        server.sendto(b"answer to " + heard, sender)
        assert client.recv(100) == b"answer to question"


@FAMILIES
def test_a_closed_endpoint_passes_nothing(open_host: OpenHost, which: int) -> None:
    """An endpoint that is not open neither sends nor receives, and it says why."""
    host = open_host
    host.pod(1)
    host.pod(2, state=EndpointState.CLOSED)
    addresses = addresses_of(1)[which], addresses_of(2)[which]
    listeners = [host.inside(n, lambda a=a: listen(a)) for n, a in enumerate(addresses, 1)]
    for sender, target in ((1, addresses[1]), (2, addresses[0])):
        with pytest.raises(TimeoutError):
            host.inside(sender, lambda t=target: connect(t, timeout=0.5))
    assert host.counted(Reason.CLOSED) > 0
    for listener in listeners:
        listener.close()


@FAMILIES
def test_nothing_passes_before_the_first_generation(instance: str, which: int) -> None:
    """Without an active generation two open endpoints do not reach each other."""
    host = OpenHost(instance, generation=0)
    host.pod(1)
    host.pod(2)
    address = addresses_of(2)[which]
    with host.inside(2, lambda: listen(address)), pytest.raises(OSError):
        host.inside(1, lambda: connect(address, timeout=0.5))
    reasons = host.datapath.reasons()
    assert reasons[Reason.NO_GENERATION] > 0
    assert reasons[Reason.NONE] == 0
    host.datapath.close()


@FAMILIES
def test_connections_outlive_the_agent(instance: str, which: int) -> None:
    """With every handle closed a connection goes on, and new ones are made."""
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    address = addresses_of(2)[which]
    listener = host.inside(2, lambda: listen(address))
    connection = host.inside(1, lambda: connect(address))
    path = host.datapath.netns_path
    host.datapath.close()
    assert talks(listener, connection)
    again = host.inside(1, lambda: connect(address))
    assert talks(listener, again)
    assert path("test/pod-1").exists()
    for each in (listener, connection, again):
        each.close()


@FAMILIES
def test_the_outside_sees_the_hosts_address(open_host: OpenHost, which: int) -> None:
    """What a pod sends beyond an uplink leaves under the host's own address, and answers come back."""
    host = open_host
    host.pod(1)
    server, own = OUTSIDE[which], HOST[which]
    family = (socket.AF_INET, socket.AF_INET6)[which]
    listener = host.outside(lambda: socket.create_server((server, 80), family=family))
    connection = host.inside(1, lambda: socket.create_connection((server, 80), timeout=3))
    with listener, connection:
        peer, address = listener.accept()
        assert address[0] == own
        peer.sendall(b"welcome")
        assert connection.recv(100) == b"welcome"
        peer.close()


@FAMILIES
def test_the_outside_does_not_speak_as_a_pod(open_host: OpenHost, which: int) -> None:
    """A packet from an uplink with a source in the pods' ranges is dropped as spoofed."""
    host = open_host
    host.pod(1)
    claimed, target = ("10.244.0.77", "fd00:244::77")[which], HOST[which]
    family = (socket.AF_INET, socket.AF_INET6)[which]
    length, flag = ((32, ""), (128, "nodad"))[which]
    host.outside(lambda: run_ip(f"addr replace {claimed}/{length} dev eth0 {flag}"))

    def speak(source: str) -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.bind((source, 0))
            made.sendto(source.encode(), (target, 9))

    honest = OUTSIDE[which]
    with socket.socket(family, socket.SOCK_DGRAM) as ear:
        ear.settimeout(2)
        ear.bind((target, 9))
        for source in (claimed, honest):
            host.outside(lambda s=source: speak(s))
        assert ear.recv(100) == honest.encode()
    assert host.counted(Reason.SPOOFED_ADDRESS) > 0


@FAMILIES
def test_the_host_forwards_nothing_under_a_pods_address(open_host: OpenHost, which: int) -> None:
    """A device that has no program yet, as it has only just become an uplink: what comes from there under a
    pod's address does not reach another pod, what comes under its own does."""
    host = open_host
    host.pod(1)
    target = addresses_of(1)[which]
    claimed, honest = ("10.244.0.78", "fd00:244::78")[which], OUTSIDE[which]
    family = (socket.AF_INET, socket.AF_INET6)[which]
    length, flag = ((32, ""), (128, "nodad"))[which]

    def bound(address: str, port: int = 0) -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.bind((address, port))
        made.settimeout(3)
        return made

    def speak(source: str) -> None:
        with bound(source) as made:
            made.sendto(source.encode(), (format_address(target), 9))

    host.outside(lambda: run_ip(f"addr replace {claimed}/{length} dev eth0 {flag}"))
    host.outside(lambda: run_ip(f"route replace {RANGES[which]} via {HOST[which]}"))
    assert host.datapath.attach_uplinks([]) == []
    try:
        with host.inside(1, lambda: bound(format_address(target), 9)) as ear:
            for source in (honest, claimed, honest):
                host.outside(lambda s=source: speak(s))
            assert [ear.recv(100).decode() for _ in range(2)] == [honest, honest]
            assert host.counted(Reason.SPOOFED_ADDRESS) == 1
    finally:
        host.datapath.attach_uplinks()


@FAMILIES
def test_a_pod_reaches_another_by_the_hosts_own_translation(open_host: OpenHost, which: int) -> None:
    """A port of the host that a rule of the operator's leads to a pod: another pod reaches it by that port
    and is seen under its own address, as what it sends came in by the instance's device."""
    host = open_host
    host.pod(1)
    host.pod(2)
    target, word = addresses_of(2)[which], ("ip", "ip6")[which]
    shown = (format_address(target), f"[{format_address(target)}]")[which]
    rule = f"{word} daddr {HOST[which]} tcp dport 8080 dnat to {shown}:80"
    chain = "{ type nat hook prerouting priority dstnat; }"
    run_nft(f"add table {word} mine; add chain {word} mine to {chain}; add rule {word} mine to {rule}")
    family = (socket.AF_INET, socket.AF_INET6)[which]
    try:
        with (
            host.inside(2, lambda: listen(target)) as listener,
            host.inside(1, lambda: socket.create_connection((HOST[which], 8080), timeout=3)) as connection,
        ):
            assert talks(listener, connection)
            assert connection.family == family
            assert connection.getsockname()[0] == format_address(addresses_of(1)[which])
    finally:
        run_nft(f"delete table {word} mine")


@FAMILIES
def test_pods_talk_where_the_machine_has_ipv6_off(instance: str, which: int) -> None:
    """net.ipv6.conf.all.disable_ipv6 on the machine is left as it is, and pods have both families."""
    for where in ("all", "default"):
        set_sysctl(f"net/ipv6/conf/{where}/disable_ipv6", "1")
    host = OpenHost(instance)
    host.pod(1)
    host.pod(2)
    address = addresses_of(2)[which]
    with (
        host.inside(2, lambda: listen(address)) as listener,
        host.inside(1, lambda: connect(address)) as line,
    ):
        assert talks(listener, line)
    assert [get_sysctl(f"net/ipv6/conf/{where}/disable_ipv6") for where in ("all", "lo")] == ["1", "1"]
    host.datapath.close()


@FAMILIES
def test_the_host_and_its_pods_talk(open_host: OpenHost, which: int) -> None:
    """The host connects to a pod, and the pod to the host's own address."""
    host = open_host
    host.pod(1)
    own = HOST[which]
    address = addresses_of(1)[which]
    family = (socket.AF_INET, socket.AF_INET6)[which]
    with host.inside(1, lambda: listen(address)) as listener, connect(address) as connection:
        assert talks(listener, connection)
    with (
        socket.create_server((own, 80), family=family) as listener,
        host.inside(1, lambda: socket.create_connection((own, 80), timeout=3)) as connection,
    ):
        assert talks(listener, connection)
        assert connection.getsockname()[0] == format_address(address)


def test_new_flows_and_drops_are_events(open_host: OpenHost) -> None:
    """A new flow and a drop are told once each, with both ends' numbers and the reason."""
    host = open_host
    host.pod(1)
    host.pod(2)
    host.pod(3, state=EndpointState.CLOSED)
    reader = host.datapath.events()
    address = addresses_of(2)[0]
    with host.inside(2, lambda: listen(address)), host.inside(1, lambda: connect(address)):
        pass
    with pytest.raises(TimeoutError):
        host.inside(1, lambda: connect(addresses_of(3)[0], timeout=0.3))
    events = reader.read()
    new = [e for e in events if e.kind == EventKind.NEW and e.protocol == 6]
    assert [(e.source_endpoint, e.destination_endpoint, e.destination_port) for e in new] == [(1, 2, 80)]
    drops = [e for e in events if e.kind == EventKind.DROP and e.reason == Reason.CLOSED and e.protocol == 6]
    assert drops
    assert {(e.source_endpoint, e.destination_endpoint) for e in drops} == {(1, 3)}


def test_pods_of_two_instances_do_not_mix(instance: str) -> None:
    """Two instances on one machine carry their own pods' traffic at the same time."""
    first = OpenHost(instance)
    first.pod(1)
    first.pod(2)
    other = f"{instance}b"
    try:
        second = OpenHost(other, (parse_block("10.66.0.0/16"),))
        second.pod(1, parse_address("10.66.0.1"))
        second.pod(2, parse_address("10.66.0.2"))
        for host, target in ((first, addresses_of(2)[0]), (second, parse_address("10.66.0.2"))):
            listener = host.inside(2, lambda t=target: listen(t))
            connection = host.inside(1, lambda t=target: connect(t))
            with listener, connection:
                assert talks(listener, connection)
        assert len(list(first.datapath.flows())) == 1
        second.datapath.close()
    finally:
        remove_instance(other)
    first.datapath.close()

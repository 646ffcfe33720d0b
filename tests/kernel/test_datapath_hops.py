"""Real packets between links of different MTU, and with few hops: senders hear of it and find their way."""

from __future__ import annotations

import errno
import select
import socket
import threading

import pytest
from pods import HOST, OUTSIDE, OpenHost, addresses_of, connect, family, listen, run_ip

from cloche.model.address import Address, format_address
from cloche.model.reasons import Reason
from cloche.model.topology import GATEWAY4, GATEWAY6

FAMILIES = pytest.mark.parametrize("which", [0, 1], ids=["IPv4", "IPv6"])
WIDE, NARROW = 1500, 1340
LEVELS = (socket.IPPROTO_IP, socket.IPPROTO_IPV6)
DISCOVER, DO = (10, 23), 2  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER; always with DF
PATH_MTU, RECEIVE_ERRORS, ERROR_QUEUE = (14, 24), (11, 25), 0x2000
HOPS = (socket.IP_TTL, socket.IPV6_UNICAST_HOPS)
AMOUNT = 4_000_000


def hosts(host: OpenHost) -> None:
    """Pod 1 behind a wide link, pod 2 behind a narrow one."""
    host.pod(1, mtu=WIDE)
    host.pod(2, mtu=NARROW)


def promise_too_much(host: OpenHost, number: int, which: int) -> None:
    """The pod tells others of larger segments than its link takes, so that only the path says it."""
    options = ("", "-6")[which]
    gateway = format_address((GATEWAY4, GATEWAY6)[which])
    size = WIDE - (40, 60)[which]
    route = f"{options} route replace default via {gateway} dev eth0 onlink advmss {size}"
    host.inside(number, lambda: run_ip(route))


def carried(listener: socket.socket, connection: socket.socket) -> int:
    """How many bytes of AMOUNT arrive in ten seconds, sent as fast as they go."""
    peer, _ = listener.accept()
    peer.settimeout(10)
    sender = threading.Thread(target=connection.sendall, args=(bytes(AMOUNT),))
    connection.settimeout(10)
    sender.start()
    heard = 0
    with peer:
        while heard < AMOUNT and (part := peer.recv(1 << 16)):
            heard += len(part)
    sender.join()
    return heard


@FAMILIES
@pytest.mark.parametrize("segments", [True, False], ids=["cut by the kernel", "cut by the sender"])
def test_tcp_finds_the_narrow_link(open_host: OpenHost, which: int, segments: bool) -> None:
    """A sender that believes in larger segments is told and everything arrives; with TSO as without."""
    host = open_host
    hosts(host)
    promise_too_much(host, 2, which)
    if not segments:
        host.inside(1, lambda: run_ip("link set eth0 gso_max_size 1500 gso_max_segs 1"))
    address = addresses_of(2)[which]
    with (
        host.inside(2, lambda: listen(address)) as listener,
        host.inside(1, lambda: connect(address)) as made,
    ):
        assert carried(listener, made) == AMOUNT
        assert made.getsockopt(LEVELS[which], PATH_MTU[which]) == NARROW
    assert host.counted(Reason.TOO_BIG) > 0


@FAMILIES
def test_segments_of_the_right_size_are_not_told_anything(open_host: OpenHost, which: int) -> None:
    """With TSO on a packet may be far larger than the link, its segments are not: nothing is dropped."""
    host = open_host
    hosts(host)
    address = addresses_of(2)[which]
    with (
        host.inside(2, lambda: listen(address)) as listener,
        host.inside(1, lambda: connect(address)) as made,
    ):
        assert carried(listener, made) == AMOUNT
    assert host.counted(Reason.TOO_BIG) == 0


@FAMILIES
def test_tcp_from_outside_finds_the_narrow_link(open_host: OpenHost, which: int) -> None:
    """The answer goes through the host's stack to whoever sent."""
    host = open_host
    host.pod(3, mtu=NARROW)  # not another test's address: the host remembers what it was told of that one
    promise_too_much(host, 3, which)
    address, router = addresses_of(3)[which], HOST[which]
    length, options = (32, 128)[which], ("", "-6")[which]
    target = format_address(address)
    host.outside(lambda: run_ip(f"{options} route replace {target}/{length} via {router} dev eth0"))
    try:
        with (
            host.inside(3, lambda: listen(address)) as listener,
            host.outside(lambda: connect(address)) as made,
        ):
            assert carried(listener, made) == AMOUNT
            assert made.getsockname()[0] == OUTSIDE[which]
    finally:
        host.outside(lambda: run_ip(f"{options} route del {target}/{length}"))
    assert host.counted(Reason.TOO_BIG) > 0


def asking(address: Address) -> socket.socket:
    """A datagram socket that never lets be cut and keeps what it is told."""
    which = 0 if family(address) == socket.AF_INET else 1
    made = socket.socket(family(address), socket.SOCK_DGRAM)
    made.setsockopt(LEVELS[which], DISCOVER[which], DO)
    made.setsockopt(LEVELS[which], RECEIVE_ERRORS[which], 1)
    made.connect((format_address(address), 53))
    return made


def hearing(address: Address) -> socket.socket:
    """A datagram socket that is asked."""
    made = socket.socket(family(address), socket.SOCK_DGRAM)
    made.bind((format_address(address), 53))
    made.settimeout(2)
    return made


def told(asker: socket.socket, which: int) -> tuple[int, int, str]:
    """Type, code and sender of the ICMP error that a socket got, within two seconds."""
    poll = select.poll()
    poll.register(asker, 0)
    assert poll.poll(2000)
    _, ancillary, _, _ = asker.recvmsg(100, 512, ERROR_QUEUE)
    ((_, _, raw),) = [item for item in ancillary if item[:2] == (LEVELS[which], RECEIVE_ERRORS[which])]
    sender = raw[20:24] if which == 0 else raw[24:40]
    return raw[5], raw[6], socket.inet_ntop((socket.AF_INET, socket.AF_INET6)[which], sender)


@FAMILIES
def test_a_datagram_that_is_too_big(open_host: OpenHost, which: int) -> None:
    """The sender is told by its gateway, and its own stack refuses the next one with what the path takes."""
    host = open_host
    hosts(host)
    address = addresses_of(2)[which]
    with host.inside(2, lambda: hearing(address)) as ear, host.inside(1, lambda: asking(address)) as asker:
        asker.send(bytes(NARROW - 28 - 20 * which))
        assert len(ear.recv(2000)) == NARROW - 28 - 20 * which
        asker.send(bytes(1400))
        assert told(asker, which) == ((3, 4), (2, 0))[which] + (format_address((GATEWAY4, GATEWAY6)[which]),)
        with pytest.raises(OSError) as refused:
            asker.send(bytes(1400))
        assert refused.value.errno == errno.EMSGSIZE
        assert asker.getsockopt(LEVELS[which], PATH_MTU[which]) == NARROW
    assert host.counted(Reason.TOO_BIG) == 1


@FAMILIES
def test_the_host_is_told_too(open_host: OpenHost, which: int) -> None:
    """A datagram of the host's own that is too big for the pod's link."""
    host = open_host
    hosts(host)
    with asking(addresses_of(2)[which]) as asker:
        asker.send(bytes(1400))
        assert told(asker, which)[:2] == ((3, 4), (2, 0))[which]
        assert asker.getsockopt(LEVELS[which], PATH_MTU[which]) == NARROW


@FAMILIES
def test_the_gateway_is_the_one_hop_between_pods(open_host: OpenHost, which: int) -> None:
    """As traceroute asks: with one hop the gateway answers, with two the pod hears."""
    host = open_host
    hosts(host)
    address = addresses_of(2)[which]
    with host.inside(2, lambda: hearing(address)) as ear, host.inside(1, lambda: asking(address)) as asker:
        asker.setsockopt(LEVELS[which], HOPS[which], 1)
        asker.send(b"one")
        kinds = ((11, 0), (3, 0))
        assert told(asker, which) == kinds[which] + (format_address((GATEWAY4, GATEWAY6)[which]),)
        asker.setsockopt(LEVELS[which], HOPS[which], 2)
        asker.send(b"two")
        assert ear.recv(10) == b"two"
    assert host.counted(Reason.TTL) == 1


@pytest.mark.parametrize("mtu", [0, 1279, 65536])
def test_an_impossible_mtu_is_refused(open_host: OpenHost, mtu: int) -> None:
    """Less than IPv6 needs, or more than a link can have; nothing is made."""
    with pytest.raises(ValueError, match="1280"):
        open_host.datapath.attach_endpoint("test/odd", 9, 9, addresses_of(9), mtu)

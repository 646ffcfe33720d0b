"""Services by real packets: real sockets, checksums that the devices leave to be completed, live flips."""

from __future__ import annotations

import socket

import pytest
from pods import (
    SERVICES,
    OpenHost,
    addresses_of,
    connect,
    endpoint_entry,
    family,
    listen,
    service_writes,
    talks,
)

from cloche.model.address import format_address
from cloche.model.flow import Verdict
from cloche.model.reasons import Reason
from cloche.model.topology import DEFAULT_NETWORK, HAIRPIN4, HAIRPIN6, TCP, UDP, Attachment
from cloche.tables.schema import (
    ATOMS_SIZE,
    Cell,
    Put,
    ServiceKey,
    SetEntry,
    Versioned,
    Write,
    settled,
)

FAMILIES = pytest.mark.parametrize("which", [0, 1], ids=["IPv4", "IPv6"])


def service(which: int, protocol: int = TCP) -> ServiceKey:
    return ServiceKey(DEFAULT_NETWORK, SERVICES[which], 80, protocol)


@FAMILIES
def test_a_service_leads_to_its_backend(open_host: OpenHost, which: int) -> None:
    """A connection to a service's address and port arrives at the backend's, and answers come back."""
    host = open_host
    host.pod(1)
    host.pod(2)
    backend = addresses_of(2)[which]
    host.write(service_writes(service(which), 5, [(backend, 8080)]))
    listener = host.inside(2, lambda: listen(backend, 8080))
    connection = host.inside(1, lambda: connect(SERVICES[which]))
    with listener, connection:
        assert talks(listener, connection)
        assert connection.getpeername()[0] == format_address(SERVICES[which])


@FAMILIES
def test_a_service_by_udp(open_host: OpenHost, which: int) -> None:
    """Datagrams to a service, large ones too, reach the backend and its answers bear its address."""
    host = open_host
    host.pod(1)
    host.pod(2)
    backend = addresses_of(2)[which]
    host.write(service_writes(service(which, UDP), 6, [(backend, 5353)]))

    def bound() -> socket.socket:
        made = socket.socket(family(backend), socket.SOCK_DGRAM)
        made.bind((format_address(backend), 5353))
        made.settimeout(3)
        return made

    server = host.inside(2, bound)
    client = host.inside(1, lambda: socket.socket(family(backend), socket.SOCK_DGRAM))
    client.settimeout(3)
    with server, client:
        for size in (1, 1400, 6000):  # the last one in fragments
            client.sendto(b"q" * size, (format_address(SERVICES[which]), 80))
            heard, sender = server.recvfrom(10000)
            assert heard == b"q" * size
            server.sendto(b"a" * size, sender)
            answer, whom = client.recvfrom(10000)
            assert answer == b"a" * size
            assert whom[:2] == (format_address(SERVICES[which]), 80)


@FAMILIES
def test_a_pod_reaches_itself_through_its_service(open_host: OpenHost, which: int) -> None:
    """The only backend is the asker itself: it hears itself under the reserved address."""
    host = open_host
    host.pod(1)
    own = addresses_of(1)[which]
    host.write(service_writes(service(which), 7, [(own, 8080)]))
    listener = host.inside(1, lambda: listen(own, 8080))
    connection = host.inside(1, lambda: connect(SERVICES[which]))
    with listener, connection:
        peer, whom = listener.accept()
        assert whom[0] == format_address((HAIRPIN4, HAIRPIN6)[which])
        connection.sendall(b"hello me")
        assert peer.recv(100) == b"hello me"
        peer.close()


@FAMILIES
def test_a_service_without_backends_refuses(open_host: OpenHost, which: int) -> None:
    """TCP is reset and UDP told unreachable, each by its first packet, with a reason that is counted."""
    host = open_host
    host.pod(1)
    for number, protocol in ((8, TCP), (9, UDP)):
        host.write(service_writes(service(which, protocol), number, []))
    with pytest.raises(ConnectionRefusedError):
        host.inside(1, lambda: connect(SERVICES[which]))

    def ask() -> None:
        with socket.socket(family(SERVICES[which]), socket.SOCK_DGRAM) as made:
            made.settimeout(2)
            made.connect((format_address(SERVICES[which]), 80))
            made.send(b"anybody?")
            made.recv(10)

    with pytest.raises(ConnectionRefusedError):
        host.inside(1, ask)
    assert host.counted(Reason.NO_BACKEND) == 2


@FAMILIES
def test_the_host_reaches_a_service(open_host: OpenHost, which: int) -> None:
    """A process of the host connects to a service's address."""
    host = open_host
    host.pod(1)
    backend = addresses_of(1)[which]
    host.write(service_writes(service(which), 10, [(backend, 8080)]))
    with host.inside(1, lambda: listen(backend, 8080)) as listener, connect(SERVICES[which]) as connection:
        assert talks(listener, connection)


def deny_ingress(number: int, attachment: Attachment, since: int) -> list[Write]:
    """From generation ``since`` on, set 3 for this endpoint: its rule 1 denies the only class and atom."""
    deny = Cell(Verdict.DENY, rule=1).pack()
    entry = endpoint_entry(attachment, addresses_of(number))
    return [
        Put("atoms", (0, ATOMS_SIZE - 1), settled(1)),
        Put("sets", 3, SetEntry(0, 2, 0)),
        Put("cells", (1, 0), (0, deny)),
        Put("rows", (3, 1), settled(1)),
        Put("endpoints", number, entry._replace(ingress=Versioned(0, 3, since))),
    ]


@FAMILIES
def test_a_flip_cuts_live_connections(open_host: OpenHost, which: int) -> None:
    """What the next generation denies goes on while it is written, and ends at the flip, with its reason."""
    host = open_host
    host.pod(1)
    attached = host.pod(2)
    backend = addresses_of(2)[which]
    listener = host.inside(2, lambda: listen(backend))
    connection = host.inside(1, lambda: connect(backend))
    with listener, connection:
        peer, _ = listener.accept()
        host.write(deny_ingress(2, attached, host.generation + 1))
        connection.sendall(b"still here")
        assert peer.recv(100) == b"still here"
        host.flip()
        peer.settimeout(0.5)
        connection.sendall(b"too late")
        with pytest.raises(TimeoutError):
            peer.recv(100)
        peer.close()
    assert host.counted(Reason.INGRESS_DENIED) > 0

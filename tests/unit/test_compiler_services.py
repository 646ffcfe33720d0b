"""What a service offers behind each of its addresses."""

from __future__ import annotations

from cloche.compiler.services import offers
from cloche.model.address import is_ipv4, parse_address
from cloche.model.topology import TCP, UDP, Backend, Service, ServicePort

BACKENDS = tuple(Backend(parse_address(text), 8080) for text in ("10.244.0.2", "fd00:244::2", "10.244.0.1"))
BOTH = Service(
    "x",
    "both",
    (parse_address("10.96.0.1"), parse_address("fd00:96::1")),
    (ServicePort("a", TCP, 80, BACKENDS), ServicePort("b", UDP, 80, BACKENDS[:1])),
)


def test_backends_are_of_their_addresses_family() -> None:
    """An IPv4 address leads to IPv4 backends alone and an IPv6 one to IPv6's, each list in order."""
    found = {(is_ipv4(key.address), key.protocol): offer.backends for key, offer in offers(BOTH).items()}
    one, six, other = ((backend.address, backend.port) for backend in BACKENDS)
    assert found == {
        (True, TCP): (other, one),
        (False, TCP): (six,),
        (True, UDP): (one,),
        (False, UDP): (),
    }


def test_of_ports_that_are_the_same_the_first_counts() -> None:
    """A second port of the same number and protocol adds nothing."""
    twice = Service("x", "twice", BOTH.addresses[:1], (*BOTH.ports[1:], ServicePort("c", UDP, 80, BACKENDS)))
    (offer,) = offers(twice).values()
    assert offer.backends == ((BACKENDS[0].address, 8080),)

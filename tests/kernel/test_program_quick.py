"""The short way of common packets: it answers as the long one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from program_lab import ALT, CLIENT, NETWORK, SERVICE4, SERVICE6, WEB, WEB_ATOM, Lab, Pod, allows

from cloche.datapath.layout import HINTS, EndpointState
from cloche.datapath.testrun import Result
from cloche.model.address import parse_address
from cloche.model.policy import Direction
from cloche.tables.schema import AddressKey, MemberKey, Put, Remove, ServiceKey
from frames import TCP, UDP, Flow, IpOptions, Link, ethernet, tcp, udp

SYN, SYN_ACK, ACK, FIN_ACK, RST = 2, 18, 16, 17, 4
Between = Callable[[Lab, bool], tuple[Flow, Flow]]
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def ways(lab: Lab, ipv6: bool) -> tuple[Flow, Flow]:
    """Ends as a sends to b's web port, and as b answers."""
    there = Flow(lab.a.address(ipv6), lab.b.address(ipv6), CLIENT, WEB)
    return there, there.back()


def served_ways(lab: Lab, ipv6: bool) -> tuple[Flow, Flow]:
    """Ends as a sends to the service, and as its backend b answers."""
    lab.serve(WEB, TCP, [(lab.b.address(ipv6), ALT)])
    lab.serve(WEB, UDP, [(lab.b.address(ipv6), ALT)], number=6, first=40)
    there = Flow(lab.a.address(ipv6), parse_address(SERVICE6 if ipv6 else SERVICE4), CLIENT, WEB)
    return there, Flow(lab.b.address(ipv6), lab.a.address(ipv6), ALT, CLIENT)


def connection(lab: Lab, ends: tuple[Flow, Flow]) -> list[tuple[Pod, bytes]]:
    """A connection from a to b with what may go wrong on it, each packet with its sender."""
    there, back = ends
    a, b, c = lab.a, lab.b, lab.c
    return [
        (a, tcp(there, SYN)),
        (b, tcp(back, SYN_ACK)),
        (a, tcp(there, ACK)),
        (a, tcp(there, ACK, b"question")),
        (b, tcp(back, ACK, bytes(1400))),
        (a, tcp(there, ACK, bytes(1400))),
        (a, tcp(there, ACK, bytes(1700))),
        (a, tcp(back.back(), ACK)),
        (a, tcp(there, ACK, extra=IpOptions(2))),
        (a, tcp(there, ACK, extra=IpOptions(1))),
        (c, tcp(there, ACK)),
        (a, tcp(there, SYN)),
        (a, udp(there)),
        (b, udp(back)),
        (b, udp(Flow(back.source, back.destination, 67, CLIENT))),
        (b, udp(Flow(back.source, back.destination, 547, CLIENT))),
        (a, tcp(there, FIN_ACK)),
        (a, tcp(there, FIN_ACK)),
        (b, tcp(back, FIN_ACK)),
        (a, tcp(there, ACK)),
        (b, tcp(back, RST)),
        (a, tcp(there, ACK)),
    ]


def answer(result: Result) -> tuple[object, ...]:
    """All of an answer but how long it took."""
    return tuple(value for name, value in result._asdict().items() if name != "duration_ns")


def played(lab: Lab, ends: tuple[Flow, Flow]) -> tuple[list[tuple[object, ...]], object, object]:
    """The answers to the connection's packets, then the flows and the counts of reasons."""
    answers = []
    for pod, packet in connection(lab, ends):
        lab.wait(0.001)
        answers.append(answer(lab.send(pod, packet)))
    maps = lab.engine.loaded.maps
    counts = {key: sum(memoryview(each).cast("Q")) for key, each in maps.reasons.items()}
    return answers, sorted(maps.flows.items()), counts


@FAMILIES
@pytest.mark.parametrize("between", [ways, served_ways], ids=["plain", "served"])
def test_both_ways_answer_alike(lab: Lab, between: Between, ipv6: bool) -> None:
    """A connection, to a service too, with odd packets on it: the same frames, answers, entries and counts by
    either way."""
    lab.put_endpoint(lab.b, mtu=1600)
    lab.engine.take_long_way()
    by_the_long = played(lab, between(lab, ipv6))
    lab.engine.reset()
    fresh = Lab(lab.engine, lab.devices)
    fresh.put_endpoint(fresh.b, mtu=1600)
    assert played(fresh, between(fresh, ipv6)) == by_the_long


@FAMILIES
def test_packets_of_services_take_the_short_way(lab: Lab, ipv6: bool) -> None:
    """Of addresses that are gone without a flip only the short way knows, to a backend and back."""
    there, back = served_ways(lab, ipv6)
    lab.send(lab.a, udp(there))
    lab.send(lab.b, udp(back))
    for pod in (lab.a, lab.b):
        lab.engine.write([Remove("addresses", AddressKey(NETWORK, pod.address(ipv6)))])
    assert [lab.word_of(lab.a, udp(there)), lab.word_of(lab.b, udp(back))] == ["b", "a"]
    lab.engine.take_long_way()
    assert [lab.word_of(lab.a, udp(there)), lab.word_of(lab.b, udp(back))] == ["unknown-destination"] * 2


def opened(lab: Lab) -> Flow:
    """A connection to the service whose packets take the short way."""
    there, back = served_ways(lab, False)
    for pod, packet in ((lab.a, tcp(there, SYN)), (lab.b, tcp(back, SYN_ACK)), (lab.a, tcp(there, ACK))):
        lab.send(pod, packet)
    assert lab.word_of(lab.a, tcp(there, ACK)) == "b"
    return there


def test_a_services_list_counts_at_once(lab: Lab) -> None:
    """A longer list keeps the backend and is learnt; one without it ends the connection; no service, none."""
    there = opened(lab)
    lab.serve(WEB, TCP, [(lab.c.four, 1)] * 7 + [(lab.b.four, ALT)], first=64, epoch=2)
    assert [lab.word_of(lab.a, tcp(there, ACK)) for _ in range(2)] == ["b"] * 2
    lab.serve(WEB, TCP, [(lab.c.four, 1)], first=80, epoch=3)
    lab.engine.write([Remove("members", MemberKey(5, lab.b.four, ALT))])
    assert lab.word_of(lab.a, tcp(there, ACK)) == "backend-gone"
    lab.engine.write([Remove("services", ServiceKey(NETWORK, parse_address(SERVICE4), WEB, TCP))])
    assert lab.word_of(lab.a, tcp(there, ACK)) == "no-service"


def test_an_address_that_is_no_services_any_more_has_no_short_way(lab: Lab) -> None:
    """Without a flip: it is the pod's whose it is now."""
    there = opened(lab)
    lab.engine.write([lab.address(parse_address(SERVICE4), lab.c.number, lab.c.number)])
    assert lab.word_of(lab.a, tcp(there, ACK)) == "c"


@pytest.mark.parametrize("closed", ["a", "b"])
def test_a_closed_end_of_a_services_connection_is_closed_at_once(lab: Lab, closed: str) -> None:
    """The client or the backend, without a flip."""
    there = opened(lab)
    lab.put_endpoint(getattr(lab, closed), state=EndpointState.CLOSED)
    assert lab.word_of(lab.a, tcp(there, ACK)) == "closed"


def test_a_new_deny_cuts_services_connections(lab: Lab) -> None:
    """The first packet after the flip is judged again, whichever side sends it."""
    there = opened(lab)
    lab.isolate(lab.b, Direction.INGRESS, {})
    lab.flip()
    back = Flow(lab.b.four, lab.a.four, ALT, CLIENT)
    assert lab.word_of(lab.b, tcp(back, ACK)) == "ingress-not-allowed"
    assert lab.word_of(lab.a, tcp(there, ACK)) == "ingress-not-allowed"


@FAMILIES
def test_what_was_found_is_known_until_the_flip(lab: Lab, ipv6: bool) -> None:
    """An address that is gone from the tables without a flip is still known by the short way, not by the long
    one; after the flip by none. So the short way is what established packets take."""
    there, back = ways(lab, ipv6)
    lab.send(lab.a, udp(there))
    lab.send(lab.b, udp(back))
    lab.engine.write([Remove("addresses", AddressKey(NETWORK, lab.b.address(ipv6)))])
    assert lab.word_of(lab.a, udp(there)) == "b"
    lab.engine.take_long_way()
    assert lab.word_of(lab.a, udp(there)) == "unknown-destination"
    lab.engine.take_long_way(False)
    assert lab.word_of(lab.a, udp(there)) == "b"
    lab.flip()
    assert lab.word_of(lab.a, udp(there)) == "unknown-destination"


@FAMILIES
def test_an_address_that_moves_is_followed_from_the_flip_on(lab: Lab, ipv6: bool) -> None:
    """Two endpoints claim an address: whoever the tables name gets its packets, also of a known flow."""
    there, _ = ways(lab, ipv6)
    assert [lab.word_of(lab.a, udp(there)) for _ in range(3)] == ["b"] * 3
    lab.engine.write([lab.address(lab.b.address(ipv6), lab.c.number, lab.c.number)])
    lab.flip()
    assert [lab.word_of(lab.a, udp(there)) for _ in range(3)] == ["c"] * 3


@pytest.mark.parametrize("closed", ["a", "b"])
def test_a_closed_end_is_closed_at_once(lab: Lab, closed: str) -> None:
    """Without a flip, whichever end it is."""
    there, _ = ways(lab, False)
    assert [lab.word_of(lab.a, udp(there)) for _ in range(3)] == ["b"] * 3
    lab.put_endpoint(getattr(lab, closed), state=EndpointState.CLOSED)
    assert lab.word_of(lab.a, udp(there)) == "closed"


def test_a_number_that_was_taken_over_inherits_nothing(lab: Lab) -> None:
    """Another incarnation under the receiver's number is another flow."""
    there, back = ways(lab, False)
    lab.send(lab.a, tcp(there, SYN))
    lab.send(lab.b, tcp(back, SYN_ACK))
    lab.send(lab.a, tcp(there, ACK))
    before = len(list(lab.engine.loaded.maps.flows.items()))
    lab.put_endpoint(lab.b, incarnation=900)
    lab.send(lab.a, tcp(there, ACK))
    assert len(list(lab.engine.loaded.maps.flows.items())) == before + 1


def test_a_stranger_cannot_take_the_short_way(lab: Lab) -> None:
    """A foreign MAC or source on a known flow is dropped with its reason."""
    there, _ = ways(lab, False)
    lab.send(lab.a, udp(there))
    lab.send(lab.a, udp(there))
    foreign = ethernet(Link(lab.c.mac, lab.a.gateway_mac), udp(there))
    assert lab.word(lab.send_frame(lab.a, foreign)) == "spoofed-mac"
    assert lab.word_of(lab.c, udp(there)) == "spoofed-address"


def test_a_source_that_was_taken_away_is_spoofed_at_once(lab: Lab) -> None:
    """The sender's own entry says what it may send from, without a flip too."""
    there, _ = ways(lab, False)
    assert [lab.word_of(lab.a, udp(there)) for _ in range(3)] == ["b"] * 3
    moved = lab.engine.tables().endpoints[lab.a.number]._replace(address4=bytes(lab.d.four))
    lab.engine.write(
        [Put("endpoints", lab.a.number, moved), Remove("addresses", AddressKey(NETWORK, lab.a.four))]
    )
    assert lab.word_of(lab.a, udp(there)) == "spoofed-address"


def test_a_new_deny_cuts_what_took_the_short_way(lab: Lab) -> None:
    """Each flow's first packet after the flip is judged again, also when another's was before."""
    first = Flow(lab.a.four, lab.b.four, 1, WEB)
    second = Flow(lab.a.four, lab.b.four, 2, CLIENT)
    flows = [first, second] * 2
    assert [lab.word_of(lab.a, udp(flow)) for flow in flows] == ["b"] * 4
    lab.isolate(lab.b, Direction.INGRESS, allows((lab.a.number, WEB_ATOM)))
    lab.flip()
    assert [lab.word_of(lab.a, udp(flow)) for flow in flows] == ["b", "ingress-not-allowed"] * 2


@pytest.mark.parametrize(("ipv6", "port"), [(False, 67), (True, 547)])
def test_answers_of_dhcp_servers_take_no_way(lab: Lab, ipv6: bool, port: int) -> None:
    """Not on a known flow either, of a sender that is known."""
    assert lab.word_of(lab.b, udp(Flow(lab.b.address(ipv6), lab.a.address(ipv6)))) == "a"
    asking = Flow(lab.a.address(ipv6), lab.b.address(ipv6), CLIENT, port)
    assert [lab.word_of(lab.a, udp(asking)) for _ in range(2)] == ["b"] * 2
    assert lab.word_of(lab.b, udp(asking.back())) == "dhcp-server"


def test_a_hint_for_another_address_is_no_matter(lab: Lab) -> None:
    """Whoever an address's hint names, packets go to the endpoint that has it."""
    there, _ = ways(lab, False)
    assert [lab.word_of(lab.a, udp(there)) for _ in range(2)] == ["b"] * 2
    hints = lab.engine.loaded.maps.hints
    for index in range(HINTS, 2 * HINTS):
        hints.put(index.to_bytes(4, "little"), lab.c.number.to_bytes(4, "little"))
    assert [lab.word_of(lab.a, udp(there)) for _ in range(2)] == ["b"] * 2

"""The program on fragments: later ones take the first one's answer, and no byte passes twice."""

from __future__ import annotations

import random
from functools import partial

import pytest
from program_lab import (
    ALT,
    OUTSIDE4,
    SERVICE4,
    SERVICE6,
    WEB,
    WEB_ATOM,
    Lab,
    allows,
    at_once,
    delivered,
)

from cloche.datapath.layout import EndpointState
from cloche.model.flow import FRAGMENTS_EACH
from cloche.model.policy import Direction
from cloche.model.topology import HAIRPIN4
from frames import (
    TCP,
    UDP,
    Flow,
    IpOptions,
    checksum_errors,
    fragments,
    hop_less,
    ip,
    solicitation,
    split,
    tcp,
    udp,
)

INGRESS = Direction.INGRESS
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
ROOM = 128
"""How many fragmented packets the test's instance can follow."""


def datagram(lab: Lab, ipv6: bool = False, length: int = 3000, to: int = WEB) -> bytes:
    """UDP from A to B."""
    return udp(Flow(lab.a.address(ipv6), lab.b.address(ipv6), 40000, to), bytes(length))


def part(lab: Lab, offset: int, length: int, more: bool, **changes: int) -> bytes:
    """One made-up fragment of UDP from A to B, IPv4 or (``ipv6=1``) IPv6; ``id``: of the datagram."""
    ipv6 = bool(changes.get("ipv6"))
    payload = bytes(length)
    if offset == 0 and length >= 8:
        payload = udp(Flow(lab.a.four, lab.b.four), bytes(length - 8))[20:]
    extra = IpOptions(id=changes.get("id", 1), offset=offset, more=more)
    return ip(lab.a.address(ipv6), lab.b.address(ipv6), UDP, payload, extra)


def following(lab: Lab) -> int:
    """How many fragmented packets are being followed."""
    return len(list(lab.engine.loaded.maps.fragments.items()))


@FAMILIES
@pytest.mark.parametrize("size", [8, 1480, 2992])
def test_all_parts_arrive_as_they_were(lab: Lab, ipv6: bool, size: int) -> None:
    """Nothing is changed, and with the last byte the entry goes."""
    packet = datagram(lab, ipv6, 3000 if size > 8 else 100)
    parts = fragments(packet, size)
    for index, one in enumerate(parts):
        assert delivered(lab.send(lab.a, one), lab.b) == hop_less(one)
        assert following(lab) == (index < len(parts) - 1)


def test_later_parts_may_come_in_any_order(lab: Lab) -> None:
    """Once the first was seen."""
    draw = random.Random(5)
    for identity in range(20):
        first, *rest = fragments(datagram(lab), 296, identity)
        draw.shuffle(rest)
        for one in (first, *rest):
            assert lab.word_of(lab.a, one) == "b"
        assert following(lab) == 0


@FAMILIES
def test_a_later_part_without_its_first_is_dropped(lab: Lab, ipv6: bool) -> None:
    """Also when the first belongs to another datagram, or was seen too long ago."""
    first, later = fragments(datagram(lab, ipv6, 2000), 1480)
    assert lab.word_of(lab.a, later) == "fragment-first-missing"
    lab.word_of(lab.a, first)
    assert lab.word_of(lab.a, fragments(datagram(lab, ipv6, 2000), 1480, 2)[1]) == "fragment-first-missing"
    lab.wait(30)
    assert lab.word_of(lab.a, later) == "fragment-first-missing"
    assert lab.word_of(lab.a, first) == "b"
    lab.wait(29)
    assert lab.word_of(lab.a, later) == "b"


def test_one_protocols_first_is_not_anothers(lab: Lab) -> None:
    """In IPv4 the protocol is part of what belongs together; in IPv6 it is not (RFC 8200)."""
    first = fragments(datagram(lab), 1480)[0]
    lab.word_of(lab.a, first)
    stranger = ip(lab.a.four, lab.b.four, TCP, bytes(16), IpOptions(id=1, offset=1480))
    assert lab.word_of(lab.a, stranger) == "fragment-first-missing"
    lab.word_of(lab.a, fragments(datagram(lab, True), 1480)[0])
    other = ip(lab.a.six, lab.b.six, TCP, bytes(16), IpOptions(id=1, offset=1480))
    assert lab.word_of(lab.a, other) == "b"


def test_the_verdict_is_the_first_ones(lab: Lab) -> None:
    """Denied with the first's reason; a later change of policy concerns only the next datagram."""
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    denied = fragments(datagram(lab, to=ALT), 1480, 7)
    allowed = fragments(datagram(lab), 1480, 8)
    assert lab.word_of(lab.a, denied[0]) == "ingress-not-allowed"
    assert lab.word_of(lab.a, allowed[0]) == "b"
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    result = lab.send(lab.a, denied[1])
    assert (result.reason.shown, result.direction) == ("ingress-not-allowed", INGRESS)
    assert lab.word_of(lab.a, allowed[1]) == "b"


@FAMILIES
def test_translation_of_every_part(lab: Lab, ipv6: bool) -> None:
    """Put together again the translated datagram equals one built anew, both ways."""
    own, backend = lab.a.address(ipv6), lab.b.address(ipv6)
    lab.serve(WEB, UDP, [(backend, ALT)])
    payload = random.Random(1).randbytes(4000)
    flow = Flow(own, SERVICE6 if ipv6 else SERVICE4)
    towards = Flow(own, backend, 40000, ALT)
    ways = (
        (lab.a, udp(flow, payload), lab.b, udp(towards, payload)),
        (lab.b, udp(towards.back(), payload), lab.a, udp(flow.back(), payload)),
    )
    for pod, packet, receiver, expected in ways:
        got = [delivered(lab.send(pod, one), receiver) for one in fragments(packet, 1480)]
        assert got == [hop_less(one) for one in fragments(expected, 1480)]
        assert b"".join(split(one)[3] for one in got) == split(expected)[3]


def test_hairpin_in_parts(lab: Lab) -> None:
    """Both addresses of every part change."""
    lab.serve(WEB, UDP, [(lab.a.four, ALT)])
    packet = udp(Flow(lab.a.four, SERVICE4), bytes(2000))
    expected = udp(Flow(HAIRPIN4, lab.a.four, 40000, ALT), bytes(2000))
    got = [delivered(lab.send(lab.a, one), lab.a) for one in fragments(packet, 1480)]
    assert got == [hop_less(one) for one in fragments(expected, 1480)]
    assert all("ipv4" not in checksum_errors(one) for one in got)


@FAMILIES
def test_tcp_in_parts(lab: Lab, ipv6: bool) -> None:
    """A first part with a whole TCP header makes the flow."""
    packet = tcp(Flow(lab.a.address(ipv6), lab.b.address(ipv6)), payload=bytes(100))
    assert [lab.word_of(lab.a, one) for one in fragments(packet, 24)] == ["b"] * 5


@FAMILIES
@pytest.mark.parametrize("size", [8, 16])
def test_a_first_part_too_small_for_its_header(lab: Lab, size: int, ipv6: bool) -> None:
    """Ports could hide in the second part: refused, and the rest has no first."""
    packet = tcp(Flow(lab.a.address(ipv6), lab.b.address(ipv6)), payload=bytes(100))
    words = [lab.word_of(lab.a, one) for one in fragments(packet, size)[:2]]
    assert words == ["fragment-overlap", "fragment-first-missing"]


@pytest.mark.parametrize("size", [8, 16])
def test_extension_headers_cut_by_a_fragment(lab: Lab, size: int) -> None:
    """An extension header behind the fragment header that the first part does not hold whole."""
    inner = bytes([6, 2]) + bytes(22) + bytes(20)
    packet = ip(lab.a.six, lab.b.six, 60, inner[:size], IpOptions(id=3, more=True))
    assert lab.word_of(lab.a, packet) == "fragment-overlap"


def test_source_checks_come_before_fragments(lab: Lab) -> None:
    """A spoofed part is spoofed, first or later; a fragmented solicitation is not answered."""
    for one in fragments(udp(Flow(lab.c.four, lab.b.four), bytes(2000)), 1480):
        assert lab.word_of(lab.a, one) == "spoofed-address"
    asked = solicitation(
        Flow(lab.a.six, "ff02::1:ff00:1"), lab.b.six, bytes(8), IpOptions(ttl=255, more=True)
    )
    assert lab.word_of(lab.a, asked) == "neighbour"


OVERLAPS = [
    ([(0, 16)], (0, 16)),
    ([(0, 16)], (8, 8)),
    ([(0, 24), (24, 8)], (24, 8)),
    ([(0, 16), (32, 16)], (24, 16)),
    ([(0, 16), (32, 16)], (40, 16)),
    ([(0, 16), (32, 16)], (16, 64)),
    ([(0, 16), (504, 16)], (512, 8)),
    ([(0, 16), (512, 1024)], (1016, 8)),
    ([(0, 16), (65520, 8)], (65520, 8)),
]


@FAMILIES
@pytest.mark.parametrize(("seen", "again"), OVERLAPS)
def test_no_byte_passes_twice(
    lab: Lab, seen: list[tuple[int, int]], again: tuple[int, int], ipv6: bool
) -> None:
    """Any overlap is refused, and leaves no mark of its own."""
    for offset, length in seen:
        assert lab.word_of(lab.a, part(lab, offset, length, True, ipv6=ipv6)) == "b"
    for _ in range(2):
        assert lab.word_of(lab.a, part(lab, *again, True, ipv6=ipv6)) == "fragment-overlap"


def test_a_refused_overlap_does_not_block_what_is_missing(lab: Lab) -> None:
    """The bytes of a refused part that were new may still come."""
    for offset, length, word in (
        (0, 16, "b"),
        (32, 8, "b"),
        (16, 24, "fragment-overlap"),
        (16, 16, "b"),
    ):
        assert lab.word_of(lab.a, part(lab, offset, length, True)) == word


def test_neighbouring_parts_do_not_overlap(lab: Lab) -> None:
    """Every split of 1200 bytes on 8-byte borders passes whole, around the 64-bit words' borders too."""
    for identity, size in enumerate((8, 24, 64, 504, 512, 520, 1024)):
        for offset in range(0, 1200, size):
            length = min(size, 1200 - offset)
            word = lab.word_of(lab.a, part(lab, offset, length, offset + length < 1200, id=identity))
            assert word == "b", (size, offset)
        assert following(lab) == 0


@FAMILIES
@pytest.mark.parametrize(
    ("offset", "length", "more", "word"),
    [
        (16, 9, True, "malformed"),
        (16, 9, False, "b"),
        (65528, 7, False, "b"),
        (65528, 8, True, "malformed"),
        (65528, 8, False, "malformed"),
        (65520, 1000, False, "malformed"),
    ],
)
def test_parts_that_cannot_be(lab: Lab, offset: int, length: int, more: bool, word: str, ipv6: bool) -> None:
    """A length with more to come that is no multiple of 8, and ends beyond the longest datagram."""
    lab.word_of(lab.a, part(lab, 0, 16, True, ipv6=ipv6))
    assert lab.word_of(lab.a, part(lab, offset, length, more, ipv6=ipv6)) == word


def test_an_unfragmented_packet_with_a_fragment_header(lab: Lab) -> None:
    """Offset 0 and nothing to come is a whole packet (RFC 6946): it may repeat."""
    packet = udp(
        Flow(lab.a.six, lab.b.six), extra=IpOptions(extensions=((44, bytes([0, 0, 0, 0, 0, 0, 1])),))
    )
    assert [lab.word_of(lab.a, packet) for _ in range(3)] == ["b"] * 3
    assert following(lab) == 0


def test_a_senders_bound(lab: Lab) -> None:
    """One more than a sender's bound is refused; others have their own, and so has the stack."""
    for identity in range(FRAGMENTS_EACH):
        assert lab.word_of(lab.a, part(lab, 0, 16, True, id=identity)) == "b"
    assert lab.word_of(lab.a, part(lab, 0, 16, True, id=5000)) == "fragment-table-full"
    assert lab.word_of(lab.a, part(lab, 16, 8, True, id=5000)) == "fragment-first-missing"
    for length, send in ((2000, partial(lab.word_of, lab.c)), (2001, lab.word_of_stack)):
        source = lab.c.four if length == 2000 else OUTSIDE4
        one = udp(Flow(source, lab.b.four), bytes(length))
        assert [send(each) for each in fragments(one, 1480)] == ["b", "b"]


@pytest.mark.parametrize("way", ["completed", "expired", "another incarnation"])
def test_places_become_free(lab: Lab, way: str) -> None:
    """When a datagram is complete or has expired, or the sender is another endpoint by now."""
    for identity in range(FRAGMENTS_EACH):
        lab.word_of(lab.a, part(lab, 0, 16, True, id=identity))
    if way == "completed":
        assert lab.word_of(lab.a, part(lab, 16, 8, False, id=3)) == "b"
    elif way == "expired":
        lab.wait(30)
    else:
        lab.put_endpoint(lab.a, incarnation=999)
    free = 1 if way == "completed" else FRAGMENTS_EACH
    words = [lab.word_of(lab.a, part(lab, 0, 16, True, id=6000 + n)) for n in range(free + 1)]
    assert words == ["b"] * free + ["fragment-table-full"]
    assert following(lab) == FRAGMENTS_EACH


def test_the_stacks_bound(lab: Lab) -> None:
    """What comes through the stack is one sender, whoever it is from."""
    words = [
        lab.word_of_stack(fragments(udp(Flow(f"198.51.100.{n}", lab.b.four), bytes(2000)), 1480)[0])
        for n in range(1, FRAGMENTS_EACH + 2)
    ]
    assert words == ["b"] * FRAGMENTS_EACH + ["fragment-table-full"]
    assert lab.word_of(lab.a, part(lab, 0, 16, True)) == "b"


def test_no_room_for_one_more(lab: Lab) -> None:
    """With the whole table full the next first part is refused, until the others have expired."""
    lab.wait(100_000)
    assert lab.word_of(lab.a, part(lab, 0, 16, True)) == "b"
    table = lab.engine.loaded.maps.fragments
    ((key, value),) = table.items()
    for number in range(1, ROOM):
        table.put(key[:-8] + number.to_bytes(8, "little"), value)
    assert following(lab) == ROOM
    other = fragments(udp(Flow(lab.b.four, lab.c.four), bytes(2000)), 1480)[0]
    assert [lab.word_of(lab.b, other) for _ in range(4)] == ["fragment-table-full"] * 4
    lab.wait(31)
    assert lab.word_of(lab.b, other) == "c"
    assert following(lab) == 1


def test_first_parts_on_two_processors(lab: Lab) -> None:
    """However many come and are completed at once, the sender never has more than its bound, nor fewer."""
    both: list[list[bytes]] = [[], []]
    for identity in range(8000):
        both[identity % 2].append(part(lab, 0, 16, True, id=identity))
        both[identity % 2].append(part(lab, 16, 8, False, id=identity))

    def flood(which: int) -> None:
        for one in both[which]:
            lab.send(lab.a, one)

    at_once(flood, 0, 1)
    for identity in range(30000, 30000 + FRAGMENTS_EACH):
        lab.send(lab.a, part(lab, 0, 16, True, id=identity))
    assert following(lab) == FRAGMENTS_EACH


def test_senders_do_not_share_identifications(lab: Lab) -> None:
    """The stack's datagram with the same addresses and number is another one."""
    one = udp(Flow(lab.a.four, lab.b.four), bytes(2000))
    lab.word_of(lab.a, fragments(one, 1480)[0])
    assert lab.word_of_stack(fragments(one, 1480)[1]) == "fragment-first-missing"
    outside = fragments(udp(Flow(OUTSIDE4, lab.b.four), bytes(2000)), 1480)
    assert [lab.word_of_stack(each) for each in outside] == ["b", "b"]


def test_a_receiver_that_is_another_by_now(lab: Lab) -> None:
    """Later parts are not delivered to whoever has the address or the number now."""
    for change in ("address", "state"):
        first, later = fragments(datagram(lab, length=2000), 1480, 40 + len(change))
        assert lab.word_of(lab.a, first) == "b"
        if change == "address":
            lab.engine.write([lab.address(lab.b.four, lab.c.number, 3)])
        else:
            lab.engine.write([lab.address(lab.b.four, lab.b.number, 2)])
            lab.put_endpoint(lab.b, state=EndpointState.CLOSED)
        assert lab.word_of(lab.a, later) == "closed"
        lab.engine.write([lab.address(lab.b.four, lab.b.number, 2)])


def test_a_refused_service_answers_only_the_first(lab: Lab) -> None:
    """The other parts are dropped in silence, with the same reason."""
    lab.serve(WEB, UDP, [])
    parts = fragments(udp(Flow(lab.a.four, SERVICE4), bytes(3000)), 1480)
    results = [lab.send(lab.a, one) for one in parts]
    assert [result.reason.shown for result in results] == ["no-backend"] * 3
    assert [result.delivery.name for result in results] == ["BACK", "NOWHERE", "NOWHERE"]

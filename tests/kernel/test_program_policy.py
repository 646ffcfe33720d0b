"""The program on whole TCP and UDP packets: classes, atoms, sets, both directions, both families."""

from __future__ import annotations

import pytest
from program_lab import (
    ALT,
    ALT_ATOM,
    DENY,
    HOST4,
    HOST6,
    HOST_CLASS,
    NOBODY4,
    NOBODY6,
    OTHER_ATOM,
    OUTSIDE4,
    OUTSIDE6,
    OUTSIDE6_CLASS,
    OUTSIDE_CLASS,
    UNKNOWN_CLASS,
    WEB,
    WEB_ATOM,
    Lab,
    Pod,
    allows,
    delivered,
)

from cloche.datapath.layout import NameEntry, NameKey
from cloche.model.address import parse_address
from cloche.model.flow import Delivery, Verdict
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.tables.schema import Cell, Put, settled
from frames import ACK, SYN, Flow, echo, hop_less, ip, tcp, udp

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def flow(source: Pod, destination: Pod, ipv6: bool, port: int = WEB) -> Flow:
    """From one pod to another."""
    return Flow(source.address(ipv6), destination.address(ipv6), 40000, port)


@FAMILIES
def test_without_policy_a_packet_arrives_unchanged(lab: Lab, ipv6: bool) -> None:
    """An endpoint without sets gets what others send, its own MAC, a hop less, nothing else changed."""
    for packet in (tcp(flow(lab.a, lab.b, ipv6)), udp(flow(lab.a, lab.c, ipv6))):
        result = lab.send(lab.a, packet)
        assert delivered(result, lab.b if packet[9 if not ipv6 else 6] == 6 else lab.c) == hop_less(packet)
        assert result.verdict is Verdict.ALLOW
        assert result.direction is None


@FAMILIES
def test_ingress_cells_decide_by_class_and_port(lab: Lab, ipv6: bool) -> None:
    """A receiver's set allows one class on one port; other ports and other senders are isolated away."""
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    assert lab.word_of(lab.a, tcp(flow(lab.a, lab.b, ipv6))) == "b"
    assert lab.word_of(lab.a, tcp(flow(lab.a, lab.b, ipv6, ALT))) == "ingress-not-allowed"
    assert lab.word_of(lab.c, tcp(flow(lab.c, lab.b, ipv6))) == "ingress-not-allowed"


@FAMILIES
def test_egress_cells_decide_by_class_and_port(lab: Lab, ipv6: bool) -> None:
    """A sender's set allows one class on one port and nothing else."""
    lab.isolate(lab.a, EGRESS, allows((2, WEB_ATOM)))
    assert lab.word_of(lab.a, udp(flow(lab.a, lab.b, ipv6))) == "b"
    assert lab.word_of(lab.a, udp(flow(lab.a, lab.b, ipv6, ALT))) == "egress-not-allowed"
    assert lab.word_of(lab.a, udp(flow(lab.a, lab.c, ipv6))) == "egress-not-allowed"


def test_egress_is_judged_before_ingress(lab: Lab) -> None:
    """Where both ends deny, the sender's denial is the answer."""
    lab.isolate(lab.b, INGRESS, {})
    lab.isolate(lab.a, EGRESS, {})
    result = lab.send(lab.a, tcp(flow(lab.a, lab.b, False)))
    assert result.reason is Reason.EGRESS_NOT_ALLOWED
    assert result.direction is EGRESS


def test_a_denying_rule_is_told_from_isolation(lab: Lab) -> None:
    """A denying cell with a rule is ``denied``, without one ``not-allowed``."""
    lab.isolate(lab.b, INGRESS, {(1, WEB_ATOM): Cell(DENY, rule=3)})
    lab.isolate(lab.c, EGRESS, {(1, WEB_ATOM): Cell(DENY, rule=4)})
    result = lab.send(lab.a, tcp(flow(lab.a, lab.b, False)))
    assert (result.reason, result.rule, result.direction) == (Reason.INGRESS_DENIED, 3, INGRESS)
    result = lab.send(lab.c, tcp(flow(lab.c, lab.a, False)))
    assert (result.reason, result.rule, result.direction) == (Reason.EGRESS_DENIED, 4, EGRESS)


def test_an_answer_names_set_class_atom_and_rule(lab: Lab) -> None:
    """What a test run reads: of an allowed flow the receiver's side, of a denied one the denying side."""
    number = lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM), rule=7))
    result = lab.send(lab.a, tcp(flow(lab.a, lab.b, True)))
    assert (result.set, result.class_, result.atom, result.rule) == (number, 1, WEB_ATOM, 7)
    result = lab.send(lab.a, tcp(flow(lab.a, lab.b, True, ALT)))
    assert (result.set, result.class_, result.atom, result.rule) == (number, 1, ALT_ATOM, 0)


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("class", "unknown-class"),
        ("beyond", "unknown-class"),
        ("row", "unknown-class"),
        ("cell", "unknown-class"),
        ("next", "unknown-class"),
    ],
)
def test_what_the_tables_do_not_know_is_denied(lab: Lab, what: str, word: str) -> None:
    """A class without a row, one past the last, no row, an unset cell and an undecided one all deny."""
    number = lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    row = number * 16 + 1
    writes = {
        "class": Put("addresses", *Lab.address(lab.a.four, lab.a.number, 99)[1:]),
        "beyond": Put("addresses", *Lab.address(lab.a.four, lab.a.number, lab.engine.capacity.classes)[1:]),
        "row": Put("rows", (number, 1), settled(0)),
        "cell": Put("cells", (row, WEB_ATOM), (0,)),
        "next": Put("cells", (row, WEB_ATOM), (Cell(Verdict.NEXT).pack(),)),
    }
    lab.engine.write([writes[what]])
    assert lab.word_of(lab.a, tcp(flow(lab.a, lab.b, False))) == word


@FAMILIES
def test_addresses_outside_have_the_class_of_their_prefix(lab: Lab, ipv6: bool) -> None:
    """Egress to outside is judged by the prefix's class and goes to the stack."""
    there, class_ = (OUTSIDE6, OUTSIDE6_CLASS) if ipv6 else (OUTSIDE4, OUTSIDE_CLASS)
    lab.isolate(lab.a, EGRESS, allows((class_, WEB_ATOM)))
    own = lab.a.address(ipv6)
    result = lab.send(lab.a, tcp(Flow(own, there)))
    assert result.delivery is Delivery.STACK
    assert result.frame[:6] == bytes.fromhex("020000007777")
    assert lab.word_of(lab.a, tcp(Flow(own, there, 40000, ALT))) == "egress-not-allowed"


@FAMILIES
def test_policy_speaks_before_an_unknown_destination(lab: Lab, ipv6: bool) -> None:
    """An address of ours that nobody has is denied by policy first, then as unknown."""
    nobody, own = (NOBODY6 if ipv6 else NOBODY4), lab.a.address(ipv6)
    assert lab.word_of(lab.a, tcp(Flow(own, nobody))) == "unknown-destination"
    lab.isolate(lab.a, EGRESS, allows((UNKNOWN_CLASS, WEB_ATOM)))
    assert lab.word_of(lab.a, tcp(Flow(own, nobody))) == "unknown-destination"
    assert lab.word_of(lab.a, tcp(Flow(own, nobody, 40000, ALT))) == "egress-not-allowed"
    assert lab.word_of_stack(tcp(Flow(OUTSIDE6 if ipv6 else OUTSIDE4, nobody))) == "unknown-destination"


@FAMILIES
def test_the_host_class_counts_for_the_host_alone(lab: Lab, ipv6: bool) -> None:
    """What the host itself sends has the host's class; the same address forwarded has its prefix's."""
    host = HOST6 if ipv6 else HOST4
    lab.isolate(lab.a, INGRESS, allows((HOST_CLASS, WEB_ATOM)))
    packet = tcp(Flow(host, lab.a.address(ipv6)))
    assert lab.word_of_stack(packet) == "ingress-not-allowed"
    assert lab.word_of_stack(packet, host=True) == "a"


@FAMILIES
def test_the_host_class_counts_for_every_packet_to_the_host(lab: Lab, ipv6: bool) -> None:
    """An endpoint's packet to its host is judged by the host's class and handed to the stack."""
    host = HOST6 if ipv6 else HOST4
    lab.isolate(lab.a, EGRESS, allows((HOST_CLASS, WEB_ATOM)))
    assert lab.word_of(lab.a, tcp(Flow(lab.a.address(ipv6), host))) == "stack"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.address(ipv6), host, 40000, ALT))) == "egress-not-allowed"


@FAMILIES
def test_icmp_is_judged_by_type_and_code(lab: Lab, ipv6: bool) -> None:
    """An echo request's atom is that of its type and code, whatever its identifier."""
    kind = 128 if ipv6 else 8
    slot = 4 if ipv6 else 3
    index = slot << 16 | kind << 8
    lab.engine.write([Put("atoms", (index, index), settled(9).pack())])
    lab.isolate(lab.b, INGRESS, allows((1, 9)))
    assert lab.word_of(lab.a, echo(flow(lab.a, lab.b, ipv6), 80)) == "b"
    assert lab.word_of(lab.a, echo(flow(lab.a, lab.b, ipv6), 81, reply=True)) == "ingress-not-allowed"


def test_other_protocols_have_atoms_of_their_own(lab: Lab) -> None:
    """A protocol without ports is judged by its number."""
    index = 5 << 16 | 47
    lab.engine.write([Put("atoms", (index, index), settled(9).pack())])
    lab.isolate(lab.b, INGRESS, allows((1, 9)))
    assert lab.word_of(lab.a, ip(lab.a.four, lab.b.four, 47, bytes(20))) == "b"
    assert lab.word_of(lab.a, ip(lab.a.four, lab.b.four, 50, bytes(20))) == "ingress-not-allowed"
    assert lab.word_of(lab.a, ip(lab.a.six, lab.b.six, 47, bytes(20))) == "b"
    assert OTHER_ATOM != 9


def test_names_only_add_allows(lab: Lab) -> None:
    """In a set with name rules an address that a name gave is allowed until then; a denying entry is none."""
    lab.isolate(lab.a, EGRESS, {}, flags=1)
    names = lab.engine.loaded.maps.names
    key = NameKey(lab.a.number, parse_address(OUTSIDE4)).pack()
    packets = [tcp(Flow(lab.a.four, OUTSIDE4, 40000 + n)) for n in range(4)]
    assert lab.word_of(lab.a, packets[0]) == "egress-not-allowed"
    names.put(key, NameEntry(lab.now + 5_000_000_000, Cell(Verdict.ALLOW, rule=2).pack()).pack())
    assert lab.word_of(lab.a, packets[1]) == "stack"
    lab.wait(5)
    assert lab.word_of(lab.a, packets[2]) == "egress-not-allowed"
    names.put(key, NameEntry(lab.now + 5_000_000_000, Cell(DENY, rule=2).pack()).pack())
    assert lab.word_of(lab.a, packets[3]) == "egress-not-allowed"


def test_names_count_in_either_direction(lab: Lab) -> None:
    """What a name gave is asked of a receiver's set too, by the sender's address."""
    lab.isolate(lab.b, INGRESS, {}, flags=1)
    key = NameKey(lab.b.number, lab.a.four).pack()
    entry = NameEntry(lab.now + 5_000_000_000, Cell(Verdict.ALLOW, rule=2).pack())
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four))) == "ingress-not-allowed"
    lab.engine.loaded.maps.names.put(key, entry.pack())
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four))) == "b"


def test_sets_without_name_rules_do_not_look_at_names(lab: Lab) -> None:
    """The name stage is read only where the set says so."""
    lab.isolate(lab.a, EGRESS, {})
    key = NameKey(lab.a.number, parse_address(OUTSIDE4)).pack()
    lab.engine.loaded.maps.names.put(
        key, NameEntry(lab.now + 5_000_000_000, Cell(Verdict.ALLOW).pack()).pack()
    )
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, OUTSIDE4))) == "egress-not-allowed"


def test_tcp_in_mid_connection_may_have_been_opened_by_either_side(lab: Lab) -> None:
    """Without an entry a segment passes when its receiver could have opened the connection to its port."""
    lab.isolate(lab.b, EGRESS, {})
    assert lab.word_of(lab.b, tcp(Flow(lab.b.four, lab.a.four, WEB, 40000), ACK)) == "a"
    assert (
        lab.word_of(lab.b, tcp(Flow(lab.b.four, lab.a.four, WEB, 40001), SYN | ACK)) == "egress-not-allowed"
    )


@FAMILIES
def test_a_port_counts_with_all_its_bits(lab: Lab, ipv6: bool) -> None:
    """A port and the one 32768 above it are told apart."""
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    assert lab.word_of(lab.a, tcp(flow(lab.a, lab.b, ipv6, WEB))) == "b"
    assert lab.word_of(lab.a, tcp(flow(lab.a, lab.b, ipv6, WEB + 32768))) == "ingress-not-allowed"

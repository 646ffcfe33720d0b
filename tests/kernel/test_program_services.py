"""The program on services: which backend, how long it is kept, and pods that reach themselves."""

from __future__ import annotations

import pytest
from program_lab import (
    ALT,
    ALT_ATOM,
    HOST4,
    HOST6,
    OUTSIDE4,
    SERVICE4,
    SERVICE6,
    WEB,
    Lab,
    allows,
    delivered,
)

from cloche.datapath.events import read_flows
from cloche.datapath.layout import FlowKind
from cloche.model.address import parse_address
from cloche.model.flow import Delivery, Packet
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import HAIRPIN4, HAIRPIN6
from cloche.model.tracker import choose_backend
from cloche.tables.schema import MemberKey, Remove
from frames import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Flow,
    echo,
    hop_less,
    ip,
    packet_of,
    sctp,
    split,
    tcp,
    udp,
)

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def service(ipv6: bool) -> str:
    """The lab's service address of a family."""
    return SERVICE6 if ipv6 else SERVICE4


def to_service(lab: Lab, ipv6: bool = False, by: int = 40000, port: int = WEB) -> Flow:
    """From A to the service."""
    return Flow(lab.a.address(ipv6), service(ipv6), by, port)


@FAMILIES
def test_policy_is_asked_about_the_backend(lab: Lab, ipv6: bool) -> None:
    """The packet is judged with the backend's class and port, not the service's."""
    lab.serve(WEB, TCP, [(lab.b.address(ipv6), ALT)])
    lab.isolate(lab.b, INGRESS, allows((1, ALT_ATOM)))
    assert lab.word_of(lab.a, tcp(to_service(lab, ipv6))) == "b"
    lab.isolate(lab.b, INGRESS, {})
    assert lab.word_of(lab.a, tcp(to_service(lab, ipv6, 40001))) == "ingress-not-allowed"


@FAMILIES
def test_replies_come_from_the_services_address(lab: Lab, ipv6: bool) -> None:
    """The client sees only the service; a reply to another client's port stays as it is."""
    lab.serve(WEB, TCP, [(lab.b.address(ipv6), ALT)])
    flow = to_service(lab, ipv6)
    lab.send(lab.a, tcp(flow))
    towards = Flow(flow.source, lab.b.address(ipv6), 40000, ALT)
    result = lab.send(lab.b, tcp(towards.back(), SYN | ACK))
    assert delivered(result, lab.a) == hop_less(tcp(flow.back(), SYN | ACK))
    plain = tcp(towards.back()._replace(destination_port=40001), SYN | ACK)
    assert delivered(lab.send(lab.b, plain), lab.a) == hop_less(plain)


def test_addresses_and_ports_without_a_service(lab: Lab) -> None:
    """Another port, another protocol, one without ports and an echo: no such service."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    flow = to_service(lab)
    for packet in (
        tcp(flow._replace(destination_port=81)),
        udp(flow),
        sctp(flow),
        echo(flow),
        ip(flow.source, flow.destination, 47, bytes(8)),
    ):
        assert lab.word_of(lab.a, packet) == "no-service"


@FAMILIES
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_choice_is_the_python_twins(lab: Lab, count: int, ipv6: bool) -> None:
    """For every client port the program names the backend that the hash in Python names."""
    backends = [(lab.b.address(ipv6), 8000 + number) for number in range(count)]
    lab.serve(WEB, UDP, backends)
    key = lab.engine.config().hash_key
    seen = set()
    for by in range(1, 60000, 997):
        result = lab.send(lab.a, udp(to_service(lab, ipv6, by)))
        asked = Packet(lab.a.address(ipv6), parse_address(service(ipv6)), UDP, by, WEB)
        chosen = choose_backend((key[0], key[1]), asked, count)
        assert result.backend == 32 + chosen
        seen.add(chosen)
    assert seen == set(range(count))


def test_a_flow_keeps_its_backend_while_the_list_grows(lab: Lab) -> None:
    """A longer list concerns new flows only."""
    lab.serve(WEB, UDP, [(lab.b.four, 1)])
    packet = udp(to_service(lab))
    assert lab.word_of(lab.a, packet) == "b"
    lab.serve(WEB, UDP, [(lab.c.four, 1)] * 8 + [(lab.b.four, 1)], first=64, epoch=2)
    assert lab.word_of(lab.a, packet) == "b"
    assert lab.word_of(lab.a, packet) == "b"


def gone(lab: Lab, protocol: int) -> None:
    """B is no backend any more, C is."""
    lab.serve(WEB, protocol, [(lab.c.four, ALT)], first=64, epoch=2)
    lab.engine.write([Remove("members", MemberKey(5, lab.b.four, ALT))])


@pytest.mark.parametrize("flags", [ACK, FIN | ACK, RST, PSH | ACK])
def test_a_connection_whose_backend_is_gone_ends(lab: Lab, flags: int) -> None:
    """TCP without SYN is not sent to another backend."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    lab.word_of(lab.a, tcp(to_service(lab)))
    gone(lab, TCP)
    assert lab.word_of(lab.a, tcp(to_service(lab), flags)) == "backend-gone"


def test_other_flows_choose_anew_when_the_backend_is_gone(lab: Lab) -> None:
    """A SYN, and UDP at any time, go to a backend that there is."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    lab.word_of(lab.a, tcp(to_service(lab)))
    gone(lab, TCP)
    assert lab.word_of(lab.a, tcp(to_service(lab))) == "c"
    assert lab.word_of(lab.a, tcp(to_service(lab), ACK)) == "c"
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    lab.word_of(lab.a, udp(to_service(lab)))
    gone(lab, UDP)
    assert lab.word_of(lab.a, udp(to_service(lab))) == "c"


@pytest.mark.parametrize(
    ("history", "word"),
    [([], "b"), ([SYN], "b"), ([RST], "c")],
    ids=["opening", "again", "closing"],
)
def test_a_syn_chooses_anew_only_when_the_flow_is_over(lab: Lab, history: list[int], word: str) -> None:
    """A retransmitted SYN stays; one after a reset goes by today's list."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    for flags in (SYN, *history):
        lab.word_of(lab.a, tcp(to_service(lab), flags))
    lab.serve(WEB, TCP, [(lab.c.four, ALT)], first=64, epoch=2)
    assert lab.word_of(lab.a, tcp(to_service(lab))) == word


def test_a_translation_lives_as_its_flow_was_seen_to(lab: Lab) -> None:
    """An open connection keeps its backend for hours, one that only began for a minute."""
    for answered, word in ((True, "b"), (False, "c")):
        lab.engine.forget("flows")
        lab.serve(WEB, TCP, [(lab.b.four, ALT)], epoch=10)
        flow = to_service(lab)
        lab.word_of(lab.a, tcp(flow))
        if answered:
            lab.word_of(lab.b, tcp(Flow(lab.b.four, lab.a.four, ALT, 40000), SYN | ACK))
            lab.word_of(lab.a, tcp(flow, ACK))
        lab.wait(3600)
        lab.serve(WEB, TCP, [(lab.c.four, ALT)], first=64, epoch=11)
        assert lab.word_of(lab.a, tcp(flow, ACK)) == word


# --- affinity ---


def test_affinity_keeps_a_client_with_its_backend(lab: Lab) -> None:
    """New flows of one client go where its last went, until the time is over or the backend gone."""
    many = [(lab.b.four, 8000 + number) for number in range(8)]
    lab.serve(WEB, UDP, many, affinity=100)
    first = lab.send(lab.a, udp(to_service(lab, by=1))).backend
    for by in range(2, 40):
        port = packet_of(lab.send(lab.a, udp(to_service(lab, by=by))).frame)[22:24]
        assert int.from_bytes(port, "big") == 8000 + (first or 0) - 32
        lab.wait(10)
    lab.wait(100)
    chosen = {lab.send(lab.a, udp(to_service(lab, by=by))).backend for by in range(100, 101)}
    assert None not in chosen
    assert first is not None
    lab.engine.write([Remove("members", MemberKey(5, lab.b.four, 8000 + number)) for number in range(8)])
    assert lab.send(lab.a, udp(to_service(lab, by=200))).backend is not None


def test_a_denied_flow_leaves_no_affinity(lab: Lab) -> None:
    """Only where policy let the client in does it go again."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)], affinity=100)
    lab.isolate(lab.b, INGRESS, {})
    assert lab.word_of(lab.a, udp(to_service(lab))) == "ingress-not-allowed"
    assert list(lab.engine.loaded.maps.affinity.items()) == []


# --- clashes and full tables ---


def test_two_flows_may_not_be_translated_to_the_same(lab: Lab) -> None:
    """A live flow under the same translated addresses is another service's or none's: refused."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    lab.serve(WEB + 1, UDP, [(lab.b.four, ALT)], number=6, first=64)
    assert lab.word_of(lab.a, udp(to_service(lab))) == "b"
    assert lab.word_of(lab.a, udp(to_service(lab, port=WEB + 1))) == "translation-clash"
    assert lab.word_of(lab.a, udp(Flow(lab.a.four, lab.b.four, 5000, ALT))) == "b"
    assert lab.word_of(lab.a, udp(to_service(lab, by=5000))) == "translation-clash"
    lab.wait(30)
    assert lab.word_of(lab.a, udp(to_service(lab, by=5000))) == "b"


@pytest.mark.parametrize("quota", [0, 1])
def test_a_translation_that_cannot_be_remembered_does_not_pass(lab: Lab, quota: int) -> None:
    """Without a slot, or with one for its flow alone, it is refused, and nothing of it stays."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    lab.put_endpoint(lab.a, quota=quota)
    assert lab.word_of(lab.a, udp(to_service(lab))) == "flow-table-full"
    assert list(read_flows(lab.engine.loaded.maps.flows)) == []


def test_an_evicted_translation_is_made_again(lab: Lab) -> None:
    """A client's flow whose translation entry was evicted finds its backend by the hash and goes on."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    lab.word_of(lab.a, udp(to_service(lab)))
    table = lab.engine.loaded.maps.flows
    for raw, _ in list(table.items()):
        if raw[49] == FlowKind.TRANSLATION:
            table.remove(raw)
    assert lab.word_of(lab.a, udp(to_service(lab))) == "b"
    kinds = sorted(key.kind for key, _ in read_flows(table))
    assert kinds == [FlowKind.PLAIN, FlowKind.TRANSLATION]


# --- hairpin ---


@FAMILIES
def test_a_pod_reaches_itself_through_its_service(lab: Lab, ipv6: bool) -> None:
    """It sees the reserved address as client, and its answers come back from the service."""
    own, reserved = lab.a.address(ipv6), HAIRPIN6 if ipv6 else HAIRPIN4
    lab.serve(WEB, TCP, [(own, ALT)])
    flow = to_service(lab, ipv6)
    turned = Flow(reserved, own, 40000, ALT)
    assert delivered(lab.send(lab.a, tcp(flow)), lab.a) == hop_less(tcp(turned))
    answer = lab.send(lab.a, tcp(turned.back(), SYN | ACK))
    assert delivered(answer, lab.a) == hop_less(tcp(flow.back(), SYN | ACK))
    assert delivered(lab.send(lab.a, tcp(flow, ACK)), lab.a) == hop_less(tcp(turned, ACK))


def test_a_hairpin_is_judged_as_the_pod_to_itself(lab: Lab) -> None:
    """Both directions count, by the pod's own class."""
    lab.serve(WEB, TCP, [(lab.a.four, ALT)])
    lab.isolate(lab.a, INGRESS, allows((1, ALT_ATOM)))
    assert lab.word_of(lab.a, tcp(to_service(lab))) == "a"
    lab.isolate(lab.a, EGRESS, allows((2, ALT_ATOM)))
    assert lab.word_of(lab.a, tcp(to_service(lab, by=40001))) == "egress-not-allowed"
    lab.isolate(lab.a, INGRESS, allows((2, ALT_ATOM)))
    assert lab.word_of(lab.a, tcp(to_service(lab, by=40001))) == "ingress-not-allowed"
    lab.flip()
    assert lab.word_of(lab.a, tcp(to_service(lab), ACK)) == "ingress-not-allowed"


def test_a_hairpin_stays_allowed_after_a_flip(lab: Lab) -> None:
    """Judged again from either side it is still the pod to itself."""
    lab.serve(WEB, UDP, [(lab.a.four, ALT)])
    lab.isolate(lab.a, INGRESS, allows((1, ALT_ATOM)))
    assert lab.word_of(lab.a, udp(to_service(lab))) == "a"
    lab.flip()
    assert lab.word_of(lab.a, udp(Flow(lab.a.four, HAIRPIN4, ALT, 40000))) == "a"
    lab.flip()
    assert lab.word_of(lab.a, udp(to_service(lab))) == "a"


def test_the_reserved_address_has_nobody_behind_it(lab: Lab) -> None:
    """Without a flow, or for another pod's, a packet to it is for nobody."""
    lab.serve(WEB, UDP, [(lab.a.four, ALT)])
    lab.word_of(lab.a, udp(to_service(lab)))
    for pod, flow in (
        (lab.b, Flow(lab.b.four, HAIRPIN4, ALT, 40000)),
        (lab.a, Flow(lab.a.four, HAIRPIN4, ALT, 40001)),
    ):
        assert lab.word_of(pod, udp(flow)) == "unknown-destination"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, HAIRPIN4))) == "unknown-destination"
    assert lab.word_of_stack(udp(Flow(OUTSIDE4, HAIRPIN4))) == "unknown-destination"


def test_hairpins_of_two_pods_do_not_meet(lab: Lab) -> None:
    """The same ports in two pods are two flows."""
    for pod in (lab.a, lab.b):
        lab.serve(WEB, UDP, [(pod.four, ALT)], number=pod.number, epoch=pod.number)
        assert lab.word_of(pod, udp(Flow(pod.four, SERVICE4))) == "ab"[pod.number - 1]
    for pod in (lab.a, lab.b):
        answer = udp(Flow(pod.four, HAIRPIN4, ALT, 40000))
        assert delivered(lab.send(pod, answer), pod) == hop_less(udp(Flow(SERVICE4, pod.four, WEB, 40000)))


# --- the stack ---


@FAMILIES
def test_the_host_reaches_services_too(lab: Lab, ipv6: bool) -> None:
    """From the stack to a service, and the answer back to the stack from the service's address."""
    host = HOST6 if ipv6 else HOST4
    lab.serve(WEB, TCP, [(lab.b.address(ipv6), ALT)])
    flow = Flow(host, service(ipv6))
    towards = Flow(host, lab.b.address(ipv6), 40000, ALT)
    assert delivered(lab.send_stack(tcp(flow), host=True), lab.b) == tcp(towards)
    result = lab.send(lab.b, tcp(towards.back(), SYN | ACK))
    assert result.delivery is Delivery.STACK
    assert packet_of(result.frame) == tcp(flow.back(), SYN | ACK)


def test_a_known_backend_is_kept_when_the_list_is_empty_but_it_is_a_member(lab: Lab) -> None:
    """Live flows stay with a backend that is only no longer offered."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    lab.word_of(lab.a, udp(to_service(lab)))
    lab.serve(WEB, UDP, [], epoch=2)
    assert lab.word_of(lab.a, udp(to_service(lab))) == "b"
    assert lab.word_of(lab.a, udp(to_service(lab, by=1))) == "no-backend"


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_direct_flow_is_told_from_the_services(lab: Lab, protocol: int) -> None:
    """From a port that the client's flow to a service has, its backend is not reached directly, and the
    service's flow goes on; from another port it is."""
    lab.serve(WEB, protocol, [(lab.b.four, ALT)])
    make = (lambda flow: tcp(flow, SYN)) if protocol == TCP else udp
    there, direct = Flow(lab.a.four, parse_address(SERVICE4)), Flow(lab.a.four, lab.b.four, 40000, ALT)
    assert lab.word_of(lab.a, make(there)) == "b"
    assert lab.word_of(lab.a, make(direct)) == "translation-clash"
    assert lab.word_of(lab.a, make(direct._replace(source_port=40001))) == "b"
    assert lab.word_of(lab.a, make(there)) == "b"
    answer = tcp(direct.back(), SYN | ACK) if protocol == TCP else udp(direct.back())
    source, *_ = split(delivered(lab.send(lab.b, answer), lab.a))
    assert source == parse_address(SERVICE4)


def test_a_reset_to_nobody_is_not_answered(lab: Lab) -> None:
    """A service without backends refuses a connection, and lets a reset go unanswered."""
    lab.serve(WEB, TCP, [], ipv6=0)
    there = Flow(lab.a.four, parse_address(SERVICE4))
    assert lab.send(lab.a, tcp(there, SYN)).delivery is Delivery.BACK
    for flags in (RST, RST | ACK):
        result = lab.send(lab.a, tcp(there, flags))
        assert (result.reason, result.delivery) == (Reason.NO_BACKEND, Delivery.NOWHERE)

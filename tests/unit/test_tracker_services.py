"""The reference tracker: services, affinity, hairpins, and what the oracle calls lawful."""

from __future__ import annotations

import msgspec
import pytest
from histories import ACK, FIN, HAIRPIN, HASH_KEY, RST, SYN, History, icmp, tcp, udp
from policy_worlds import attached, namespace, packet, pod, pods, policy, port, rule, world

from cloche.model.address import format_address, parse_address
from cloche.model.flow import Decision, Delivery, Packet
from cloche.model.policy import Policy
from cloche.model.topology import TCP, UDP, Backend, Service, ServicePort
from cloche.model.tracker import OracleWorld, ServiceView, choose_backend, lawful

A, B, C = pod("x/a", 1, {"app": "a"}), pod("x/b", 2, {"app": "b"}), pod("x/c", 3, {"app": "c"})
OUTSIDE, FRONT, FRONT6 = "203.0.113.9", "10.96.0.1", "fd00:96::1"
CLOSED_B = policy("x/p", pods(where="x", app="b"), ingress=[])
SILENT = policy("x/out", pods(where="x"), egress=[])


def backends(*endpoints: object, port: int = 8080) -> tuple[Backend, ...]:
    """Both addresses of each endpoint as backends."""
    return tuple(Backend(a, port, e.key) for e in endpoints for a in e.addresses)  # type: ignore[attr-defined]


def service(*members: Backend, affinity: int = 0) -> Service:
    """The service x/web on 80/tcp and 53/udp."""
    ports = (ServicePort("http", TCP, 80, members), ServicePort("dns", UDP, 53, members))
    return Service("x", "web", (parse_address(FRONT), parse_address(FRONT6)), ports, affinity)


def history(*members: Backend, policies: tuple[Policy, ...] = (), affinity: int = 0) -> History:
    """Three pods, the service with these backends and these policies."""
    objects = (A, B, C, *attached(A, B, C), *policies, service(*members, affinity=affinity))
    return History(world(namespace("x"), *objects))


def sent(found: Decision) -> str:
    """From where to where a packet goes after translation."""
    assert found.source is not None
    assert found.destination is not None
    source, destination = format_address(found.source), format_address(found.destination)
    return f"{source}:{found.source_port} > {destination}:{found.destination_port}"


def taking(one: History, member: Backend) -> History:
    """The history in which new flows take this backend."""
    one.choice = lambda asked, view: member
    return one


TO_B, TO_C, TO_A = backends(B)[0], backends(C)[0], backends(A)[0]


def test_there_and_back() -> None:
    """A packet to a service goes to a backend; the answer comes from the service."""
    one = history(*backends(B))
    there = one.send(tcp(A, FRONT, SYN))
    assert sent(there) == "10.244.0.1:40000 > 10.244.0.2:8080"
    assert (there.delivery, there.endpoint, there.backend) == (Delivery.ENDPOINT, B.key, TO_B)
    back = one.send(tcp(B, A, SYN | ACK, 40000, 8080))
    assert sent(back) == "10.96.0.1:80 > 10.244.0.1:40000"
    assert sent(one.send(udp(A, FRONT6, ipv6=True))) == "fd00:244::1:40000 > fd00:244::2:8080"


def test_policy_judges_the_backend() -> None:
    """What counts is the backend and its port, not the service."""
    one = history(*backends(B, C), policies=(CLOSED_B,))
    assert taking(one, TO_B).word(tcp(A, FRONT, SYN)) == "ingress-not-allowed"
    assert not one.tracker.translations
    assert taking(one, TO_C).word(tcp(A, FRONT, SYN)) == "allow"


REFUSED = [
    (tcp(A, FRONT, SYN, 81), "no-service"),
    (udp(A, FRONT, 80), "no-service"),
    (icmp(A, FRONT, 8), "no-service"),
    (packet(A, FRONT, 80, protocol=47), "no-service"),
]


@pytest.mark.parametrize(("asked", "expected"), REFUSED)
def test_a_port_that_no_service_has(asked: Packet, expected: str) -> None:
    """Other ports, other protocols and pings of a service's address are refused."""
    assert history(*backends(B)).word(asked) == expected


def test_no_backend_is_answered() -> None:
    """Without a ready backend of its family the client is refused aloud."""
    one = history(backends(B)[1])
    found = one.send(tcp(A, FRONT, SYN))
    assert (found.reason.shown, found.delivery) == ("no-backend", Delivery.BACK)
    assert one.word(tcp(A, FRONT6, SYN, ipv6=True)) == "allow"


def opened(one: History) -> History:
    """The history after a handshake of a with backend b through the service."""
    taking(one, TO_B).words(tcp(A, FRONT, SYN), tcp(B, A, SYN | ACK, 40000, 8080), tcp(A, FRONT, ACK))
    return one


def test_a_flow_keeps_its_backend() -> None:
    """While the backend is a member, other backends coming and going change nothing."""
    one = opened(history(*backends(B)))
    taking(one.change(service(*backends(C, B))), TO_C)
    assert one.send(tcp(A, FRONT, ACK)).backend == TO_B
    assert one.send(tcp(A, FRONT, SYN, by=40001)).backend == TO_C


def test_a_backend_that_is_gone() -> None:
    """TCP in mid-connection is told apart; what may begin anew goes elsewhere."""
    one = opened(history(*backends(B)))
    one.word(udp(A, FRONT))
    taking(one.change(service(*backends(C))), TO_C)
    assert one.word(tcp(A, FRONT, ACK)) == "backend-gone"
    assert one.word(tcp(A, FRONT, RST)) == "backend-gone"
    assert one.send(udp(A, FRONT)).backend == TO_C
    assert one.send(tcp(A, FRONT, SYN)).backend == TO_C
    one.change(service())
    assert one.words(tcp(B, A, ACK, 40000, 8080), tcp(A, FRONT, SYN)) == ["allow", "no-backend"]


def test_a_syn_after_the_end_chooses_anew() -> None:
    """A closed or cut connection's ports may be used again, towards another backend."""
    one = opened(history(*backends(B, C)))
    taking(one, TO_C)
    assert one.send(tcp(A, FRONT, SYN)).backend == TO_B
    one = opened(history(*backends(B, C)))
    one.words(tcp(A, FRONT, FIN | ACK), tcp(B, A, FIN | ACK, 40000, 8080))
    assert taking(one, TO_C).send(tcp(A, FRONT, SYN)).backend == TO_C
    one = opened(history(*backends(B, C))).flip(CLOSED_B)
    assert one.word(tcp(A, FRONT, ACK)) == "ingress-not-allowed"
    assert taking(one, TO_C).send(tcp(A, FRONT, SYN)).backend == TO_C


def test_a_clash_with_a_direct_flow() -> None:
    """A live flow from the same port straight to the backend is not mixed up with the service's."""
    one = taking(history(*backends(B)), TO_B)
    one.word(tcp(A, B, SYN, 8080))
    assert one.word(tcp(A, FRONT, SYN)) == "translation-clash"
    assert one.wait(60).word(tcp(A, FRONT, SYN)) == "allow"


def test_a_clash_with_the_same_service_the_other_way_round() -> None:
    """A backend that turns to its own service and is sent to one of its clients does not answer as it."""
    one = taking(history(*backends(B, A)), TO_B)
    assert one.word(tcp(A, FRONT, SYN, by=8080)) == "allow"
    taking(one, TO_A)
    assert one.word(tcp(B, FRONT, ACK, by=8080)) == "translation-clash"


def test_affinity() -> None:
    """A client's next flow goes where its last one went, while that is a member and not too long ago."""
    one = taking(history(*backends(B, C), affinity=100), TO_B)
    one.word(tcp(A, FRONT, SYN))
    taking(one, TO_C)
    assert one.send(tcp(A, FRONT, SYN, by=40001)).backend == TO_B
    assert one.send(tcp(C, FRONT, SYN)).backend == TO_C
    assert one.send(udp(A, FRONT)).backend == TO_C
    assert one.wait(99).send(tcp(A, FRONT, SYN, by=40002)).backend == TO_B
    assert one.wait(100).send(tcp(A, FRONT, SYN, by=40003)).backend == TO_C


def test_affinity_to_a_backend_that_is_gone() -> None:
    """Affinity ends with the backend."""
    one = taking(history(*backends(B, C), affinity=100), TO_B)
    one.word(tcp(A, FRONT, SYN))
    one.change(service(*backends(C), affinity=100))
    assert taking(one, TO_C).send(tcp(A, FRONT, SYN, by=40001)).backend == TO_C


def test_hairpin() -> None:
    """A pod that reaches itself by its service sees the reserved address; its answer is turned back."""
    one = taking(history(*backends(A)), TO_A)
    there = one.send(tcp(A, FRONT, SYN))
    assert sent(there) == f"{HAIRPIN}:40000 > 10.244.0.1:8080"
    assert there.endpoint == A.key
    back = one.send(tcp(A, HAIRPIN, SYN | ACK, 40000, 8080))
    assert sent(back) == "10.96.0.1:80 > 10.244.0.1:40000"
    assert (back.delivery, back.endpoint) == (Delivery.ENDPOINT, A.key)
    assert one.word(tcp(A, HAIRPIN, SYN, 40000, 8080)) == "unknown-destination"
    assert one.word(tcp(A, HAIRPIN, ACK, 40009, 8080)) == "unknown-destination"


def test_hairpin_is_judged_as_itself() -> None:
    """Both directions count, and a new generation cuts it like any flow."""
    one = taking(history(*backends(A), policies=(SILENT,)), TO_A)
    assert one.word(tcp(A, FRONT, SYN)) == "egress-not-allowed"
    itself = policy("x/p", pods(where="x"), ingress=[rule(pods(where="x", app="a"))])
    one = taking(history(*backends(A), policies=(itself,)), TO_A)
    assert one.word(tcp(A, FRONT, SYN)) == "allow"
    assert (
        one.flip(policy("x/p", pods(where="x"), ingress=[])).word(tcp(A, HAIRPIN, SYN | ACK, 40000, 8080))
        == "ingress-not-allowed"
    )


def test_hairpin_opened_by_its_receiver_is_judged_as_itself() -> None:
    """A connection taken up in its middle is judged again as the endpoint to itself, whoever opened it."""
    answers = policy("x/p", pods(where="x"), ingress=[rule(pods(where="x", app="a"), ports=[port(40000)])])
    one = taking(history(*backends(A), policies=(answers,)), TO_A)
    assert one.word(tcp(A, FRONT, SYN)) == "ingress-not-allowed"
    assert one.word(tcp(A, FRONT, ACK)) == "allow"
    none = policy("x/p", pods(where="x"), ingress=[])
    assert one.flip(none).word(tcp(A, FRONT, ACK)) == "ingress-not-allowed"


def error(source: object, destination: object, quoted: Packet) -> Packet:
    """Port unreachable, about a packet."""
    return icmp(source, destination, 3, 3, 0, quoted=quoted)  # type: ignore[arg-type]


def test_errors_behind_a_service_are_translated() -> None:
    """The client sees the service's address, the backend its own; a router on the way keeps its own."""
    one = taking(history(*backends(B)), TO_B)
    one.word(udp(A, FRONT))
    to_backend = udp(A, B, 8080)
    assert sent(one.send(error(B, A, to_backend))).startswith("10.96.0.1:0 > 10.244.0.1:")
    assert sent(one.send(error(OUTSIDE, A, to_backend))).startswith("203.0.113.9:0 > 10.244.0.1:")
    answer = udp(FRONT, A, 40000, 53)
    found = one.send(error(A, FRONT, answer))
    assert sent(found).startswith("10.244.0.1:0 > 10.244.0.2:")
    assert found.endpoint == B.key
    assert one.word(error(C, FRONT, answer)) == "icmp-unrelated"
    assert one.word(error(A, FRONT, udp(FRONT, A, 40001, 53))) == "icmp-unrelated"


def test_errors_of_a_hairpin() -> None:
    """A pod's own complaint about its own packet comes back from the service."""
    one = taking(history(*backends(A)), TO_A)
    one.word(udp(A, FRONT))
    seen = udp(HAIRPIN, A, 8080)
    found = one.send(error(A, HAIRPIN, seen))
    assert sent(found).startswith("10.96.0.1:0 > 10.244.0.1:")
    assert found.endpoint == A.key
    found = one.send(error(A, FRONT, udp(FRONT, A, 40000, 53)))
    assert sent(found).startswith(f"{HAIRPIN}:0 > 10.244.0.1:")


def test_evicting_a_translation() -> None:
    """Without its translation entry the client's next packet chooses anew."""
    one = opened(history(*backends(B, C)))
    (key,) = one.tracker.translations
    one.tracker = one.tracker.evict(key)
    assert taking(one, TO_C).send(tcp(A, FRONT, ACK)).backend == TO_C


def test_the_choice_is_the_programs() -> None:
    """The hash follows its definition, word by word, and spreads over all backends."""
    asked = tcp(A, FRONT, SYN)
    h = HASH_KEY[0]
    words = [
        0,
        int.from_bytes(A.addresses[0][8:], "little"),
        0,
        int.from_bytes(parse_address(FRONT)[8:], "little"),
        40000 | 80 << 16 | 6 << 32,
        1 ^ HASH_KEY[1],
    ]
    for word in words:
        h = ((h ^ word) * 0x9E3779B97F4A7C15) % 2**64
        h ^= h >> 32
    assert choose_backend(HASH_KEY, asked, 7) == (h // 2**32) * 7 // 2**32
    counts = [0] * 7
    for number in range(7000):
        counts[choose_backend(HASH_KEY, msgspec.structs.replace(asked, source_port=number), 7)] += 1
    assert min(counts) > 850


def test_an_unlawful_choice_is_refused() -> None:
    """The oracle takes no backend that the service does not have."""
    state = history(*backends(B)).state
    judge = OracleWorld(state, 1, lambda asked, view: TO_C)
    with pytest.raises(ValueError, match="no backend"):
        judge.choose(tcp(A, FRONT, SYN), ServiceView(1, 1, 0, (TO_B,)))


def test_lawful_decisions() -> None:
    """Each backend of the family with its own verdict; one decision where there is no choice."""
    one = history(*backends(B, C), policies=(CLOSED_B,))
    found = {each.backend: each.decision.reason.shown for each in lawful(one.state, tcp(A, FRONT, SYN))}
    assert found == {TO_B: "ingress-not-allowed", TO_C: "none"}
    for asked, reason in ((tcp(A, FRONT, SYN, 81), "no-service"), (tcp(A, B, SYN), "ingress-not-allowed")):
        (only,) = lawful(one.state, asked)
        assert (only.backend, only.decision.reason.shown) == (None, reason)
    (only,) = lawful(history().state, tcp(A, FRONT, SYN))
    assert (only.decision.reason.shown, only.decision.delivery) == ("no-backend", Delivery.BACK)


def test_the_tracker_obeys_the_oracle() -> None:
    """Whatever backend the hash takes, the tracker's decision on a new flow is the lawful one for it."""
    reached = set()
    for by in range(200):
        one = history(*backends(B, C), policies=(CLOSED_B,))
        asked = tcp(A, FRONT, SYN, by=by)
        found = one.send(asked)
        by_address = {each.decision.destination: each.decision for each in lawful(one.state, asked)}
        expected = by_address[found.destination]
        assert (found.verdict, found.reason) == (expected.verdict, expected.reason)
        assert found.ingress_rule == expected.ingress_rule
        reached.add(found.destination)
    assert len(reached) == 2

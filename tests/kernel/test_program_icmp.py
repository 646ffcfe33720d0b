"""The program on ICMP errors: which are about a flow that is known and allowed."""

from __future__ import annotations

import pytest
from program_lab import ALT, ALT_ATOM, HOST4, OUTSIDE4, OUTSIDE6, SERVICE4, WEB, WEB_ATOM, Lab, allows

from cloche.datapath.events import read_flows
from cloche.model.policy import Direction
from cloche.model.topology import HAIRPIN4
from frames import ICMP, SYN, UDP, Flow, IpOptions, echo, fragments, icmp, ip, sctp, tcp, udp, unreachable

INGRESS = Direction.INGRESS
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
UNRELATED = "icmp-unrelated"


def between(lab: Lab, ipv6: bool = False) -> Flow:
    """From A to B, where neither takes anything but B's web port from A."""
    lab.isolate(lab.a, INGRESS, {})
    lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM)))
    return Flow(lab.a.address(ipv6), lab.b.address(ipv6))


@FAMILIES
@pytest.mark.parametrize("build", [tcp, udp, sctp])
def test_an_error_about_a_live_flow_passes(lab: Lab, build: object, ipv6: bool) -> None:
    """Where policy lets nothing else through; without the flow it is unrelated."""
    assert callable(build)
    flow = between(lab, ipv6)
    error = unreachable(flow.back(), build(flow))
    assert lab.word_of(lab.b, error) == UNRELATED
    assert lab.word_of(lab.a, build(flow)) == "b"
    assert lab.word_of(lab.b, error) == "a"
    about_reply = unreachable(flow, build(flow.back()))
    assert lab.word_of(lab.a, about_reply) == "b"


@pytest.mark.parametrize(
    ("ipv6", "kind", "word"),
    [(False, kind, "a") for kind in (3, 4, 11, 12)]
    + [(False, 5, UNRELATED)]
    + [(True, kind, "a") for kind in (1, 2, 3, 4)],
)
def test_every_kind_of_error(lab: Lab, ipv6: bool, kind: int, word: str) -> None:
    """Redirects never pass; other kinds do."""
    flow = between(lab, ipv6)
    lab.word_of(lab.a, udp(flow))
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow), kind, 1)) == word


@FAMILIES
def test_an_error_about_an_echo(lab: Lab, ipv6: bool) -> None:
    """The identifier says which."""
    flow = Flow(lab.a.address(ipv6), lab.b.address(ipv6))
    lab.word_of(lab.a, echo(flow, 9))
    assert lab.word_of(lab.b, unreachable(flow.back(), echo(flow, 9))) == "a"
    assert lab.word_of(lab.b, unreachable(flow.back(), echo(flow, 10))) == UNRELATED


def test_an_error_about_a_protocol_without_ports(lab: Lab) -> None:
    """The addresses and the protocol are all there is."""
    sent = ip(lab.a.four, lab.b.four, 47, bytes(8))
    lab.word_of(lab.a, sent)
    assert lab.word_of(lab.b, unreachable(Flow(lab.b.four, lab.a.four), sent)) == "a"
    other = ip(lab.a.four, lab.b.four, 50, bytes(8))
    assert lab.word_of(lab.b, unreachable(Flow(lab.b.four, lab.a.four), other)) == UNRELATED


def test_the_receiver_must_have_sent_what_is_quoted(lab: Lab) -> None:
    """A quote whose source is not the error's destination is about somebody else's packet."""
    flow = between(lab)
    lab.word_of(lab.a, udp(flow))
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow.back()))) == UNRELATED
    assert lab.word_of(lab.b, unreachable(Flow(lab.b.four, lab.c.four), udp(flow))) == UNRELATED


def test_an_endpoint_complains_only_of_its_own_flows(lab: Lab) -> None:
    """A third endpoint cannot break a flow between two others; a router on the way may."""
    flow = between(lab)
    lab.word_of(lab.a, udp(flow))
    assert lab.word_of(lab.c, unreachable(Flow(lab.c.four, lab.a.four), udp(flow))) == UNRELATED
    assert lab.word_of_stack(unreachable(Flow(OUTSIDE4, lab.a.four), udp(flow))) == "a"


@FAMILIES
def test_a_router_outside_complains_to_an_endpoint(lab: Lab, ipv6: bool) -> None:
    """About what the endpoint sent to outside: path MTU discovery works."""
    outside = OUTSIDE6 if ipv6 else OUTSIDE4
    flow = Flow(lab.a.address(ipv6), outside)
    lab.isolate(lab.a, INGRESS, {})
    lab.word_of(lab.a, udp(flow))
    router = "2001:db8::fe" if ipv6 else "203.0.113.254"
    error = unreachable(Flow(router, flow.source), udp(flow), *((2, 0) if ipv6 else (3, 4)))
    assert lab.word_of_stack(error) == "a"


def test_an_endpoint_complains_to_the_stack(lab: Lab) -> None:
    """About what came through the stack: it goes back there, also to an endpoint's address."""
    for source in (OUTSIDE4, HOST4, lab.b.four):
        flow = Flow(source, lab.a.four)
        lab.word_of_stack(udp(flow))
        assert lab.word_of(lab.a, unreachable(flow.back(), udp(flow))) == "stack"


def test_errors_change_no_state(lab: Lab) -> None:
    """Neither age nor time nor flags of the flow."""
    flow = between(lab)
    lab.word_of(lab.a, udp(flow))
    before = list(read_flows(lab.engine.loaded.maps.flows))
    lab.wait(5)
    lab.flip()
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow))) == "a"
    assert list(read_flows(lab.engine.loaded.maps.flows)) == before


def test_an_error_about_a_flow_that_is_no_longer_allowed(lab: Lab) -> None:
    """Judged by the active generation, before and after the flow itself was judged again."""
    flow = between(lab)
    lab.word_of(lab.a, udp(flow))
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow))) == UNRELATED
    assert lab.word_of(lab.a, udp(flow)) == "ingress-not-allowed"
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow))) == UNRELATED


def test_an_error_about_a_hairpin_is_judged_as_the_pod_to_itself(lab: Lab) -> None:
    """After a flip, from either side; once policy closes it, it is about nothing."""
    lab.serve(WEB, UDP, [(lab.a.four, ALT)])
    lab.isolate(lab.a, INGRESS, allows((1, ALT_ATOM)))
    flow, towards = Flow(lab.a.four, SERVICE4), Flow(HAIRPIN4, lab.a.four, 40000, ALT)
    about_request = unreachable(towards.back(), udp(towards))
    about_reply = unreachable(flow, udp(flow.back()))
    lab.word_of(lab.a, udp(flow))
    for error in (about_request, about_reply):
        assert lab.word_of(lab.a, error) == "a"
        lab.flip()
        assert lab.word_of(lab.a, error) == "a"
    lab.isolate(lab.a, INGRESS, allows((2, ALT_ATOM)))
    lab.flip()
    assert [lab.word_of(lab.a, error) for error in (about_request, about_reply)] == [UNRELATED] * 2


def test_an_error_about_an_expired_flow(lab: Lab) -> None:
    """An entry past its age is no entry."""
    flow = between(lab)
    lab.word_of(lab.a, udp(flow))
    lab.wait(30)
    assert lab.word_of(lab.b, unreachable(flow.back(), udp(flow))) == UNRELATED


def test_quotes_that_say_too_little(lab: Lab) -> None:
    """Cut short, of another version, a later fragment, or with lengths that do not hold."""
    flow = between(lab)
    sent = udp(flow, bytes(100))
    lab.word_of(lab.a, sent)
    for quoted in (
        b"",
        sent[:19],
        sent[:27],
        b"\x55" + sent[1:],
        b"\x4f" + sent[1:28],
        b"\x44" + sent[1:],
        udp(Flow(lab.a.six, lab.b.six)),
        ip(lab.a.four, lab.b.four, UDP, sent[20:], IpOptions(id=1, offset=8)),
    ):
        assert lab.word_of(lab.b, unreachable(flow.back(), quoted)) == UNRELATED, quoted.hex()
    first = fragments(sent, 64)[0]
    assert lab.word_of(lab.b, unreachable(flow.back(), first)) == "a"


def test_ipv6_quotes_that_say_too_little(lab: Lab) -> None:
    """The same for IPv6, with extension headers that end too early or are too many."""
    flow = between(lab, True)
    sent = udp(flow, bytes(100))
    lab.word_of(lab.a, sent)
    options = ((60, bytes(7)),)
    for quoted in (
        sent[:39],
        sent[:47],
        b"\x40" + sent[1:],
        udp(flow, extra=IpOptions(extensions=options * 7)),
        udp(flow, extra=IpOptions(extensions=options))[:47],
        udp(flow, extra=IpOptions(extensions=((60, bytes([9]) + bytes(6)),)))[:60],
        ip(flow.source, flow.destination, UDP, sent[40:], IpOptions(id=1, offset=8)),
    ):
        assert lab.word_of(lab.b, unreachable(flow.back(), quoted)) == UNRELATED, quoted.hex()
    assert (
        lab.word_of(lab.b, unreachable(flow.back(), udp(flow, extra=IpOptions(extensions=options * 6))))
        == "a"
    )


def test_an_error_to_a_service_about_no_flow(lab: Lab) -> None:
    """A client may complain of its own service's answers alone."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    flow = Flow(lab.a.four, SERVICE4)
    error = unreachable(flow, udp(flow.back()))
    assert lab.word_of(lab.a, error) == UNRELATED
    lab.word_of(lab.a, udp(flow))
    assert lab.word_of(lab.a, error) == "b"
    assert lab.word_of(lab.c, unreachable(Flow(lab.c.four, SERVICE4), udp(flow.back()))) == UNRELATED


def test_other_icmp_is_judged_by_policy(lab: Lab) -> None:
    """Timestamps and the like are flows of their own."""
    lab.isolate(lab.b, INGRESS, {})
    flow = Flow(lab.a.four, lab.b.four)
    assert lab.word_of(lab.a, icmp(flow, 13, 0, bytes(16))) == "ingress-not-allowed"
    assert lab.word_of(lab.b, icmp(flow.back(), 13, 0, bytes(16))) == "a"


def test_icmp_of_the_other_family_is_no_icmp(lab: Lab) -> None:
    """ICMPv6 in IPv4 and ICMP in IPv6 are protocols without ports, their errors nothing special."""
    assert lab.word_of(lab.a, ip(lab.a.four, lab.b.four, 58, bytes([1, 4]) + bytes(60))) == "b"
    assert lab.word_of(lab.a, ip(lab.a.six, lab.b.six, ICMP, bytes([3, 3]) + bytes(60))) == "b"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, lab.b.four), SYN)) == "b"

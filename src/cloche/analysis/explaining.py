"""Why one flow may or may not pass: every distinct answer between two ends, with an example of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from cloche.analysis.ends import End, behind, parse_end
from cloche.analysis.judging import Judge
from cloche.analysis.matrix import family_of, is_assumed, probe_packet
from cloche.analysis.results import (
    VERSION,
    DirectionAnswer,
    FlowAnswer,
    FlowExplanation,
    NearestText,
    PolicyText,
    RuleText,
)
from cloche.errors import Finding, InputError
from cloche.model.address import Address, format_address, is_ipv4
from cloche.model.evaluate import party
from cloche.model.explain import Explanation, Why, explain
from cloche.model.flow import Entry, Packet, Verdict
from cloche.model.ports import Port
from cloche.model.reasons import Reason
from cloche.model.state import State
from cloche.model.topology import ICMP, Backend, NamedPort, Service, ServicePort
from cloche.model.tracker.oracle import of_family, towards

ITSELF = "a pod always reaches its own address: nothing leaves it"
NOBODY = "no endpoint has this address: whatever policy says, such packets are dropped (unknown-destination)"
OWN_HOST = "the other side is the pod's own host, which only admin rules cut"
UNKNOWN = "no known endpoint has the other address: an allow by selector counts only if it means every pod"


class Asked(NamedTuple):
    """One packet from an address to another, what came of it, and how many pairs of addresses it is."""

    packet: Packet
    found: Explanation
    weight: int
    backend: Backend | None = None
    refusal: Reason | None = None
    note: str = ""


def explain_flow(
    state: State, source: str, destination: str, port: Port, assumed: Collection[str] = ()
) -> FlowExplanation:
    """Every distinct answer about a port between two ends, each a pod, a service, an address or a CIDR.

    A service as source means its backends' pods; as destination each backend is judged, and of a headless one
    its backends are asked as the pods that they are.
    ``assumed``: the endpoints whose addresses were given out here; what hangs on them is marked. Raises
    InputError for an end or a named port that there is not, or ends without a family in common.
    """
    senders = _senders(state, parse_end(state, source))
    receiver = parse_end(state, destination)
    asked = [one for sender in senders for one in _ask(state, sender, receiver, port)]
    if not asked:
        hint = "both ends need an address of the same family, and ICMP goes with IPv4, ICMPv6 with IPv6"
        raise InputError([Finding("", 0, destination, f"no address pair for {port}", hint)])
    groups: dict[FlowAnswer, list[Asked]] = {}
    for one in asked:
        groups.setdefault(_bare_answer(one), []).append(one)
    judge = Judge(state, assumed)
    answers = tuple(
        msgspec.structs.replace(_full_answer(state, bare, group), assumed=_hangs(judge, group))
        for bare, group in groups.items()
    )
    verdict = "allow" if all(answer.verdict == "allow" for answer in answers) else "deny"
    return FlowExplanation(VERSION, source, destination, str(port), verdict, answers)


def _senders(state: State, end: End) -> list[End]:
    """A service sends through its backends."""
    if end.service is None:
        return [end]
    backends = {b for served in end.service.ports for b in served.backends}
    if not backends:
        raise InputError([Finding("", 0, end.text, "a service without backends sends nothing", "name a pod")])
    return [End(end.text, end.network, tuple((a, 1) for a in sorted({b.address for b in backends})))]


def _ask(state: State, sender: End, receiver: End, port: Port) -> Iterator[Asked]:
    if receiver.service is not None and not receiver.addresses:
        for address, own in behind(receiver.service, port).items():
            yield from _ask(state, sender, End(receiver.text, receiver.network, ((address, 1),)), own)
        return
    network = sender.network if receiver.endpoint is None and receiver.service is None else receiver.network
    for source, weight in sender.addresses:
        for destination, other_weight in receiver.addresses:
            if is_ipv4(source) != is_ipv4(destination):
                continue
            if port.is_icmp and is_ipv4(source) != (port.protocol == ICMP):
                continue
            pair = probe_packet(source, destination, port)
            pair = msgspec.structs.replace(pair, entry=_entry(state, network, source), network=network)
            yield from _ask_pair(state, pair, port, receiver, weight * other_weight)


def _entry(state: State, network: int, source: Address) -> Entry:
    who = party(state, network, source)
    return Entry.ENDPOINT if who.endpoint else Entry.HOST if who.hosts else Entry.STACK


def _ask_pair(state: State, packet: Packet, port: Port, receiver: End, weight: int) -> Iterator[Asked]:
    services = [
        s
        for s in sorted(state.services.values(), key=lambda s: s.key)
        if s.network == packet.network and packet.destination in s.addresses
    ]
    if services:
        yield from _ask_service(state, packet, port, services, weight)
        return
    to = party(state, packet.network, packet.destination)
    if port.name:
        number = _named(to.endpoint.ports if to.endpoint else (), port)
        if number is None and receiver.endpoint is not None:
            raise _no_such_name(receiver.text, port, to.endpoint.ports if to.endpoint else ())
        if number is None:
            return
        packet = msgspec.structs.replace(packet, destination_port=number)
    note = NOBODY if to.unknown else ""
    found = explain(state, packet)
    if to.endpoint is not None and party(state, packet.network, packet.source).endpoint == to.endpoint:
        yield Asked(packet, _unjudged(found), weight, note=ITSELF)
        return
    yield Asked(packet, found, weight, note=note)


def _unjudged(found: Explanation) -> Explanation:
    """The same, allowed without being asked."""

    def open_side(why: Why) -> Why:
        return Why(why.direction, Verdict.ALLOW, why.subject)

    decision = msgspec.structs.replace(
        found.decision,
        verdict=Verdict.ALLOW,
        reason=Reason.NONE,
        deciding=None,
        egress_rule=None,
        ingress_rule=None,
    )
    return Explanation(decision, open_side(found.egress), open_side(found.ingress))


def _named(declared: Sequence[NamedPort], port: Port) -> int | None:
    return min((p.port for p in declared if (p.name, p.protocol) == (port.name, port.protocol)), default=None)


def _no_such_name(text: str, port: Port, declared: Sequence[NamedPort] | Sequence[ServicePort]) -> InputError:
    names = ", ".join(sorted({p.name for p in declared if p.name})) or "none"
    return InputError([Finding("", 0, text, f"has no port named {port}", f"named ports: {names}")])


def _ask_service(
    state: State, packet: Packet, port: Port, services: Sequence[Service], weight: int
) -> Iterator[Asked]:
    served = [p for s in services for p in s.ports if p.protocol == port.protocol]
    found = [p for p in served if (p.name == port.name if port.name else p.port == port.number)]
    if not found and port.name:
        raise _no_such_name(f"service/{services[0].key}", port, [p for s in services for p in s.ports])
    if not found:
        yield Asked(packet, _unjudged(explain(state, packet)), weight, refusal=Reason.NO_SERVICE)
        return
    backends = of_family(found[0], packet.destination)
    if not backends:
        yield Asked(packet, _unjudged(explain(state, packet)), weight, refusal=Reason.NO_BACKEND)
    for backend in backends:
        judged = towards(packet, backend)
        yield Asked(judged, explain(state, judged), weight, backend)


def _bare_answer(asked: Asked) -> FlowAnswer:
    """What makes an answer distinct: everything but whom it is about."""
    decision = asked.found.decision
    reason = asked.refusal or decision.reason
    denied = asked.refusal is not None or decision.verdict is Verdict.DENY
    return FlowAnswer(
        "deny" if denied else "allow",
        reason.shown if denied else "",
        (),
        (),
        (),
        (),
        "",
        "",
        0,
        _direction(asked.found.egress),
        _direction(asked.found.ingress),
        asked.note,
    )


def _direction(why: Why) -> DirectionAnswer:
    rule = RuleText(why.rule.policy, why.rule.index, str(why.origin)) if why.rule else None
    near = why.nearest
    nearest = None
    if near is not None:
        missed = tuple(miss.value for miss in near.misses)
        nearest = NearestText(near.rule.policy, near.rule.index, str(near.origin), missed)
    isolated = tuple(PolicyText(each.policy, str(each.origin)) for each in why.isolated_by)
    note = OWN_HOST if why.own_host else UNKNOWN if why.unknown_peer and isolated else ""
    # Subjects that get the same answer share it, so their names are filled in afterwards.
    return DirectionAnswer(why.verdict.name.lower(), "", isolated, rule, nearest, note)


def _full_answer(state: State, bare: FlowAnswer, group: Sequence[Asked]) -> FlowAnswer:
    example = group[0].packet
    backends = {one.backend for one in group if one.backend is not None}

    def name(network: int, address: Address) -> str:
        owner = party(state, network, address).endpoint
        return owner.key if owner else "address"

    return msgspec.structs.replace(
        bare,
        sources=tuple(sorted({name(one.packet.network, one.packet.source) for one in group})),
        destinations=tuple(sorted({name(one.packet.network, one.packet.destination) for one in group})),
        families=tuple(sorted({family_of(one.packet.source) for one in group})),
        backends=tuple(sorted({b.endpoint or format_address(b.address) for b in backends})),
        example_source=format_address(example.source),
        example_destination=format_address(example.destination),
        addresses=sum(one.weight for one in group),
        egress=_of_subject(bare.egress, {one.found.egress.subject for one in group}),
        ingress=_of_subject(bare.ingress, {one.found.ingress.subject for one in group}),
    )


def _hangs(judge: Judge, group: Sequence[Asked]) -> bool:
    def hangs(packet: Packet) -> bool:
        source = judge.member(packet.network, packet.source)
        destination = judge.member(packet.network, packet.destination)
        asked = Port(packet.protocol, packet.icmp or packet.destination_port)
        return is_assumed(judge, source, destination, asked)

    return any(hangs(one.packet) for one in group if judge.assumed and one.refusal is None)


def _of_subject(answer: DirectionAnswer, subjects: set[str]) -> DirectionAnswer:
    """The answer with whom it judges; an address that is no endpoint's is nobody."""
    known = tuple(sorted(subjects - {""}))
    return msgspec.structs.replace(
        answer, subject=known[0] if len(subjects) == len(known) == 1 else "", subjects=known
    )

"""Who can reach whom: what policy says of all pairs, on the ports asked for or declared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from cloche.analysis.judging import Judge, Member
from cloche.analysis.results import VERSION, BackendVerdict, Matrix, Pair
from cloche.model.address import Address, format_address, is_ipv4
from cloche.model.evaluate import Answer
from cloche.model.flow import Packet, Verdict
from cloche.model.policy import Direction
from cloche.model.ports import Port, declared_port
from cloche.model.reasons import Reason
from cloche.model.state import State
from cloche.model.topology import ICMP, Backend, Endpoint, Service, ServicePort

FAMILIES = ("ipv4", "ipv6")
Words = tuple[str, str, str]
"""Verdict, egress, ingress."""


class Seat(NamedTuple):
    """An endpoint with its address of each family that it has one of."""

    endpoint: Endpoint
    by_family: dict[str, Member]


def matrix(
    state: State,
    ports: Sequence[Port] | None = None,
    *,
    system: bool = False,
    services: bool = False,
    assumed: Collection[str] = (),
) -> Matrix:
    """All pairs of endpoints, and of endpoints with services if asked.

    Without ``ports`` each destination is asked on those it declares; a named port only where it is
    declared. ``system``: list the sandbox's own endpoints and services too. Self pairs are left out.
    ``assumed``: the endpoints whose addresses were given out here; what hangs on them is marked.
    """
    judge = Judge(state, assumed)
    seats = [
        Seat(e, dict(_members(judge, e)))
        for e in sorted(state.endpoints.values(), key=lambda e: e.key)
        if system or not e.system
    ]
    rows = list(_pod_rows(judge, seats, ports))
    if services:
        wanted = [s for s in state.services.values() if s.addresses and (system or not s.system)]
        rows += _service_rows(judge, seats, wanted, ports)
    rows.sort(key=lambda row: (row.source, row.destination, _port_order(row.port), row.family or ""))
    return Matrix(VERSION, tuple(rows))


def family_of(address: Address) -> str:
    """``ipv4`` or ``ipv6``."""
    return FAMILIES[0] if is_ipv4(address) else FAMILIES[1]


def _members(judge: Judge, endpoint: Endpoint) -> Iterator[tuple[str, Member]]:
    for family in FAMILIES:
        own = (a for a in endpoint.addresses if family_of(a) == family)
        address = next(own, None)
        if address is not None:
            yield family, judge.member(endpoint.network, address)


def _port_order(text: str) -> tuple[str, int, str]:
    value, _, protocol = text.partition("/")
    return protocol, int(value) if value.isdecimal() else -1, value


def _pod_rows(judge: Judge, seats: Sequence[Seat], ports: Sequence[Port] | None) -> Iterator[Pair]:
    for destination in seats:
        asked = _asked_of(destination.endpoint, ports)
        for source in seats:
            same_network = source.endpoint.network == destination.endpoint.network
            if source.endpoint.key == destination.endpoint.key or not same_network:
                continue
            for shown, port in asked:
                yield from _pair(judge, source, destination, shown, port)


def _asked_of(endpoint: Endpoint, ports: Sequence[Port] | None) -> list[tuple[Port, Port]]:
    """The ports as shown, and by number."""
    if ports is None:
        declared = {declared_port(p) for p in endpoint.ports}
        return [(port, port) for port in sorted(declared)]
    asked = []
    for port in ports:
        numbers = {
            p.port for p in endpoint.ports if (p.name, p.protocol) == (port.name, port.protocol) and p.name
        }
        if not port.name:
            asked.append((port, port))
        elif numbers:
            asked.append((port, Port(port.protocol, min(numbers))))
    return asked


def _pair(judge: Judge, source: Seat, destination: Seat, shown: Port, port: Port) -> Iterator[Pair]:
    """One row, or two where the families differ."""
    words = {}
    for family in FAMILIES:
        one, other = source.by_family.get(family), destination.by_family.get(family)
        if one is not None and other is not None and carries(family, port):
            words[family] = ask(judge, one, other, port)
    apart = len(set(words.values())) > 1
    hanging = [
        family
        for family in words
        if is_assumed(judge, source.by_family[family], destination.by_family[family], port)
    ]
    for family, (verdict, egress, ingress) in words.items():
        yield Pair(
            source.endpoint.key,
            destination.endpoint.key,
            str(shown),
            verdict,
            egress,
            ingress,
            family if apart else None,
            assumed=family in hanging if apart else bool(hanging),
        )
        if not apart:
            return


def carries(family: str, port: Port) -> bool:
    """False for ICMP over IPv6 and for ICMPv6 over IPv4, which are no flows."""
    return not port.is_icmp or family == ("ipv4" if port.protocol == ICMP else "ipv6")


def ask(judge: Judge, source: Member, destination: Member, port: Port) -> Words:
    """Verdict, egress and ingress of one packet."""
    sent = probe_packet(source.party.address, destination.party.address, port)
    egress = judge.answer(Direction.EGRESS, source, destination, sent)
    ingress = judge.answer(Direction.INGRESS, source, destination, sent)
    both = egress.verdict is Verdict.ALLOW and ingress.verdict is Verdict.ALLOW
    return "allow" if both else "deny", word(egress), word(ingress)


def is_assumed(judge: Judge, source: Member, destination: Member, port: Port) -> bool:
    """True when the verdict hangs on an address that was given out here."""
    if not judge.assumed:
        return False
    sent = probe_packet(source.party.address, destination.party.address, port)
    certain = [d for d in Direction if not judge.hangs(d, source, destination, sent)]
    answers = [judge.answer(d, source, destination, sent) for d in certain]
    return len(certain) < len(Direction) and all(a.verdict is Verdict.ALLOW for a in answers)


def probe_packet(source: Address, destination: Address, port: Port) -> Packet:
    """The packet that asks about a numbered port."""
    number, icmp = (0, port.number) if port.is_icmp else (port.number, 0)
    return Packet(source, destination, port.protocol, destination_port=number, icmp=icmp)


def word(answer: Answer) -> str:
    """``allow`` or ``deny``."""
    return answer.verdict.name.lower()


def _service_rows(
    judge: Judge, seats: Sequence[Seat], services: Sequence[Service], ports: Sequence[Port] | None
) -> Iterator[Pair]:
    for service in services:
        for served in service.ports:
            port = Port(served.protocol, served.port)
            named = Port(served.protocol, name=served.name)
            shown = (port,) if ports is None else tuple(p for p in ports if p in (port, named))
            for source in seats:
                if source.endpoint.network != service.network:
                    continue
                for one in shown:
                    yield from _to_service(judge, source, service, served, str(one))


def _to_service(
    judge: Judge, source: Seat, service: Service, served: ServicePort, shown: str
) -> Iterator[Pair]:
    rows = {}
    hanging = False
    for family in FAMILIES:
        member = source.by_family.get(family)
        if member is None or not any(family_of(a) == family for a in service.addresses):
            continue
        backends = [b for b in served.backends if family_of(b.address) == family]
        rows[family] = _backend_verdicts(judge, member, served.protocol, backends)
        hanging |= any(
            is_assumed(judge, member, judge.member(service.network, b.address), Port(served.protocol, b.port))
            for b in backends
        )
    apart = len(set(rows.values())) > 1
    for family, each in rows.items():
        one_family = family if apart else None
        pair = _service_pair(source.endpoint.key, service, shown, one_family, each)
        yield msgspec.structs.replace(pair, assumed=hanging)
        if not apart:
            return


def _backend_verdicts(
    judge: Judge, source: Member, protocol: int, backends: Sequence[Backend]
) -> tuple[BackendVerdict, ...]:
    """Each distinct verdict with its backends."""
    grouped: dict[Words, list[str]] = {}
    for backend in backends:
        member = judge.member(source.network, backend.address)
        words = ask(judge, source, member, Port(protocol, backend.port))
        grouped.setdefault(words, []).append(backend.endpoint or format_address(backend.address))
    return tuple(BackendVerdict(*words, tuple(sorted(set(who)))) for words, who in sorted(grouped.items()))


def _service_pair(
    source: str, service: Service, shown: str, family: str | None, each: tuple[BackendVerdict, ...]
) -> Pair:
    """The whole: allow only if all are; without a backend the receiving side refuses."""

    def whole(words: Sequence[str]) -> str:
        return "deny" if "deny" in words else "allow"

    name = f"service/{service.key}"
    if not each:
        return Pair(source, name, shown, "deny", "allow", "deny", family, reason=Reason.NO_BACKEND.shown)
    return Pair(
        source,
        name,
        shown,
        whole([e.verdict for e in each]),
        whole([e.egress for e in each]),
        whole([e.ingress for e in each]),
        family,
        backends=each,
    )

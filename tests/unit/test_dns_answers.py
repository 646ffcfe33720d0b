"""DNS answers: what a name of Kubernetes' service discovery leads to, and how an answer says no."""

from __future__ import annotations

from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.model.address import parse_address
from cloche.model.topology import TCP, UDP
from cloche.responder.dns_answer import respond
from cloche.responder.dns_zone import ZoneIndex
from cloche.responder.messages import Zone, ZoneBackend, ZonePod, ZonePort, ZoneService

ZONE = ZoneIndex(
    Zone(
        services=(
            ZoneService(
                "shop",
                "web",
                (parse_address("10.96.0.5"), parse_address("fd00:96::5")),
                (ZonePort("http", TCP, 80), ZonePort("", UDP, 99)),
                (ZoneBackend(parse_address("10.244.0.7")),),
            ),
            ZoneService(
                "shop",
                "db",
                (),
                (ZonePort("sql", TCP, 80),),
                (
                    ZoneBackend(parse_address("10.244.0.9"), "db-0", (ZonePort("sql", TCP, 5432),)),
                    ZoneBackend(parse_address("10.244.0.10")),
                    ZoneBackend(parse_address("fd00:244::9"), "db-0"),
                ),
            ),
            ZoneService("shop", "idle"),
        ),
        pods=(
            ZonePod("shop", (parse_address("10.244.0.7"), parse_address("fd00:244::7"))),
            ZonePod("shop", (parse_address("10.244.0.9"),)),
        ),
        namespaces=("shop", "empty"),
        nameservers=(parse_address("10.96.0.10"),),
    )
)
CROWD = ZoneIndex(
    Zone(
        services=(
            ZoneService(
                "shop",
                "crowd",
                backends=tuple(
                    ZoneBackend(parse_address(f"10.1.{i // 250}.{i % 250 + 1}")) for i in range(300)
                ),
            ),
        )
    )
)


def ask(
    name: str, kind: str, zone: ZoneIndex = ZONE, udp: bool = True, edns: int = -1
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns, payload=4096 if edns >= 0 else None)
    wire = respond(query.to_wire(), zone, "kube-system/dns-1", udp)
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert answer.id == query.id
    assert answer.question == query.question
    return answer


def texts(section: list[dns.rrset.RRset]) -> list[str]:
    return sorted(f"{rrset.name} {rdata}" for rrset in section for rdata in rrset)


S = "svc.cluster.local"
ANSWERS = [
    (f"web.shop.{S}", "A", ["10.96.0.5"]),
    (f"web.shop.{S}", "AAAA", ["fd00:96::5"]),
    (f"WEB.Shop.{S}", "A", ["10.96.0.5"]),
    (f"_http._tcp.web.shop.{S}", "SRV", [f"0 100 80 web.shop.{S}."]),
    (f"db.shop.{S}", "A", ["10.244.0.10", "10.244.0.9"]),
    (f"db.shop.{S}", "AAAA", ["fd00:244::9"]),
    (f"db-0.db.shop.{S}", "A", ["10.244.0.9"]),
    (f"db-0.db.shop.{S}", "AAAA", ["fd00:244::9"]),
    (f"10-244-0-10.db.shop.{S}", "A", ["10.244.0.10"]),
    (
        f"_sql._tcp.db.shop.{S}",
        "SRV",
        [
            f"0 100 5432 db-0.db.shop.{S}.",
            f"0 100 80 10-244-0-10.db.shop.{S}.",
            f"0 100 80 db-0.db.shop.{S}.",
        ],
    ),
    ("10-244-0-7.shop.pod.cluster.local", "A", ["10.244.0.7"]),
    ("fd00-244--7.shop.pod.cluster.local", "AAAA", ["fd00:244::7"]),
    ("5.0.96.10.in-addr.arpa", "PTR", [f"web.shop.{S}."]),
    ("9.0.244.10.in-addr.arpa", "PTR", [f"db-0.db.shop.{S}."]),
    ("7.0.244.10.in-addr.arpa", "PTR", ["10-244-0-7.shop.pod.cluster.local."]),
    ("cluster.local", "NS", ["ns.dns.cluster.local."]),
    ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
]


@pytest.mark.parametrize(("name", "kind", "expected"), ANSWERS)
def test_answers(name: str, kind: str, expected: list[str]) -> None:
    """Names of services, ports, backends, pods and addresses lead where the specification says."""
    answer = ask(name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert sorted(str(rdata) for rrset in answer.answer for rdata in rrset) == expected


def test_reverse_ipv6() -> None:
    """An IPv6 service address leads back to its service."""
    name = parse_reverse("fd00:96::5")
    assert texts(ask(name, "PTR").answer) == [f"{name}. web.shop.{S}."]


def parse_reverse(address: str) -> str:
    nibbles = parse_address(address).hex()
    return ".".join(reversed(nibbles)) + ".ip6.arpa"


NEGATIVE = [
    (f"nobody.shop.{S}", "A", dns.rcode.NXDOMAIN),
    (f"web.nowhere.{S}", "A", dns.rcode.NXDOMAIN),
    (f"_https._tcp.web.shop.{S}", "SRV", dns.rcode.NXDOMAIN),
    (f"10-244-0-7.web.shop.{S}", "A", dns.rcode.NXDOMAIN),
    ("10-244-0-8.shop.pod.cluster.local", "A", dns.rcode.NXDOMAIN),
    ("www.example.com.cluster.local", "A", dns.rcode.NXDOMAIN),
    (f"web.shop.{S}", "TXT", dns.rcode.NOERROR),
    (f"10-244-0-10.db.shop.{S}", "AAAA", dns.rcode.NOERROR),
    (f"idle.shop.{S}", "A", dns.rcode.NOERROR),
    (f"_tcp.web.shop.{S}", "SRV", dns.rcode.NOERROR),
    (f"shop.{S}", "A", dns.rcode.NOERROR),
    (f"empty.{S}", "A", dns.rcode.NOERROR),
    (S, "A", dns.rcode.NOERROR),
    ("cluster.local", "A", dns.rcode.NOERROR),
]


@pytest.mark.parametrize(("name", "kind", "rcode"), NEGATIVE)
def test_no_such_name_is_not_no_such_data(name: str, kind: str, rcode: int) -> None:
    """A name that is absent is NXDOMAIN, one without such records is not; both carry the zone's SOA."""
    answer = ask(name, kind)
    assert answer.rcode() == rcode
    assert not answer.answer
    assert [rrset.rdtype for rrset in answer.authority] == [dns.rdatatype.SOA]


def test_elsewhere_is_refused() -> None:
    """A name outside the zone is refused, not denied to exist."""
    answer = ask("www.example.com", "A")
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA
    assert ask("notcluster.local", "A").rcode() == dns.rcode.REFUSED


def test_targets_come_along() -> None:
    """An SRV answer brings the addresses of its targets."""
    assert texts(ask(f"_http._tcp.web.shop.{S}", "SRV").additional) == [
        f"web.shop.{S}. 10.96.0.5",
        f"web.shop.{S}. fd00:96::5",
    ]


def test_identity() -> None:
    """``id.server`` in class CHAOS names the endpoint that answers."""
    query = dns.message.make_query("id.server", "TXT", "CH")
    answer = dns.message.from_wire(respond(query.to_wire(), ZONE, "kube-system/dns-1", True) or b"")
    assert texts(answer.answer) == ['id.server. "kube-system/dns-1"']


@pytest.mark.parametrize(("edns", "limit"), [(-1, 512), (0, 1232)])
def test_too_long_for_udp_is_cut_and_whole_over_tcp(edns: int, limit: int) -> None:
    """An answer that does not fit a datagram says so; over TCP it is whole."""
    query = dns.message.make_query(f"crowd.shop.{S}", "A", use_edns=edns, payload=4096 if edns >= 0 else None)
    short = respond(query.to_wire(), CROWD, "a/b", True) or b""
    assert len(short) <= limit
    assert dns.message.from_wire(short).flags & dns.flags.TC
    whole = ask(f"crowd.shop.{S}", "A", CROWD, udp=False, edns=edns)
    assert not whole.flags & dns.flags.TC
    assert sum(len(rrset) for rrset in whole.answer) == 300


Change = Callable[[dns.message.Message], None]
REFUSALS: list[tuple[Change, int]] = [
    (lambda q: q.set_opcode(4), dns.rcode.NOTIMP),
    (lambda q: q.question.clear(), dns.rcode.FORMERR),
    (lambda q: q.use_edns(1), dns.rcode.BADVERS),
]


@pytest.mark.parametrize(("change", "rcode"), REFUSALS)
def test_what_is_not_understood_is_refused_by_name(
    change: Callable[[dns.message.Message], None], rcode: int
) -> None:
    """Other operations, no question and later EDNS versions each get their own answer code."""
    query = dns.message.make_query(f"web.shop.{S}", "A")
    change(query)
    answer = dns.message.from_wire(respond(query.to_wire(), ZONE, "a/b", True) or b"")
    assert answer.rcode() == rcode


def test_transfer_is_refused() -> None:
    """The zone is not handed out whole."""
    assert ask("cluster.local", "AXFR", udp=False).rcode() == dns.rcode.REFUSED


def test_answers_are_not_answered() -> None:
    """What is an answer itself, or shorter than a header, gets none: two servers cannot talk for ever."""
    query = dns.message.make_query("id.server", "TXT", "CH").to_wire()
    answer = respond(query, ZONE, "a/b", True) or b""
    assert respond(answer, ZONE, "a/b", True) is None
    assert respond(query[:11], ZONE, "a/b", True) is None


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_get_at_most_one_answer(wire: bytes, udp: bool) -> None:
    """No bytes make it fail; whatever it answers carries their id and is an answer."""
    answer = respond(wire, ZONE, "a/b", udp)
    if answer is not None:
        assert answer[:2] == wire[:2]
        assert answer[2] & 0x80


@given(st.data())
def test_damaged_queries_are_answered(data: st.DataObject) -> None:
    """A real query with any byte changed never makes it fail."""
    wire = bytearray(dns.message.make_query(f"_http._tcp.web.shop.{S}", "SRV", use_edns=0).to_wire())
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    answer = respond(bytes(wire), ZONE, "a/b", True)
    assert answer is None or answer[:2] == wire[:2]

"""One DNS query in, one answer out (RFC 1035, 2308, 6891): the messages, without any socket.

Authoritative for the zone and for the reverse names of its addresses; a name elsewhere is refused, as there
is nobody to ask. ``id.server`` in class CHAOS (RFC 4892) says which endpoint answered.
"""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from cloche.responder.dns_zone import Existence, Record, RecordType, ZoneIndex

TTL = 5
"""Seconds that an answer may be kept."""

PAYLOAD = 1232
"""Bytes of the longest UDP answer given, whatever the client would take."""

PLAIN_PAYLOAD = 512
"""Bytes of the longest UDP answer to a client that does not say what it takes."""

HEADER = 12
IDENTITY = dns.name.from_text("id.server.")


def respond(wire: bytes, zone: ZoneIndex, identity: str, udp: bool) -> bytes | None:
    """The answer to a query's bytes; None where none is due (an answer, or less than a header).

    ``identity`` is the answering endpoint's ``namespace/name``. Over UDP an answer that is too long is
    cut off and says so, and the client asks again over TCP.
    """
    if len(wire) < HEADER or wire[2] & 0x80:
        return None
    try:
        query = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return _header(wire, dns.rcode.FORMERR)
    response = dns.message.make_response(query, our_payload=PAYLOAD)
    response.set_rcode(_fill(query, response, zone, identity))
    if not udp:
        return response.to_wire(max_size=65535, prefer_truncation=True)
    limit = min(max(query.payload, PLAIN_PAYLOAD), PAYLOAD) if query.edns >= 0 else PLAIN_PAYLOAD
    return response.to_wire(max_size=limit, prefer_truncation=True)


def _header(wire: bytes, rcode: int) -> bytes:
    """A bare header: same id, opcode and RD, nothing else understood."""
    return wire[:2] + bytes((0x80 | wire[2] & 0x79, rcode)) + bytes(8)


def _fill(
    query: dns.message.Message, response: dns.message.Message, zone: ZoneIndex, identity: str
) -> dns.rcode.Rcode:
    if query.edns > 0:
        return dns.rcode.BADVERS
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    question = query.question[0]
    if question.rdclass == dns.rdataclass.CH:
        return _identify(question, response, identity)
    transfer = dns.rdatatype.is_metatype(question.rdtype) and question.rdtype != dns.rdatatype.ANY
    if question.rdclass != dns.rdataclass.IN or transfer:
        return dns.rcode.REFUSED
    return _look_up(question, response, zone)


def _identify(question: dns.rrset.RRset, response: dns.message.Message, identity: str) -> dns.rcode.Rcode:
    if question.name != IDENTITY or question.rdtype not in (dns.rdatatype.TXT, dns.rdatatype.ANY):
        return dns.rcode.REFUSED
    response.flags |= dns.flags.AA
    text = f'"{identity}"'
    response.answer.append(dns.rrset.from_text(question.name, 0, dns.rdataclass.CH, "TXT", text))
    return dns.rcode.NOERROR


def _look_up(question: dns.rrset.RRset, response: dns.message.Message, zone: ZoneIndex) -> dns.rcode.Rcode:
    name = question.name.to_text(omit_final_dot=True).lower()
    existence = zone.existence(name)
    if existence is Existence.OUTSIDE:
        return dns.rcode.REFUSED
    response.flags |= dns.flags.AA
    wanted = [record for record in zone.records(name) if question.rdtype in (record.type, dns.rdatatype.ANY)]
    for kind in dict.fromkeys(record.type for record in wanted):
        data = [record.data for record in wanted if record.type == kind]
        response.answer.append(_rrset(question.name, kind, data))
    if wanted:
        _add_targets(response, zone, wanted)
    elif name == zone.domain or name.endswith(f".{zone.domain}"):
        owner = dns.name.from_text(zone.domain)
        response.authority.append(_rrset(owner, RecordType.SOA, [zone.authority]))
    return dns.rcode.NOERROR if existence is Existence.PRESENT else dns.rcode.NXDOMAIN


def _rrset(owner: dns.name.Name, kind: RecordType, data: list[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(owner, TTL, "IN", kind.name, data)


def _add_targets(response: dns.message.Message, zone: ZoneIndex, answered: list[Record]) -> None:
    """The addresses of what SRV and NS records name, for the client that would ask for them next."""
    targets = [r.data.rpartition(" ")[2] for r in answered if r.type in (RecordType.SRV, RecordType.NS)]
    for target in dict.fromkeys(targets):
        records = [
            r for r in zone.records(target.removesuffix(".")) if r.type in (RecordType.A, RecordType.AAAA)
        ]
        for kind in dict.fromkeys(record.type for record in records):
            data = [record.data for record in records if record.type == kind]
            response.additional.append(_rrset(dns.name.from_text(target), kind, data))

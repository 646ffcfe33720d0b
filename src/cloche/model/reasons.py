"""Why a packet was denied. Generated from bpf/reasons.h by tools/generate.py; do not edit."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """One list for the program, the tables and the oracle."""

    NONE = 0
    EGRESS_NOT_ALLOWED = 1
    INGRESS_NOT_ALLOWED = 2
    EGRESS_DENIED = 3
    INGRESS_DENIED = 4
    NO_GENERATION = 5
    CLOSED = 6
    UNKNOWN_LINK = 7
    SPOOFED_MAC = 8
    SPOOFED_ADDRESS = 9
    MALFORMED = 10
    ETHERTYPE = 11
    SOURCE_ROUTE = 12
    EXTENSION_HEADERS = 13
    MARTIAN = 14
    MULTICAST = 15
    BROADCAST = 16
    LINK_LOCAL = 17
    NEIGHBOUR = 18
    ROUTER_ADVERTISEMENT = 19
    DHCP_SERVER = 20
    FRAGMENT_FIRST_MISSING = 21
    FRAGMENT_OVERLAP = 22
    FRAGMENT_TABLE_FULL = 23
    ICMP_UNRELATED = 24
    NO_SERVICE = 25
    NO_BACKEND = 26
    BACKEND_GONE = 27
    TRANSLATION_CLASH = 28
    UNKNOWN_DESTINATION = 29
    FLOW_TABLE_FULL = 30
    UNKNOWN_CLASS = 31
    TTL = 32
    TOO_BIG = 33
    INTERNAL = 34

    @property
    def shown(self) -> str:
        """The reason as people and JSON see it."""
        return SHOWN[self]

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return MEANINGS[self]


SHOWN: dict[Reason, str] = {
    Reason.NONE: "none",
    Reason.EGRESS_NOT_ALLOWED: "egress-not-allowed",
    Reason.INGRESS_NOT_ALLOWED: "ingress-not-allowed",
    Reason.EGRESS_DENIED: "egress-denied",
    Reason.INGRESS_DENIED: "ingress-denied",
    Reason.NO_GENERATION: "no-generation",
    Reason.CLOSED: "closed",
    Reason.UNKNOWN_LINK: "unknown-link",
    Reason.SPOOFED_MAC: "spoofed-mac",
    Reason.SPOOFED_ADDRESS: "spoofed-address",
    Reason.MALFORMED: "malformed",
    Reason.ETHERTYPE: "ethertype",
    Reason.SOURCE_ROUTE: "source-route",
    Reason.EXTENSION_HEADERS: "extension-headers",
    Reason.MARTIAN: "martian",
    Reason.MULTICAST: "multicast",
    Reason.BROADCAST: "broadcast",
    Reason.LINK_LOCAL: "link-local",
    Reason.NEIGHBOUR: "neighbour",
    Reason.ROUTER_ADVERTISEMENT: "router-advertisement",
    Reason.DHCP_SERVER: "dhcp-server",
    Reason.FRAGMENT_FIRST_MISSING: "fragment-first-missing",
    Reason.FRAGMENT_OVERLAP: "fragment-overlap",
    Reason.FRAGMENT_TABLE_FULL: "fragment-table-full",
    Reason.ICMP_UNRELATED: "icmp-unrelated",
    Reason.NO_SERVICE: "no-service",
    Reason.NO_BACKEND: "no-backend",
    Reason.BACKEND_GONE: "backend-gone",
    Reason.TRANSLATION_CLASH: "translation-clash",
    Reason.UNKNOWN_DESTINATION: "unknown-destination",
    Reason.FLOW_TABLE_FULL: "flow-table-full",
    Reason.UNKNOWN_CLASS: "unknown-class",
    Reason.TTL: "ttl",
    Reason.TOO_BIG: "too-big",
    Reason.INTERNAL: "internal",
}

MEANINGS: dict[Reason, str] = {
    Reason.NONE: "allowed",
    Reason.EGRESS_NOT_ALLOWED: "the sender is isolated and no rule allows this",
    Reason.INGRESS_NOT_ALLOWED: "the receiver is isolated and no rule allows this",
    Reason.EGRESS_DENIED: "a deny rule on the sender matched",
    Reason.INGRESS_DENIED: "a deny rule on the receiver matched",
    Reason.NO_GENERATION: "no generation is active yet",
    Reason.CLOSED: "the endpoint is not open yet, or is going",
    Reason.UNKNOWN_LINK: "the packet came in on a link that no endpoint has",
    Reason.SPOOFED_MAC: "the source MAC is not the endpoint's",
    Reason.SPOOFED_ADDRESS: "the source address is not the sender's",
    Reason.MALFORMED: "headers are cut short or contradict each other",
    Reason.ETHERTYPE: "neither IPv4, IPv6 nor ARP (VLAN tags included)",
    Reason.SOURCE_ROUTE: "source routing was asked for",
    Reason.EXTENSION_HEADERS: "more IPv6 extension headers than are followed",
    Reason.MARTIAN: "an address that no packet may carry here",
    Reason.MULTICAST: "multicast is not carried",
    Reason.BROADCAST: "broadcast is not carried",
    Reason.LINK_LOCAL: "link-local addresses speak only ND with the gateway",
    Reason.NEIGHBOUR: "ARP or ND for what is not on this network, or spoofed, or a DAD probe",
    Reason.ROUTER_ADVERTISEMENT: "an endpoint is no router",
    Reason.DHCP_SERVER: "an endpoint is no DHCP server",
    Reason.FRAGMENT_FIRST_MISSING: "a later fragment whose first was not seen",
    Reason.FRAGMENT_OVERLAP: "fragments overlap, repeat, or are too small",
    Reason.FRAGMENT_TABLE_FULL: "no room to follow one more fragmented packet",
    Reason.ICMP_UNRELATED: "an ICMP error about no flow that is known and allowed",
    Reason.NO_SERVICE: "a service's address, but no such port",
    Reason.NO_BACKEND: "the service has no ready backend",
    Reason.BACKEND_GONE: "the backend of this connection is gone",
    Reason.TRANSLATION_CLASH: "another live flow has the same translated ports",
    Reason.UNKNOWN_DESTINATION: "an address of this network that no endpoint has",
    Reason.FLOW_TABLE_FULL: "a translated flow could not be remembered",
    Reason.UNKNOWN_CLASS: "the tables do not know this address or port; unknown is denied",
    Reason.TTL: "the TTL or hop limit ran out",
    Reason.TOO_BIG: "larger than the path takes",
    Reason.INTERNAL: "a helper failed; the packet was not passed unjudged",
}

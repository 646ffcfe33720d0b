/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Why a packet was denied: THE list. Python's enum is generated from it (tools/generate.py).
 * REASON(number, NAME, "name as shown", "what it means, for people") */
#ifndef CLOCHE_REASONS_H
#define CLOCHE_REASONS_H

#define CLOCHE_REASONS(REASON) \
	REASON(0, NONE, "none", "allowed") \
	REASON(1, EGRESS_NOT_ALLOWED, "egress-not-allowed", "the sender is isolated and no rule allows this") \
	REASON(2, INGRESS_NOT_ALLOWED, "ingress-not-allowed", "the receiver is isolated and no rule allows this") \
	REASON(3, EGRESS_DENIED, "egress-denied", "a deny rule on the sender matched") \
	REASON(4, INGRESS_DENIED, "ingress-denied", "a deny rule on the receiver matched") \
	REASON(5, NO_GENERATION, "no-generation", "no generation is active yet") \
	REASON(6, CLOSED, "closed", "the endpoint is not open yet, or is going") \
	REASON(7, UNKNOWN_LINK, "unknown-link", "the packet came in on a link that no endpoint has") \
	REASON(8, SPOOFED_MAC, "spoofed-mac", "the source MAC is not the endpoint's") \
	REASON(9, SPOOFED_ADDRESS, "spoofed-address", "the source address is not the sender's") \
	REASON(10, MALFORMED, "malformed", "headers are cut short or contradict each other") \
	REASON(11, ETHERTYPE, "ethertype", "neither IPv4, IPv6 nor ARP (VLAN tags included)") \
	REASON(12, SOURCE_ROUTE, "source-route", "source routing was asked for") \
	REASON(13, EXTENSION_HEADERS, "extension-headers", "more IPv6 extension headers than are followed") \
	REASON(14, MARTIAN, "martian", "an address that no packet may carry here") \
	REASON(15, MULTICAST, "multicast", "multicast is not carried") \
	REASON(16, BROADCAST, "broadcast", "broadcast is not carried") \
	REASON(17, LINK_LOCAL, "link-local", "link-local addresses speak only ND with the gateway") \
	REASON(18, NEIGHBOUR, "neighbour", "ARP or ND for what is not on this network, or spoofed, or a DAD probe") \
	REASON(19, ROUTER_ADVERTISEMENT, "router-advertisement", "an endpoint is no router") \
	REASON(20, DHCP_SERVER, "dhcp-server", "an endpoint is no DHCP server") \
	REASON(21, FRAGMENT_FIRST_MISSING, "fragment-first-missing", "a later fragment whose first was not seen") \
	REASON(22, FRAGMENT_OVERLAP, "fragment-overlap", "fragments overlap, repeat, or are too small") \
	REASON(23, FRAGMENT_TABLE_FULL, "fragment-table-full", "no room to follow one more fragmented packet") \
	REASON(24, ICMP_UNRELATED, "icmp-unrelated", "an ICMP error about no flow that is known and allowed") \
	REASON(25, NO_SERVICE, "no-service", "a service's address, but no such port") \
	REASON(26, NO_BACKEND, "no-backend", "the service has no ready backend") \
	REASON(27, BACKEND_GONE, "backend-gone", "the backend of this connection is gone") \
	REASON(28, TRANSLATION_CLASH, "translation-clash", "another live flow has the same translated ports") \
	REASON(29, UNKNOWN_DESTINATION, "unknown-destination", "an address of this network that no endpoint has") \
	REASON(30, FLOW_TABLE_FULL, "flow-table-full", "a translated flow could not be remembered") \
	REASON(31, UNKNOWN_CLASS, "unknown-class", "the tables do not know this address or port; unknown is denied") \
	REASON(32, TTL, "ttl", "the TTL or hop limit ran out") \
	REASON(33, TOO_BIG, "too-big", "larger than the path takes") \
	REASON(34, INTERNAL, "internal", "a helper failed; the packet was not passed unjudged")

enum reason {
#define CLOCHE_REASON_ENUM(number, name, shown, meaning) REASON_##name = number,
	CLOCHE_REASONS(CLOCHE_REASON_ENUM)
#undef CLOCHE_REASON_ENUM
	REASON_COUNT = 35
};

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Headers, from Ethernet to ports. The common packet (IPv4 without options or IPv6 without extension
 * headers, TCP or UDP, whole, in the linear part) is read in place; all others by parse_all, which
 * copies piece by piece and so minds neither paged data nor length. Both obey the same rules;
 * parse_quick only declines. */
#ifndef CLOCHE_PARSE_H
#define CLOCHE_PARSE_H

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "context.h"

#define IPV4_OFFSET_MASK 0x1fff
#define IPV4_MORE 0x2000
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137
#define EXTENSION_HOPS 0
#define EXTENSION_ROUTING 43
#define EXTENSION_FRAGMENT 44
#define EXTENSION_DESTINATION 60
#define EXTENSIONS_FOLLOWED 6

#define ICMP_REDIRECT 5

enum parsed { PARSED, PARSE_DECLINED };

INLINE int is_icmp_protocol(const struct packet *p)
{
	return p->protocol == (p->ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP);
}

INLINE int is_icmp_error(const struct packet *p)
{
	__u32 type = p->icmp >> 8;

	if (!is_icmp_protocol(p))
		return 0;
	return p->ipv6 ? type >= 1 && type <= 4 : (type >= 3 && type <= 5) || type == 11 || type == 12;
}

INLINE int has_ports(__u32 protocol)
{
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP;
}

/* Both ends begin as what is on the wire. */
INLINE void take_ends(struct packet *p)
{
	copy16(p->source.address, p->wire.source);
	copy16(p->destination.address, p->wire.destination);
	p->source.port = p->wire.source_port;
	p->destination.port = p->wire.destination_port;
	p->source.looked_up = 0;
	p->parsed = 1;
}

INLINE void take_ports(struct packet *p, const void *l4)
{
	p->wire.source_port = swap16(((const __u16 *)l4)[0]);
	p->wire.destination_port = swap16(((const __u16 *)l4)[1]);
	if (p->protocol == PROTOCOL_TCP) {
		p->tcp_header = ((const __u8 *)l4)[12] >> 4 << 2;
		p->tcp_flags = ((const __u8 *)l4)[13];
	}
}

INLINE int parse_quick(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	void *l4;

	if (data + ETHERNET_LENGTH + sizeof(struct iphdr) > end)
		return PARSE_DECLINED;
	if (ethernet->h_proto == swap16(ETH_P_IP)) {
		struct iphdr *ip = data + ETHERNET_LENGTH;
		__u32 length = swap16(ip->tot_len);

		if (*(__u8 *)ip != 0x45 || ip->frag_off & swap16(IPV4_MORE | IPV4_OFFSET_MASK))
			return PARSE_DECLINED;
		if (length < sizeof(*ip) + 20 || length + ETHERNET_LENGTH > skb->len)
			return PARSE_DECLINED;
		p->ipv6 = 0;
		p->protocol = ip->protocol;
		p->hop_limit = ip->ttl;
		map_ipv4(p->wire.source, ip->saddr);
		map_ipv4(p->wire.destination, ip->daddr);
		p->l4 = ETHERNET_LENGTH + sizeof(*ip);
		p->l4_length = length - sizeof(*ip);
		l4 = ip + 1;
	} else {
		struct ipv6hdr *ip = data + ETHERNET_LENGTH;
		__u32 length;

		if ((void *)(ip + 1) > end || ethernet->h_proto != swap16(ETH_P_IPV6))
			return PARSE_DECLINED;
		length = swap16(ip->payload_len);
		if (*(__u8 *)ip >> 4 != 6 || length < 20 || length + sizeof(*ip) + ETHERNET_LENGTH > skb->len)
			return PARSE_DECLINED;
		p->ipv6 = 1;
		p->protocol = ip->nexthdr;
		p->hop_limit = ip->hop_limit;
		copy16(p->wire.source, &ip->saddr);
		copy16(p->wire.destination, &ip->daddr);
		p->l4 = ETHERNET_LENGTH + sizeof(*ip);
		p->l4_length = length;
		l4 = ip + 1;
	}
	/* Twenty bytes for UDP too: a shorter one goes the long way. */
	if (l4 + 20 > end || (p->protocol != PROTOCOL_TCP && p->protocol != PROTOCOL_UDP))
		return PARSE_DECLINED;
	take_ports(p, l4);
	take_ends(p);
	return PARSED;
}

/* IPv4's options: bytes[20..20+length). The mask changes nothing: it is for older verifiers, which would
 * else take each way through the loop for another one. */
INLINE int parse_options(struct packet *p, __u32 length)
{
	__u64 at = 0;
	__u32 i;

	for (i = 0; i < 40; i++) {
		__u8 kind, size;

		__asm__ volatile("%0 &= 63" : "+r"(at));
		if (at >= length)
			return GO_ON;
		kind = p->bytes[20 + at];
		if (kind == OPTION_END)
			return GO_ON;
		if (kind == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= length)
			return deny(p, REASON_MALFORMED);
		size = p->bytes[21 + at];
		if (size < 2 || at + size > length)
			return deny(p, REASON_MALFORMED);
		if (kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE)
			return deny(p, REASON_SOURCE_ROUTE);
		at += size;
	}
	return GO_ON;
}

INLINE void set_part(struct packet *p, __u32 offset, __u32 more, __u32 id, __u32 length)
{
	p->fragment_id = id;
	p->fragment_offset = offset;
	p->fragment_length = length;
	p->more = more;
	p->part = offset ? PART_LATER : more ? PART_FIRST : PART_WHOLE;
}

INLINE int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr *ip = (void *)p->bytes;
	__u32 header, length, fragment;

	if (skb->len < ETHERNET_LENGTH + sizeof(*ip) ||
	    bpf_skb_load_bytes(skb, ETHERNET_LENGTH, ip, sizeof(*ip)))
		return deny(p, REASON_MALFORMED);
	header = (p->bytes[0] & 15) * 4;
	length = swap16(ip->tot_len);
	map_ipv4(p->wire.source, ip->saddr);
	map_ipv4(p->wire.destination, ip->daddr);
	p->protocol = ip->protocol;
	p->hop_limit = ip->ttl;
	if (p->bytes[0] >> 4 != 4 || header < sizeof(*ip) || length < header ||
	    length + ETHERNET_LENGTH > skb->len)
		return deny(p, REASON_MALFORMED);
	if (header > sizeof(*ip)) {
		__u32 options = header - sizeof(*ip);

		if (options < 1 || options > 40 ||
		    bpf_skb_load_bytes(skb, ETHERNET_LENGTH + sizeof(*ip), p->bytes + 20, options))
			return deny(p, REASON_MALFORMED);
		if (parse_options(p, options))
			return DECIDED;
	}
	p->l4 = ETHERNET_LENGTH + header;
	p->l4_length = length - header;
	fragment = swap16(ip->frag_off);
	set_part(p, (fragment & IPV4_OFFSET_MASK) * 8, !!(fragment & IPV4_MORE), swap16(ip->id), p->l4_length);
	return GO_ON;
}

INLINE int is_extension(__u32 header)
{
	return header == EXTENSION_HOPS || header == EXTENSION_ROUTING || header == EXTENSION_FRAGMENT ||
	       header == EXTENSION_DESTINATION;
}

/* IPv6's extension headers; a fragment header ends them for a later part of a datagram. The loop's way back
 * has to be a jump: older verifiers refuse one that the compiler lets fall through. */
INLINE int parse_extensions(struct __sk_buff *skb, struct packet *p, __u32 following)
{
	__u32 fragments = 0, i;

	p->protocol = following;
	for (i = 0; i < EXTENSIONS_FOLLOWED; i++) {
		__u32 header = following, length;

		if (!is_extension(header))
			return GO_ON;
		if (p->l4_length < 8 || bpf_skb_load_bytes(skb, p->l4, p->bytes, 8)) {
			if (p->part == PART_FIRST) {
				p->cut_short = 1;
				return GO_ON;
			}
			return deny(p, REASON_MALFORMED);
		}
		following = p->bytes[0];
		length = header == EXTENSION_FRAGMENT ? 8 : (p->bytes[1] + 1) * 8;
		if (length > p->l4_length) {
			if (p->part == PART_FIRST) {
				p->cut_short = 1;
				return GO_ON;
			}
			return deny(p, REASON_MALFORMED);
		}
		if (header == EXTENSION_ROUTING && p->bytes[3])
			return deny(p, REASON_SOURCE_ROUTE);
		p->l4 += length;
		p->l4_length -= length;
		if (header == EXTENSION_FRAGMENT) {
			__u32 fragment = swap16(*(__u16 *)(p->bytes + 2));

			if (fragments++)
				return deny(p, REASON_MALFORMED);
			set_part(p, fragment & ~7u, fragment & 1, swap32(*(__u32 *)(p->bytes + 4)), p->l4_length);
		}
		p->protocol = following;
		if (p->part == PART_LATER)
			return GO_ON;
	}
	return is_extension(following) ? deny(p, REASON_EXTENSION_HEADERS) : GO_ON;
}

INLINE int parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr *ip = (void *)p->bytes;
	__u32 length;

	if (skb->len < ETHERNET_LENGTH + sizeof(*ip) ||
	    bpf_skb_load_bytes(skb, ETHERNET_LENGTH, ip, sizeof(*ip)))
		return deny(p, REASON_MALFORMED);
	length = swap16(ip->payload_len);
	copy16(p->wire.source, &ip->saddr);
	copy16(p->wire.destination, &ip->daddr);
	p->hop_limit = ip->hop_limit;
	if (p->bytes[0] >> 4 != 6 || length + sizeof(*ip) + ETHERNET_LENGTH > skb->len)
		return deny(p, REASON_MALFORMED);
	p->l4 = ETHERNET_LENGTH + sizeof(*ip);
	p->l4_length = length;
	return parse_extensions(skb, p, ip->nexthdr);
}

INLINE __u32 upper_header_needs(const struct packet *p)
{
	if (p->protocol == PROTOCOL_TCP)
		return 20;
	if (p->protocol == PROTOCOL_SCTP)
		return 12;
	if (p->protocol == PROTOCOL_UDP || is_icmp_protocol(p))
		return 8;
	return 0;
}

/* What stands for ports in ICMP: echo's identifier, else type and code. */
INLINE __u16 icmp_port(__u32 ipv6, __u8 type, __u8 code, __u16 identifier)
{
	if (ipv6 ? type == 128 || type == 129 : type == 8 || type == 0)
		return identifier;
	return type << 8 | code;
}

INLINE int parse_upper(struct __sk_buff *skb, struct packet *p)
{
	__u32 need = upper_header_needs(p);

	if (!need || p->cut_short)
		return GO_ON;
	if (p->l4_length < need || bpf_skb_load_bytes(skb, p->l4, p->bytes, 8)) {
		if (p->part != PART_FIRST)
			return deny(p, REASON_MALFORMED);
		p->cut_short = 1;
		return GO_ON;
	}
	if (is_icmp_protocol(p)) {
		p->icmp = p->bytes[0] << 8 | p->bytes[1];
		p->wire.source_port = icmp_port(p->ipv6, p->bytes[0], p->bytes[1], swap16(*(__u16 *)(p->bytes + 4)));
		p->wire.destination_port = p->wire.source_port;
		return GO_ON;
	}
	if (p->protocol == PROTOCOL_TCP && bpf_skb_load_bytes(skb, p->l4, p->bytes, 20))
		return deny(p, REASON_MALFORMED);
	take_ports(p, p->bytes);
	return GO_ON;
}

/* Any IPv4 or IPv6 packet: p->ipv6 is set by the caller. */
STAGE int parse_all(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	int next;

	if (!p)
		return DECIDED;
	p->cut_short = 0;
	p->tcp_flags = 0;
	p->part = PART_WHOLE;
	p->wire.source_port = 0;
	p->wire.destination_port = 0;
	next = p->ipv6 ? parse_ipv6(skb, p) : parse_ipv4(skb, p);
	take_ends(p);
	if (next)
		return DECIDED;
	if (p->part != PART_LATER && parse_upper(skb, p))
		return DECIDED;
	take_ends(p);
	return GO_ON;
}

/* --- addresses that no packet may carry, or that only some may --- */
enum address_kind {
	KIND_UNICAST, KIND_UNSPECIFIED, KIND_LOOPBACK, KIND_MULTICAST, KIND_BROADCAST, KIND_RESERVED,
	KIND_LINK_LOCAL, KIND_MAPPED
};

INLINE int kind_of(const __u8 *address, __u32 ipv6)
{
	const __u32 *words = (const void *)address;
	__u8 first = ipv6 ? address[0] : address[12];

	if (!ipv6) {
		if (!words[3])
			return KIND_UNSPECIFIED;
		if (words[3] == 0xffffffff)
			return KIND_BROADCAST;
		if (first == 127)
			return KIND_LOOPBACK;
		if (first >= 240)
			return KIND_RESERVED;
		if (first >= 224)
			return KIND_MULTICAST;
		return first == 169 && address[13] == 254 ? KIND_LINK_LOCAL : KIND_UNICAST;
	}
	if (first == 0xff)
		return KIND_MULTICAST;
	if (first == 0xfe)
		return (address[1] & 0xc0) == 0x80 ? KIND_LINK_LOCAL : KIND_UNICAST;
	if (((const __u64 *)address)[0])
		return KIND_UNICAST;
	if (words[2] == 0xffff0000)
		return KIND_MAPPED;
	if (words[2])
		return KIND_UNICAST;
	return !words[3] ? KIND_UNSPECIFIED : words[3] == swap32(1) ? KIND_LOOPBACK : KIND_UNICAST;
}

/* Source checks that do not ask who owns it: REASON_NONE when it may be. */
INLINE __u32 source_kind_reason(const struct packet *p)
{
	int kind = kind_of(p->wire.source, p->ipv6);

	if (likely(kind == KIND_UNICAST))
		return REASON_NONE;
	return kind == KIND_LINK_LOCAL ? REASON_LINK_LOCAL : REASON_MARTIAN;
}

INLINE __u32 destination_kind_reason(const struct packet *p)
{
	int kind = kind_of(p->wire.destination, p->ipv6);

	if (likely(kind == KIND_UNICAST))
		return REASON_NONE;
	if (kind == KIND_BROADCAST)
		return REASON_BROADCAST;
	if (kind == KIND_MULTICAST)
		return REASON_MULTICAST;
	return kind == KIND_LINK_LOCAL ? REASON_LINK_LOCAL : REASON_MARTIAN;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* ICMP errors: they pass when they quote a packet that their receiver sent in a live, allowed flow; outer and
 * quoted headers are translated back, every checksum in them exactly. */
#ifndef CLOCHE_ICMP_H
#define CLOCHE_ICMP_H

#include "forward.h"
#include "services.h"

#define ICMP_CHECKSUM 2
#define ICMP_BODY 8           /* where the quote begins, in ICMP and ICMPv6 alike */
#define QUOTED_PORTS 8        /* bytes of upper header that a quote must have */

INLINE int quote_ipv4(struct __sk_buff *skb, struct packet *p, struct quote *quote)
{
	struct iphdr *ip = (void *)p->bytes;
	__u32 header, length;

	if (quote->left < sizeof(*ip) || bpf_skb_load_bytes(skb, quote->l3, ip, sizeof(*ip)))
		return DECIDED;
	header = (p->bytes[0] & 15) * 4;
	length = swap16(ip->tot_len);
	if (p->bytes[0] >> 4 != 4 || header < sizeof(*ip) || header > quote->left || length < header ||
	    ip->frag_off & swap16(IPV4_OFFSET_MASK))
		return DECIDED;
	map_ipv4(quote->wire.source, ip->saddr);
	map_ipv4(quote->wire.destination, ip->daddr);
	quote->protocol = ip->protocol;
	quote->l4 = quote->l3 + header;
	quote->left -= header;
	quote->l4_length = length - header;
	return GO_ON;
}

INLINE int quote_ipv6(struct __sk_buff *skb, struct packet *p, struct quote *quote)
{
	struct ipv6hdr *ip = (void *)p->bytes;
	__u32 i, header;

	if (quote->left < sizeof(*ip) || bpf_skb_load_bytes(skb, quote->l3, ip, sizeof(*ip)) ||
	    p->bytes[0] >> 4 != 6)
		return DECIDED;
	copy16(quote->wire.source, &ip->saddr);
	copy16(quote->wire.destination, &ip->daddr);
	quote->l4_length = swap16(ip->payload_len);
	quote->l4 = quote->l3 + sizeof(*ip);
	quote->left -= sizeof(*ip);
	header = ip->nexthdr;
	for (i = 0; i <= EXTENSIONS_FOLLOWED; i++) {
		__u32 length;

		quote->protocol = header;
		if (header != EXTENSION_HOPS && header != EXTENSION_ROUTING && header != EXTENSION_FRAGMENT &&
		    header != EXTENSION_DESTINATION)
			return GO_ON;
		if (quote->left < 8 || bpf_skb_load_bytes(skb, quote->l4, p->bytes, 8))
			return DECIDED;
		if (header == EXTENSION_FRAGMENT && *(__u16 *)(p->bytes + 2) & swap16(0xfff8))
			return DECIDED;
		length = header == EXTENSION_FRAGMENT ? 8 : (p->bytes[1] + 1) * 8;
		if (length > quote->left || length > quote->l4_length)
			return DECIDED;
		header = p->bytes[0];
		quote->l4 += length;
		quote->left -= length;
		quote->l4_length -= length;
	}
	return DECIDED;
}

/* The quoted packet's ends and ports, from behind the error's own header. */
INLINE int read_quote(struct __sk_buff *skb, struct packet *p, struct quote *quote)
{
	quote->l3 = p->l4 + ICMP_BODY;
	quote->left = p->l4_length - ICMP_BODY;
	quote->wire.source_port = 0;
	quote->wire.destination_port = 0;
	if (p->ipv6 ? quote_ipv6(skb, p, quote) : quote_ipv4(skb, p, quote))
		return DECIDED;
	if (has_ports(quote->protocol) || quote->protocol == (p->ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP)) {
		if (quote->left < QUOTED_PORTS || bpf_skb_load_bytes(skb, quote->l4, p->bytes, 8))
			return DECIDED;
		if (has_ports(quote->protocol)) {
			quote->wire.source_port = swap16(*(__u16 *)p->bytes);
			quote->wire.destination_port = swap16(*(__u16 *)(p->bytes + 2));
		} else {
			quote->wire.source_port =
				icmp_port(p->ipv6, p->bytes[0], p->bytes[1], swap16(*(__u16 *)(p->bytes + 4)));
			quote->wire.destination_port = quote->wire.source_port;
		}
	}
	copy16(quote->source.address, quote->wire.source);
	copy16(quote->destination.address, quote->wire.destination);
	quote->source.port = quote->wire.source_port;
	quote->destination.port = quote->wire.destination_port;
	__builtin_memcpy(&quote->out, &quote->wire, sizeof(quote->out));
	return GO_ON;
}

/* The client complains of what its service answered: on to the backend. The flow, or NULL. */
INLINE struct flow *about_reply(struct packet *p, const struct config *settings, struct quote *quote)
{
	struct flow *known, *flow;

	p->client_is_low = make_key(&p->translation, p, &quote->destination, &quote->source, FLOW_TRANSLATION);
	known = find_flow(p, &p->translation);
	if (!known || !is_live(known, p->now, settings))
		return 0;
	copy16(quote->out.source, known->service_address);
	quote->out.source_port = known->service_port;
	copy16(quote->source.address, quote->out.source);
	quote->source.port = quote->out.source_port;
	look_up(p, &quote->source);
	if (quote->source.endpoint && quote->source.endpoint == quote->destination.endpoint) {
		const __u8 *reserved = p->ipv6 ? settings->hairpin6 : settings->hairpin4;

		copy16(quote->out.destination, reserved);
		copy16(quote->destination.address, reserved);
		copy16(p->out.source, reserved);
	}
	copy16(p->out.destination, quote->out.source);
	p->rewritten = 1;
	p->sender_is_low = make_key(&p->key, p, &quote->source, &quote->destination, FLOW_PLAIN);
	flow = find_flow(p, &p->key);
	if (!flow || !is_live(flow, p->now, settings) || !(flow->flags & FLOW_TRANSLATED) ||
	    !same16(flow->service_address, quote->wire.source) || flow->service_port != quote->wire.source_port)
		return 0;
	return flow;
}

/* About what the error's receiver sent; behind a service it is shown the service's address. */
INLINE struct flow *about_sent(struct packet *p, const struct config *settings, struct quote *quote)
{
	struct flow *flow;

	p->sender_is_low = make_key(&p->key, p, &quote->source, &quote->destination, FLOW_PLAIN);
	flow = find_flow(p, &p->key);
	if (!flow || !is_live(flow, p->now, settings))
		return 0;
	if (!(flow->flags & FLOW_TRANSLATED) || is_from_front(p, flow))
		return flow;
	if (same16(p->wire.source, quote->wire.destination))
		copy16(p->out.source, flow->service_address);
	copy16(quote->out.destination, flow->service_address);
	quote->out.destination_port = flow->service_port;
	if (flow->flags & FLOW_HAIRPIN) {
		copy16(quote->out.source, quote->wire.destination);
		copy16(p->out.destination, quote->wire.destination);
	}
	p->rewritten = 1;
	return flow;
}

/* True when the flow's action, at this generation, is allow. Nothing is kept. */
INLINE int allows(struct packet *p, struct flow *flow, struct quote *quote)
{
	__u32 by_opener, verdict;

	if (READ_ONCE(flow->generation) == p->generation) {
		barrier();
		return flow->action == VERDICT_ALLOW;
	}
	by_opener = sent_by_opener(p, flow);
	if (flow->flags & FLOW_HAIRPIN && is_from_front(p, flow))
		ask(p, &quote->source, &quote->source);
	else if (flow->flags & FLOW_HAIRPIN)
		ask(p, &quote->destination, &quote->destination);
	else if (by_opener)
		ask(p, &quote->source, &quote->destination);
	else
		ask(p, &quote->destination, &quote->source);
	p->asked.from_host = !!(flow->flags & FLOW_HOST);
	p->asked.atom_index =
		atom_index(p, by_opener ? quote->destination.port : quote->source.port, flow->icmp);
	verdict = judge();
	p->asked.judged = 0;
	p->asked.direction = NEITHER_DIRECTION;
	return verdict == VERDICT_ALLOW;
}

/* The flow that the error is about, translations prepared; p->protocol is the quoted packet's here. */
INLINE int relate(struct packet *p, const struct config *settings, struct quote *quote)
{
	struct flow *flow;
	__u32 sender;

	look_up(p, &quote->source);
	look_up(p, &quote->destination);
	sender = quote->destination.endpoint;
	stand_for(&quote->source, &quote->destination);
	stand_for(&quote->destination, &quote->source);
	if (p->sender && sender != p->sender)
		return DECIDED;
	flow = is_service(&quote->source) ? about_reply(p, settings, quote) : about_sent(p, settings, quote);
	if (!flow || !allows(p, flow, quote))
		return DECIDED;
	p->to_stack = flow->flags & FLOW_STACK;
	return GO_ON;
}

/* An ICMP error, whole or a first fragment. */
STAGE int icmp_error(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	__u32 protocol;
	int next;

	if (!p || !settings)
		return DECIDED;
	if ((!p->ipv6 && p->icmp >> 8 == ICMP_REDIRECT) || read_quote(skb, p, &p->quote) ||
	    !same16(p->quote.wire.source, p->wire.destination))
		return deny(p, REASON_ICMP_UNRELATED);
	__builtin_memcpy(&p->out, &p->wire, sizeof(p->out));
	protocol = p->protocol;
	p->protocol = p->quote.protocol;
	next = relate(p, settings, &p->quote);
	p->protocol = protocol;
	if (next) {
		p->rewritten = 0;
		return deny(p, REASON_ICMP_UNRELATED);
	}
	if (p->rewritten) {
		copy16(p->destination.address, p->out.destination);
		look_up(p, &p->destination);
	}
	return route(p, &p->destination, p->to_stack);
}

/* --- writing the translated error --- */

INLINE __u32 add_sums(__u32 one, __u32 other)
{
	__u64 sum = (__u64)one + other;

	return (sum & 0xffffffff) + (sum >> 32);
}

/* A checksum after a change of what it covers (RFC 1624, equation 3). */
INLINE __u16 updated(__u16 checksum, __u32 difference)
{
	return fold((__u64)(__u16)~checksum + difference);
}

/* Replaces a quoted checksum of 16 bits and adds what that does to the error's own. */
INLINE int update_quoted(struct __sk_buff *skb, struct quote *quote, __u32 offset, __u32 difference,
			 __u32 is_udp)
{
	__u32 before = 0, after = 0;

	if (bpf_skb_load_bytes(skb, offset, &before, 2))
		return -1;
	if (is_udp && !before)
		return 0;
	after = updated(before, difference);
	if (is_udp && !after)
		after = 0xffff;
	quote->difference = add_sums(quote->difference, bpf_csum_diff(&before, 4, &after, 4, 0));
	return bpf_skb_store_bytes(skb, offset, &after, 2, 0);
}

INLINE int write_quoted_addresses(struct __sk_buff *skb, struct packet *p, struct quote *quote, __u32 *change)
{
	if (p->ipv6) {
		*change = bpf_csum_diff(quote->wire.source, 32, quote->out.source, 32, 0);
		quote->difference = *change;
		return bpf_skb_store_bytes(skb, quote->l3 + IPV6_ADDRESSES, quote->out.source, 32, 0);
	} else {
		__u32 before[2], after[2];

		ipv4_pair(before, &quote->wire);
		ipv4_pair(after, &quote->out);
		*change = bpf_csum_diff(before, 8, after, 8, 0);
		quote->difference = *change;
		if (bpf_skb_store_bytes(skb, quote->l3 + IPV4_ADDRESSES, after, 8, 0))
			return -1;
		return update_quoted(skb, quote, quote->l3 + IPV4_CHECKSUM, *change, 0);
	}
}

INLINE int write_quoted_sctp(struct __sk_buff *skb, struct quote *quote, __u32 change)
{
	__u32 before, after;

	if (!change || quote->left < SCTP_CHECKSUM + 4)
		return 0;
	if (bpf_skb_load_bytes(skb, quote->l4 + SCTP_CHECKSUM, &before, 4))
		return -1;
	if (!before)
		return 0;
	after = before ^ crc32c_change(change, quote->l4_length);
	quote->difference = add_sums(quote->difference, bpf_csum_diff(&before, 4, &after, 4, 0));
	return bpf_skb_store_bytes(skb, quote->l4 + SCTP_CHECKSUM, &after, 4, 0);
}

INLINE int write_quoted_upper(struct __sk_buff *skb, struct quote *quote, __u32 address_difference)
{
	__u32 before = swap16(quote->wire.source_port) | (__u32)swap16(quote->wire.destination_port) << 16;
	__u32 after = swap16(quote->out.source_port) | (__u32)swap16(quote->out.destination_port) << 16;
	__u32 difference = bpf_csum_diff(&before, 4, &after, 4, 0);
	__u32 all = add_sums(address_difference, difference);

	if (bpf_skb_store_bytes(skb, quote->l4, &after, 4, 0))
		return -1;
	quote->difference = add_sums(quote->difference, difference);
	if (quote->protocol == PROTOCOL_SCTP)
		return write_quoted_sctp(skb, quote, before ^ after);
	if (quote->protocol == PROTOCOL_UDP)
		return update_quoted(skb, quote, quote->l4 + UDP_CHECKSUM, all, 1);
	if (quote->left < TCP_CHECKSUM + 2)
		return 0;
	return update_quoted(skb, quote, quote->l4 + TCP_CHECKSUM, all, 0);
}

/* Makes an ICMP error what p->out and p->quote.out say. */
STAGE int rewrite_error(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct quote *quote;
	__u32 outer = 0, change = 0;

	if (!p)
		return DECIDED;
	quote = &p->quote;
	if (write_quoted_addresses(skb, p, quote, &change))
		return deny(p, REASON_INTERNAL);
	if (has_ports(quote->protocol) && write_quoted_upper(skb, quote, change))
		return deny(p, REASON_INTERNAL);
	if (write_addresses(skb, p, &outer))
		return deny(p, REASON_INTERNAL);
	if (p->ipv6 && bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECKSUM, 0, outer, BPF_F_PSEUDO_HDR))
		return deny(p, REASON_INTERNAL);
	if (bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECKSUM, 0, quote->difference, 0))
		return deny(p, REASON_INTERNAL);
	return GO_ON;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The common packet by the shortest way: a whole TCP or UDP packet between the first addresses of two endpoints of
 * this host, on a live flow that is allowed and stays as it is or moves on unheard. It is answered as the way of
 * all others would answer it, or not at all: then nothing has been changed and that way is taken.
 * docs/design/quick.md */
#ifndef CLOCHE_QUICK_H
#define CLOCHE_QUICK_H

#include "forward.h"

#define TCP_HEADER 20

enum quick { NOT_QUICK, QUICK };

/* What is read of a packet. */
struct glance {
	__u64 source[2];
	__u64 destination[2];
	__u32 ports;              /* as on the wire: source, destination */
	__u32 hops;
};

INLINE __u32 link_hint(__u32 ifindex)
{
	return ifindex & (HINTS - 1);
}

INLINE __u32 address_hint(__u32 network, const __u64 *address)
{
	__u64 mixed = (address[0] ^ address[1] ^ network) * HASH_MULTIPLIER;

	return HINTS + (mixed >> (64 - HINT_BITS));
}

/* Keeps in mind whose a link or an address is. */
INLINE void leave_hint(__u32 index, __u32 number)
{
	__u32 *hint = bpf_map_lookup_elem(&hints, &index);

	if (hint && READ_ONCE(*hint) != number)
		WRITE_ONCE(*hint, number);
}

/* The endpoint that a hint names, if it is open; else NULL. It may be another than the one that is looked for. */
INLINE struct endpoint *hinted(__u32 index, __u32 *number)
{
	__u32 *hint = bpf_map_lookup_elem(&hints, &index);
	struct endpoint *endpoint;

	if (!hint)
		return 0;
	*number = READ_ONCE(*hint);
	endpoint = bpf_map_lookup_elem(&endpoints, number);
	return endpoint && READ_ONCE(endpoint->state) == ENDPOINT_OPEN ? endpoint : 0;
}

/* Reads with no check less than parse_quick; false for what is for the long way. */
INLINE int take_glance(struct __sk_buff *skb, struct packet *p, struct glance *seen)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *l4;
	struct ethhdr *ethernet = data;

	if (data + ETHERNET_LENGTH + sizeof(struct iphdr) + UDP_HEADER > end || skb->vlan_present)
		return 0;
	if (ethernet->h_proto == swap16(ETH_P_IP)) {
		struct iphdr *ip = data + ETHERNET_LENGTH;
		__u32 length = swap16(ip->tot_len);

		if (*(__u8 *)ip != 0x45 || ip->frag_off & swap16(IPV4_MORE | IPV4_OFFSET_MASK) ||
		    length < sizeof(*ip) + UDP_HEADER || length + ETHERNET_LENGTH > skb->len)
			return 0;
		p->ipv6 = 0;
		p->protocol = ip->protocol;
		p->l4_length = length - sizeof(*ip);
		p->l4 = ETHERNET_LENGTH + sizeof(*ip);
		seen->hops = ip->ttl;
		map_ipv4(seen->source, ip->saddr);
		map_ipv4(seen->destination, ip->daddr);
		l4 = ip + 1;
	} else {
		struct ipv6hdr *ip = data + ETHERNET_LENGTH;
		__u32 length;

		if (data + ETHERNET_LENGTH + sizeof(*ip) + UDP_HEADER > end || ethernet->h_proto != swap16(ETH_P_IPV6))
			return 0;
		length = swap16(ip->payload_len);
		if (*(__u8 *)ip >> 4 != 6 || length < UDP_HEADER || length + sizeof(*ip) + ETHERNET_LENGTH > skb->len)
			return 0;
		p->ipv6 = 1;
		p->protocol = ip->nexthdr;
		p->l4_length = length;
		p->l4 = ETHERNET_LENGTH + sizeof(*ip);
		seen->hops = ip->hop_limit;
		copy16(seen->source, &ip->saddr);
		copy16(seen->destination, &ip->daddr);
		l4 = ip + 1;
	}
	seen->ports = *(__u32 *)l4;
	p->tcp_flags = 0;
	if (p->protocol == PROTOCOL_TCP) {
		if (l4 + TCP_HEADER > end || p->l4_length < TCP_HEADER)
			return 0;
		p->tcp_header = ((const __u8 *)l4)[12] >> 4 << 2;
		p->tcp_flags = ((const __u8 *)l4)[13];
		return !(p->tcp_flags & TCP_RST) && !is_opening(p);
	}
	return p->protocol == PROTOCOL_UDP && (__u16)seen->ports != (p->ipv6 ? swap16(547) : swap16(67));
}

/* p->key, as make_key fills it. */
INLINE void make_quick_key(struct packet *p, const struct glance *seen, const struct endpoint *sender,
			   const struct endpoint *receiver)
{
	struct flow_key *key = &p->key;
	__u16 from = swap16((__u16)seen->ports), to = swap16(seen->ports >> 16);
	__u64 a = swap64(seen->source[1]), b = swap64(seen->destination[1]);
	__u32 low;

	if (seen->source[0] != seen->destination[0])
		low = swap64(seen->source[0]) < swap64(seen->destination[0]);
	else
		low = a != b ? a < b : from <= to;
	key->network = sender->network;
	*(__u32 *)&key->protocol = p->protocol;
	p->sender_is_low = low;
	if (low) {
		copy16(key->low, seen->source);
		copy16(key->high, seen->destination);
		key->low_port = from;
		key->high_port = to;
		key->low_incarnation = sender->incarnation;
		key->high_incarnation = receiver->incarnation;
	} else {
		copy16(key->low, seen->destination);
		copy16(key->high, seen->source);
		key->low_port = to;
		key->high_port = from;
		key->low_incarnation = receiver->incarnation;
		key->high_incarnation = sender->incarnation;
	}
}

/* Takes note of the packet in its flow; false when there is more to do than that. */
INLINE int track_quick(struct packet *p, const struct config *settings, __u64 generation)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	__u32 after;
	__u8 next;

	if (!flow || !is_live(flow, p->now, settings))
		return 0;
	if (flow->flags & (FLOW_TRANSLATED | FLOW_STACK | FLOW_HAIRPIN | FLOW_HOST))
		return 0;
	if (READ_ONCE(flow->generation) != generation)
		return 0;
	barrier();
	if (flow->action != VERDICT_ALLOW)
		return 0;
	next = next_age(p, flow, &after);
	if (next == AGE_TCP_CLOSING && flow->age != AGE_TCP_CLOSING)
		return 0;
	take_step(flow, p->now, next, after);
	return 1;
}

/* QUICK: the packet is on its way, *action is the program's. */
INLINE enum quick quick_packet(struct __sk_buff *skb, struct packet *p, const struct config *settings, int *action)
{
	__u64 generation = READ_ONCE(settings->generation), clock = settings->clock_ns;
	struct endpoint *sender, *receiver;
	struct ethhdr *ethernet;
	struct glance seen;
	__u32 number;

	if (has_old_flows || settings->flags & CONFIG_QUICK_OFF || !generation || !take_glance(skb, p, &seen) ||
	    seen.hops <= 1)
		return NOT_QUICK;
	sender = hinted(link_hint(skb->ifindex), &number);
	if (!sender || sender->ifindex != skb->ifindex)
		return NOT_QUICK;
	ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end || !same6(ethernet->h_source, sender->mac) ||
	    !same16(seen.source, p->ipv6 ? sender->address6 : sender->address4))
		return NOT_QUICK;
	receiver = hinted(address_hint(sender->network, seen.destination), &number);
	/* Whether it has the address is known by the flow, whose key has its incarnation. */
	if (!receiver)
		return NOT_QUICK;
	p->segment = skb->gso_size;
	if (is_too_big(p, receiver->mtu))
		return NOT_QUICK;
	p->now = clock ? clock : bpf_ktime_get_coarse_ns();
	make_quick_key(p, &seen, sender, receiver);
	if (!track_quick(p, settings, generation))
		return NOT_QUICK;
	count_reason(REASON_NONE);
	skb->cb[0] = VERDICT_ALLOW | DELIVER_ENDPOINT << 16 | NEITHER_DIRECTION << 24;
	skb->cb[1] = 0;
	skb->cb[2] = number << 16;
	skb->cb[3] = 0;
	skb->cb[4] = 0;
	*action = to_endpoint(skb, p, receiver, 1);
	return QUICK;
}

#endif

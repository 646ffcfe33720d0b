/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The common packet by the shortest way: a whole TCP or UDP packet from the first address of one endpoint of this
 * host to another, on a live flow that is allowed and stays as it is or moves on unheard. It is answered as the way of
 * all others would answer it, or not at all: then nothing has been changed and that way is taken.
 * docs/design/quick.md */
#ifndef CLOCHE_QUICK_H
#define CLOCHE_QUICK_H

#include "forward.h"
#include "fronts.h"
#include "hints.h"

#define TCP_HEADER 20

#define NOT_QUICK 0x7fff       /* no program's action */
#define MAY_BE_SERVED 0x7ffe   /* nor is this: the packet may be for a service */

/* What is read of a packet. On the stack, as the less memory is touched the better. */
struct glance {
	__u64 source[2];
	__u64 destination[2];
	struct extent extent;
	__u32 ports;              /* as on the wire: source, destination */
	__u32 hops;
	__u32 ipv6;
	struct mover by;
};

/* Reads with no check less than parse_quick; false for what is for the long way. */
INLINE int take_glance(struct __sk_buff *skb, struct glance *seen)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *l4;
	struct ethhdr *ethernet = data;
	__u32 length, tcp;

	if (data + ETHERNET_LENGTH + sizeof(struct iphdr) + UDP_HEADER > end || skb->vlan_present)
		return 0;
	if (ethernet->h_proto == swap16(ETH_P_IP)) {
		struct iphdr *ip = data + ETHERNET_LENGTH;

		length = swap16(ip->tot_len) - sizeof(*ip);
		if (*(__u8 *)ip != 0x45 || ip->frag_off & swap16(IPV4_MORE | IPV4_OFFSET_MASK))
			return 0;
		seen->ipv6 = 0;
		seen->by.protocol = ip->protocol;
		seen->hops = ip->ttl;
		map_ipv4(seen->source, ip->saddr);
		map_ipv4(seen->destination, ip->daddr);
		seen->extent.headers = sizeof(*ip);
		l4 = ip + 1;
	} else {
		struct ipv6hdr *ip = data + ETHERNET_LENGTH;

		if (data + ETHERNET_LENGTH + sizeof(*ip) + UDP_HEADER > end || ethernet->h_proto != swap16(ETH_P_IPV6))
			return 0;
		length = swap16(ip->payload_len);
		if (*(__u8 *)ip >> 4 != 6)
			return 0;
		seen->ipv6 = 1;
		seen->by.protocol = ip->nexthdr;
		seen->hops = ip->hop_limit;
		copy16(seen->source, &ip->saddr);
		copy16(seen->destination, &ip->daddr);
		seen->extent.headers = sizeof(*ip);
		l4 = ip + 1;
	}
	seen->ports = *(__u32 *)l4;
	seen->extent.rest = length;
	seen->by.tcp_flags = 0;
	if ((__s32)length < UDP_HEADER || length + seen->extent.headers + ETHERNET_LENGTH > skb->len)
		return 0;
	if (seen->by.protocol == PROTOCOL_UDP) {
		seen->extent.upper = UDP_HEADER;
		return (__u16)seen->ports != (seen->ipv6 ? swap16(547) : swap16(67));
	}
	if (seen->by.protocol != PROTOCOL_TCP || l4 + TCP_HEADER > end || length < TCP_HEADER)
		return 0;
	seen->extent.upper = ((const __u8 *)l4)[12] >> 4 << 2;
	tcp = ((const __u8 *)l4)[13];
	seen->by.tcp_flags = tcp;
	return !(tcp & TCP_RST) && !opens(tcp);
}

/* On the stack, and a key's addresses need not be aligned to eight bytes. */
INLINE void put_address(void *to, const __u64 *address)
{
	const __u32 *from = (const void *)address;

	((__u32 *)to)[0] = from[0];
	((__u32 *)to)[1] = from[1];
	((__u32 *)to)[2] = from[2];
	((__u32 *)to)[3] = from[3];
}

/* As make_key fills it. */
INLINE void make_quick_key(struct flow_key *key, struct glance *seen, const struct endpoint *sender,
			   const struct endpoint *receiver)
{
	__u16 from = swap16((__u16)seen->ports), to = swap16(seen->ports >> 16);

	seen->by.low = precedes(seen->source, from, seen->destination, to);
	key->network = sender->network;
	*(__u32 *)&key->protocol = seen->by.protocol;
	if (seen->by.low) {
		put_address(key->low, seen->source);
		put_address(key->high, seen->destination);
		key->low_port = from;
		key->high_port = to;
		key->low_incarnation = sender->incarnation;
		key->high_incarnation = receiver->incarnation;
	} else {
		put_address(key->low, seen->destination);
		put_address(key->high, seen->source);
		key->low_port = to;
		key->high_port = from;
		key->low_incarnation = receiver->incarnation;
		key->high_incarnation = sender->incarnation;
	}
}

/* Takes note of the packet in its flow; false when there is more to do than that. */
INLINE int track_quick(struct mover by, struct flow *flow, const struct config *settings)
{
	__u64 clock = settings->clock_ns, now = clock ? clock : bpf_ktime_get_coarse_ns();
	__u32 after;
	__u8 next;

	if (!is_live(flow, now, settings) || flow->flags & (FLOW_STACK | FLOW_HAIRPIN | FLOW_HOST))
		return 0;
	if (READ_ONCE(flow->generation) != READ_ONCE(settings->generation))
		return 0;
	barrier();
	if (flow->action != VERDICT_ALLOW)
		return 0;
	next = next_age(by, flow, &after);
	if (next == AGE_TCP_CLOSING && flow->age != AGE_TCP_CLOSING)
		return 0;
	take_step(flow, now, next, after);
	return 1;
}

/* The open endpoint that a packet is from, if its MAC and source are its own first ones. */
INLINE struct endpoint *quick_sender(struct __sk_buff *skb, const struct glance *seen, __u32 *number)
{
	struct endpoint *sender = hinted_sender(skb->ifindex, number);
	struct ethhdr *ethernet = (void *)(long)skb->data;

	if (!sender || (void *)(ethernet + 1) > (void *)(long)skb->data_end ||
	    !same6(ethernet->h_source, sender->mac) ||
	    !same16(seen->source, seen->ipv6 ? sender->address6 : sender->address4))
		return 0;
	return sender;
}

/* Larger than the receiver's link takes. Asked only when it is found, as it lies apart. */
INLINE int is_wide(struct __sk_buff *skb, struct glance *seen, const struct endpoint *receiver)
{
	if (!receiver->mtu || seen->extent.headers + seen->extent.rest <= receiver->mtu)
		return 0;
	seen->extent.segment = skb->gso_size;
	return is_longer(seen->extent, receiver->mtu);
}

/* What rewrite() has to know: the packet as it came, and to go as it came. */
INLINE void be_seen(struct packet *p, const struct glance *seen)
{
	p->ipv6 = seen->ipv6;
	p->protocol = seen->by.protocol;
	p->part = PART_WHOLE;
	p->l4 = ETHERNET_LENGTH + seen->extent.headers;
	copy16(p->wire.source, seen->source);
	copy16(p->wire.destination, seen->destination);
	p->wire.source_port = swap16((__u16)seen->ports);
	p->wire.destination_port = swap16(seen->ports >> 16);
	p->out = p->wire;
}

/* The end of a packet that has gone all the short way. */
INLINE int send_quick(struct __sk_buff *skb, __u32 ipv6, const struct endpoint *receiver, __u32 number)
{
	count_reason(REASON_NONE);
	skb->cb[0] = VERDICT_ALLOW | DELIVER_ENDPOINT << 16 | NEITHER_DIRECTION << 24;
	skb->cb[1] = 0;
	skb->cb[2] = number << 16;
	skb->cb[3] = 0;
	skb->cb[4] = 0;
	return to_endpoint(skb, ipv6, receiver, 1);
}

/* As finish() ends a packet that cannot be rewritten. */
INLINE int drop_quick(struct __sk_buff *skb)
{
	count_reason(REASON_INTERNAL);
	skb->cb[0] = VERDICT_DENY | REASON_INTERNAL << 8 | DELIVER_NOWHERE << 16 | NEITHER_DIRECTION << 24;
	skb->cb[1] = 0;
	skb->cb[2] = 0;
	skb->cb[3] = 0;
	skb->cb[4] = 0;
	return TC_ACT_SHOT;
}

/* A backend's reply gets its service's address back as source. */
INLINE int reply_quick(struct __sk_buff *skb, const struct glance *seen, const struct flow *flow)
{
	struct packet *p = this_packet();

	if (!p)
		return DECIDED;
	be_seen(p, seen);
	copy16(p->out.source, flow->service_address);
	p->out.source_port = flow->service_port;
	return rewrite(skb);
}

/* The program's action when the packet is on its way, else one that is none. A function of its own for its stack's sake. */
STAGE int quick_packet(struct __sk_buff *skb)
{
	struct config *settings = this_config();
	struct endpoint *sender, *receiver;
	struct glance seen;
	struct flow_key key;
	struct flow *flow = 0;
	__u32 number;

	if (!settings || has_old_flows || settings->flags & CONFIG_QUICK_OFF || !take_glance(skb, &seen) || seen.hops <= 1)
		return NOT_QUICK;
	sender = quick_sender(skb, &seen, &number);
	if (!sender)
		return NOT_QUICK;
	/* Whether it has the address is known by the flow, whose key has its incarnation. */
	receiver = hinted(address_hint(sender->network, seen.destination), &number);
	if (receiver) {
		make_quick_key(&key, &seen, sender, receiver);
		flow = bpf_map_lookup_elem(&flows, &key);
	}
	if (!flow)
		return may_have_front(sender->network, seen.destination) ? MAY_BE_SERVED : NOT_QUICK;
	if (is_wide(skb, &seen, receiver))
		return NOT_QUICK;
	/* To a backend directly is not for its service's flow; from there it is a reply. */
	if (flow->flags & FLOW_TRANSLATED && (flow->flags & FLOW_FRONT_HIGH ? 0 : 1) != seen.by.low)
		return NOT_QUICK;
	if (!track_quick(seen.by, flow, settings))
		return NOT_QUICK;
	if (flow->flags & FLOW_TRANSLATED && reply_quick(skb, &seen, flow))
		return drop_quick(skb);
	return send_quick(skb, seen.ipv6, receiver, number);
}

#endif

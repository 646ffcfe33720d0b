/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Under which key a flow is found, which state a packet opens it in, and which one it leads to. */
#ifndef CLOCHE_STATES_H
#define CLOCHE_STATES_H

#include "slots.h"

/* True when the one side's (address, port) is not higher than the other's, as bytes in network order. */
INLINE int precedes(const __u64 *one, __u32 one_port, const __u64 *other, __u32 other_port)
{
	if (one[0] != other[0])
		return swap64(one[0]) < swap64(other[0]);
	if (one[1] != other[1])
		return swap64(one[1]) < swap64(other[1]);
	return one_port <= other_port;
}

/* Fills a key; returns true when "one" is its low side. */
INLINE __u32 make_key(struct flow_key *key, const struct packet *p, const struct end *one,
		      const struct end *other, __u32 kind)
{
	key->network = p->network;
	*(__u32 *)&key->protocol = p->protocol | kind << 8;
	if (precedes((const void *)one->address, one->port, (const void *)other->address, other->port)) {
		copy16(key->low, one->address);
		copy16(key->high, other->address);
		key->low_port = one->port;
		key->high_port = other->port;
		key->low_incarnation = one->incarnation;
		key->high_incarnation = other->incarnation;
		return 1;
	}
	copy16(key->low, other->address);
	copy16(key->high, one->address);
	key->low_port = other->port;
	key->high_port = one->port;
	key->low_incarnation = other->incarnation;
	key->high_incarnation = one->incarnation;
	return 0;
}

INLINE int tcp_without_syn(const struct packet *p)
{
	return p->protocol == PROTOCOL_TCP && !(p->tcp_flags & TCP_SYN);
}

/* A SYN without ACK, RST or FIN. */
INLINE int opens(__u32 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

INLINE int is_opening(const struct packet *p)
{
	return p->protocol == PROTOCOL_TCP && opens(p->tcp_flags);
}

INLINE __u32 sent_by_opener(const struct packet *p, const struct flow *flow)
{
	return (flow->flags & FLOW_OPENED_BY_HIGH ? 0 : 1) == p->sender_is_low;
}

/* The state that a packet opens a flow in. */
INLINE __u8 first_age(const struct packet *p)
{
	if (p->protocol == PROTOCOL_TCP)
		return p->tcp_flags & TCP_SYN ? AGE_TCP_OPENING : p->tcp_flags & TCP_FIN ? AGE_TCP_CLOSING : AGE_TCP_OPEN;
	if (p->protocol == PROTOCOL_UDP)
		return AGE_UDP;
	return is_icmp_protocol(p) ? AGE_ICMP : AGE_OTHER;
}

/* What moves a flow's state on. */
struct mover {
	__u8 protocol;
	__u8 tcp_flags;
	__u8 low;                 /* the low side sent it */
};

/* The state of a live, allowed flow after one more packet; *after: its flags then. */
INLINE __u8 next_age(struct mover by, const struct flow *flow, __u32 *after)
{
	__u32 flags = flow->flags, by_opener = (flags & FLOW_OPENED_BY_HIGH ? 0 : 1) == by.low;
	__u8 age = flow->age, next = age, tcp = by.tcp_flags;

	*after = by_opener ? flags : flags | FLOW_REPLIED;
	if (age == AGE_UDP && !by_opener)
		next = AGE_UDP_REPLIED;
	if (by.protocol == PROTOCOL_TCP) {
		if (age == AGE_TCP_OPENING && by_opener && flags & FLOW_REPLIED && tcp & TCP_ACK &&
		    !(tcp & (TCP_SYN | TCP_RST)))
			next = AGE_TCP_OPEN;
		if (tcp & TCP_FIN)
			*after |= by.low ? FLOW_FIN_LOW : FLOW_FIN_HIGH;
		if ((*after & (FLOW_FIN_LOW | FLOW_FIN_HIGH)) == (FLOW_FIN_LOW | FLOW_FIN_HIGH) || tcp & TCP_RST)
			next = AGE_TCP_CLOSING;
	}
	return next;
}

/* Writes that into its entry. */
INLINE void take_step(struct flow *flow, __u64 now, __u8 next, __u32 after)
{
	__u32 flags = flow->flags;
	__u8 age = flow->age;

	if (age != AGE_TCP_CLOSING && flow->seen_ns != now)
		flow->seen_ns = now;
	if (after != flags)
		__sync_fetch_and_or(&flow->flags, after & ~flags);
	if (next != age) {
		flow->age = next;
		mark_open(flow->slot, next == AGE_TCP_OPEN);
	}
}

#endif

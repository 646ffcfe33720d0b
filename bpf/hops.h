/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The gateway as a router between endpoints: what has no hop left or is larger than the receiver's link takes
 * is turned away, and its sender told (RFC 1812, 5.3.1 and 4.2.2.9; RFC 1191; RFC 4443). */
#ifndef CLOCHE_HOPS_H
#define CLOCHE_HOPS_H

#include "events.h"

#define SEGMENTS_DIFFER 0xffff /* the kernel's GSO_BY_FRAGS: each segment has a length of its own */
#define UDP_HEADER 8

/* How long a packet is: bytes of headers up to the upper one, of what follows, of the upper header itself, and of payload
 * in each segment that it will be cut into, 0: it is one. */
struct extent {
	__u32 headers;
	__u32 rest;
	__u32 upper;
	__u32 segment;
};

/* Larger than a link takes: the packet, or the longest segment that it will be cut into. */
INLINE int is_longer(struct extent extent, __u32 mtu)
{
	if (likely(extent.headers + extent.rest <= mtu) || !mtu)
		return 0;
	if (!extent.segment)
		return 1;
	if (extent.segment == SEGMENTS_DIFFER)
		return 0;
	return extent.headers + extent.upper + extent.segment > mtu;
}

INLINE int is_too_big(const struct packet *p, __u32 mtu)
{
	__u32 upper = p->protocol == PROTOCOL_TCP ? p->tcp_header : UDP_HEADER;

	return is_longer((struct extent){p->l4 - ETHERNET_LENGTH, p->l4_length, upper, p->segment}, mtu);
}

/* Takes one of the owner's answers; false when it has had its share. Two CPUs may race: one more. */
INLINE int take_answer_of(struct packet *p, __u32 number)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &number);
	__u64 until;

	if (!owner)
		return 0;
	until = owner->answers_ns;
	/* In the past, or so far ahead that the clock has gone back. */
	if (until < p->now || until > p->now + (__u64)ANSWER_NS * ANSWERS_AT_ONCE)
		until = p->now;
	if (until - p->now > (__u64)ANSWER_NS * (ANSWERS_AT_ONCE - 1))
		return 0;
	owner->answers_ns = until + ANSWER_NS;
	return 1;
}

/* Denied at the receiver's door; answered where an ICMP error may be (RFC 1122, 3.2.2) and the sender, else
 * the receiver, has an answer left. */
STAGE int turn_away(__u32 reason, __u32 receiver, __u32 mtu)
{
	struct packet *p = this_packet();

	if (!p)
		return DECIDED;
	deny(p, reason);
	p->mtu = mtu;
	if (p->part != PART_LATER && !is_icmp_error(p) && take_answer_of(p, p->sender ? p->sender : receiver))
		p->delivery = DELIVER_BACK;
	return DECIDED;
}

#endif

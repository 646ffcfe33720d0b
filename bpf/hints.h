/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whose a link or an address was when it was last looked up; docs/design/quick.md. */
#ifndef CLOCHE_HINTS_H
#define CLOCHE_HINTS_H

#include "context.h"

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

/* Whose the packet's destination is, kept in mind where it is an endpoint's. */
INLINE void look_up_receiver(struct packet *p)
{
	look_up(p, &p->destination);
	if (p->destination.endpoint)
		leave_hint(address_hint(p->network, (const __u64 *)p->destination.address), p->destination.endpoint);
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

/* The open endpoint on a link, as far as hints know. */
INLINE struct endpoint *hinted_sender(__u32 ifindex, __u32 *number)
{
	struct endpoint *sender = hinted(link_hint(ifindex), number);

	return sender && sender->ifindex == ifindex ? sender : 0;
}

#endif

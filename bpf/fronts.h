/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The services once more, each where one look finds it with its first backends. docs/design/fronts.md */
#ifndef CLOCHE_FRONTS_H
#define CLOCHE_FRONTS_H

#include "context.h"

/* The first place for a service's address. */
INLINE __u32 front_place(__u32 network, const __u64 *address)
{
	return (hash_step(block_hash(network, address), address[1]) >> 32) * front_places >> 32;
}

/* False where no service's address is near. */
INLINE int may_have_front(__u32 network, const __u64 *address)
{
	__u32 index = block_hash(network, address) >> (64 - FRONT_BLOCK_BITS);
	__u64 *count = bpf_map_lookup_elem(&front_blocks, &index);

	return count && READ_ONCE(*count);
}

INLINE int is_front_of(const struct front *front, const struct packet *p)
{
	return same16(front->address, p->wire.destination) && front->network == p->network &&
	       front->port == p->wire.destination_port && front->protocol == p->protocol;
}

/* Finds the open front of the service that a packet is for. */
INLINE int find_front(struct packet *p)
{
	__u32 place = front_place(p->network, (const void *)p->wire.destination), index, i;
	struct front *front;
	__u64 word;

	for (i = 0; i < FRONT_TRIES; i++) {
		index = place + i < front_places ? place + i : place + i - front_places;
		front = bpf_map_lookup_elem(&fronts, &index);
		if (!front)
			return 0;
		word = READ_ONCE(front->word);
		/* So that the other line is on its way too. */
		(void)READ_ONCE(front->addresses[0]);
		if (FRONT_STATE(word) == FRONT_EMPTY)
			return 0;
		if (FRONT_STATE(word) == FRONT_OPEN && is_front_of(front, p)) {
			p->chosen.front = index;
			p->chosen.front_word = word;
			return 1;
		}
	}
	return 0;
}

/* Fills p->chosen with what the front says that was found, if any; false when there is none, or it has been written
 * meanwhile. */
INLINE int read_front(struct packet *p)
{
	__u32 index = p->chosen.front;
	struct front *front;

	if (!p->chosen.front_word)
		return 0;
	front = bpf_map_lookup_elem(&fronts, &index);
	if (!front)
		return 0;
	p->chosen.number = front->number;
	p->chosen.first = front->first;
	p->chosen.count = front->count;
	p->chosen.epoch = front->epoch;
	p->chosen.affinity_seconds = front->affinity_seconds;
	barrier();
	return READ_ONCE(front->word) == p->chosen.front_word;
}

/* Takes one of the backends from that front; false when it is not there, or not any more. */
INLINE int take_near(struct packet *p, __u32 choice)
{
	__u32 index = p->chosen.front;
	struct front *front;

	if (!p->chosen.front_word || choice >= FRONT_BACKENDS)
		return 0;
	front = bpf_map_lookup_elem(&fronts, &index);
	if (!front)
		return 0;
	/* The verifier has lost the limit, and the compiler would leave it out. */
	__asm__ volatile("" : "+r"(choice));
	choice &= FRONT_BACKENDS - 1;
	copy16(p->member.address, front->addresses + choice * 16);
	p->member.port = front->ports[choice];
	barrier();
	return READ_ONCE(front->word) == p->chosen.front_word;
}

#endif

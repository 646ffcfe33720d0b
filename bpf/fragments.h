/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Fragments: the first one leaves its answer, later ones take it; no byte passes twice (RFC 5722). */
#ifndef CLOCHE_FRAGMENTS_H
#define CLOCHE_FRAGMENTS_H

#include "forward.h"

#define LONGEST_DATAGRAM 65535
#define SWEEP_NS 1000000000ull

/* What a new entry begins as. */
static const volatile struct fragment blank_fragment = {};

struct sweep {
	__u64 now;
	__u64 limit;
};

INLINE int fragment_live(const struct fragment *entry, __u64 now, __u64 limit)
{
	return (__s64)(now - entry->seen_ns) < (__s64)limit;
}

static long sweep_one(void *map, const void *key, struct fragment *entry, struct sweep *sweep)
{
	if (!fragment_live(entry, sweep->now, sweep->limit))
		bpf_map_delete_elem(&fragments, key);
	return 0;
}

/* Where the table is full: expired entries go, looked for at most once a second by each CPU. */
INLINE int sweep_fragments(struct packet *p, const struct config *settings)
{
	struct sweep sweep = {.now = p->now, .limit = settings->ages[AGE_FRAGMENT]};

	if (p->swept_ns && p->now - p->swept_ns < SWEEP_NS)
		return 0;
	p->swept_ns = p->now;
	bpf_for_each_map_elem(&fragments, sweep_one, &sweep, 0);
	return 1;
}

INLINE void make_datagram_key(struct packet *p)
{
	struct fragment_key *key = &p->datagram;

	key->network = p->network;
	key->incarnation = p->sender ? p->source.incarnation : 0;
	copy16(key->source, p->wire.source);
	copy16(key->destination, p->wire.destination);
	key->id = p->fragment_id;
	*(__u32 *)&key->protocol = p->ipv6 ? 0 : p->protocol;
}

/* The fragment's bits in one word of the map of seen bytes; 0 past its end. The bounds are read anew each
 * time, so that the verifier does not follow every pair of them through the loop. */
INLINE __u64 bits_in_word(const struct packet *p, __u32 word)
{
	__u32 first = READ_ONCE(p->fragment_offset) >> 3;
	__u32 end = (READ_ONCE(p->fragment_offset) + READ_ONCE(p->fragment_length) + 7) >> 3;
	__u64 bits = ~0ull;

	if (word << 6 >= end)
		return 0;
	if (first > word << 6)
		bits <<= first & 63;
	if (end - (word << 6) < 64)
		bits &= (1ull << (end & 63)) - 1;
	return bits;
}

/* Marks the fragment's bytes in its entry; false when one was there. Looked at first, so that what is
 * refused leaves no mark; two CPUs with the same bytes are told apart by the marking. */
STAGE int mark_seen(void)
{
	struct packet *p = this_packet();
	struct fragment *entry;
	__u32 pass, i;
	__u64 clash = 0;

	if (!p)
		return 0;
	entry = bpf_map_lookup_elem(&fragments, &p->datagram);
	if (!entry)
		return 0;
	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < FRAGMENT_WORDS; i++) {
			__u64 word = (READ_ONCE(p->fragment_offset) >> 9) + i, bits = bits_in_word(p, word);

			if (!bits)
				break;
			__asm__ volatile("%0 &= 127" : "+r"(word));
			clash |= bits & (pass ? __sync_fetch_and_or(&entry->seen[word], bits) : READ_ONCE(entry->seen[word]));
		}
		if (clash)
			return 0;
	}
	return 1;
}

/* True when a place is nobody's: its occupant is gone, has another place by now, has expired, or was followed
 * for another endpoint that had this number. Whoever asks has claimed it. */
INLINE int is_vacant(struct packet *p, const struct config *settings, struct fragment_key *place, __u32 slot)
{
	struct fragment *entry = bpf_map_lookup_elem(&fragments, place);

	if (!entry || entry->slot != slot)
		return 1;
	if (place->incarnation == p->datagram.incarnation && fragment_live(entry, p->now, settings->ages[AGE_FRAGMENT]))
		return 0;
	bpf_map_delete_elem(&fragments, place);
	return 1;
}

INLINE int keep_fragment(struct packet *p, const struct config *settings, struct fragment_key *place, __u32 slot)
{
	struct fragment *entry;

	if (bpf_map_update_elem(&fragments, &p->datagram, (const void *)&blank_fragment, UPDATE_ANY) &&
	    (!sweep_fragments(p, settings) ||
	     bpf_map_update_elem(&fragments, &p->datagram, (const void *)&blank_fragment, UPDATE_ANY)))
		return 0;
	entry = bpf_map_lookup_elem(&fragments, &p->datagram);
	if (!entry)
		return 0;
	entry->seen_ns = p->now;
	entry->slot = slot;
	__builtin_memcpy(place, &p->datagram, sizeof(*place));
	return 1;
}

/* Follows one more fragmented packet, in a place of its sender's own; nothing is counted, so nothing can leak.
 * A place is claimed while it is looked at and taken: two CPUs never take the same. */
STAGE int follow(void)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct fragment_key *place;
	struct owner *owner;
	__u32 number, slot, i;
	int kept;

	if (!p || !settings)
		return 0;
	number = p->sender;
	owner = bpf_map_lookup_elem(&owners, &number);
	if (!owner)
		return 0;
	for (i = 0; i < FRAGMENTS_EACH; i++) {
		__u32 claim = 1u << i;

		slot = number * FRAGMENTS_EACH + i;
		place = bpf_map_lookup_elem(&fragment_slots, &slot);
		if (!place)
			return 0;
		if (__sync_fetch_and_or(&owner->claims, claim) & claim)
			continue;
		kept = is_vacant(p, settings, place, slot);
		if (kept)
			kept = keep_fragment(p, settings, place, slot) ? 1 : 2;
		__sync_fetch_and_and(&owner->claims, ~claim);
		if (kept)
			return kept == 1;
	}
	return 0;
}

INLINE int first_fragment(struct packet *p, const struct config *settings)
{
	struct fragment *entry = bpf_map_lookup_elem(&fragments, &p->datagram);

	if (p->cut_short || (entry && fragment_live(entry, p->now, settings->ages[AGE_FRAGMENT])))
		return deny(p, REASON_FRAGMENT_OVERLAP);
	if (!follow())
		return deny(p, REASON_FRAGMENT_TABLE_FULL);
	p->fragments_open = 1;
	return GO_ON;
}

/* The direction that a reason of policy is about. */
INLINE __u32 direction_of(__u32 reason)
{
	if (reason == REASON_EGRESS_NOT_ALLOWED || reason == REASON_EGRESS_DENIED)
		return 0;
	return reason == REASON_INGRESS_NOT_ALLOWED || reason == REASON_INGRESS_DENIED ? 1 : NEITHER_DIRECTION;
}

/* Takes the first one's answer. The receiver must still be there: its number may be another's by now. */
INLINE int take_answer(struct packet *p, const struct fragment *entry)
{
	if (entry->verdict != VERDICT_ALLOW) {
		p->asked.direction = direction_of(entry->reason);
		return deny(p, entry->reason);
	}
	p->delivery = entry->delivery;
	copy16(p->out.source, entry->new_source);
	copy16(p->out.destination, entry->new_destination);
	p->rewritten = !same16(p->out.source, p->wire.source) || !same16(p->out.destination, p->wire.destination);
	if (p->delivery == DELIVER_ENDPOINT) {
		copy16(p->destination.address, entry->new_destination);
		look_up(p, &p->destination);
		if (p->destination.endpoint != entry->endpoint)
			return deny(p, REASON_CLOSED);
		return route(p, &p->destination, 0);
	}
	return GO_ON;
}

INLINE int later_fragment(struct packet *p, const struct config *settings)
{
	struct fragment *entry = bpf_map_lookup_elem(&fragments, &p->datagram);
	__u32 have, last;
	int next;

	if (!entry || entry->verdict == VERDICT_UNSET ||
	    !fragment_live(entry, p->now, settings->ages[AGE_FRAGMENT]))
		return deny(p, REASON_FRAGMENT_FIRST_MISSING);
	if (!mark_seen())
		return deny(p, REASON_FRAGMENT_OVERLAP);
	have = __sync_fetch_and_add(&entry->have, p->fragment_length) + p->fragment_length;
	if (!p->more)
		entry->last = p->fragment_offset + p->fragment_length;
	last = READ_ONCE(entry->last);
	next = take_answer(p, entry);
	if (last && have >= last)
		bpf_map_delete_elem(&fragments, &p->datagram);
	return next;
}

/* GO_ON: a first fragment to be judged like a whole packet. A later one has its answer. */
STAGE int fragment(void)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();

	if (!p || !settings)
		return DECIDED;
	if ((p->more && p->fragment_length & 7) || p->fragment_offset + p->fragment_length > LONGEST_DATAGRAM)
		return deny(p, REASON_MALFORMED);
	make_datagram_key(p);
	if (p->part == PART_FIRST)
		return first_fragment(p, settings);
	later_fragment(p, settings);
	return DECIDED;
}

/* What a first fragment leaves for the later ones. */
STAGE int leave_for_later(void)
{
	struct packet *p = this_packet();
	struct fragment *entry;

	if (!p)
		return 0;
	entry = bpf_map_lookup_elem(&fragments, &p->datagram);
	if (!entry)
		return 0;
	entry->seen_ns = p->now;
	entry->protocol = p->protocol;
	entry->reason = p->reason;
	entry->delivery = p->verdict == VERDICT_ALLOW ? p->delivery : DELIVER_NOWHERE;
	entry->endpoint = p->to;
	entry->have = p->fragment_length;
	if (p->rewritten) {
		copy16(entry->new_source, p->out.source);
		copy16(entry->new_destination, p->out.destination);
		entry->source_port = p->out.source_port;
		entry->destination_port = p->out.destination_port;
	} else {
		copy16(entry->new_source, p->wire.source);
		copy16(entry->new_destination, p->wire.destination);
		entry->source_port = p->wire.source_port;
		entry->destination_port = p->wire.destination_port;
	}
	mark_seen();
	barrier();
	WRITE_ONCE(entry->verdict, (__u8)p->verdict);
	return 0;
}

#endif

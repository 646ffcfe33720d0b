/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whose place in the flow table a new entry takes: docs/design/flow-table.md. Each owner has a region of
 * flow_slots; flow_words says of 64 slots at a time which ones hold an open TCP flow. The bits only save looking:
 * what an occupant is, its entry says, so a stale bit costs a look and is mended by it. */
#ifndef CLOCHE_SLOTS_H
#define CLOCHE_SLOTS_H

#include "events.h"

#define NO_SLOT 0xffffffff
#define UPDATE_ANY 0
#define UPDATE_NEW 1          /* BPF_NOEXIST */
#define UPDATE_OLD 2          /* BPF_EXIST */
/* One that gives way and was not opened just now goes at once: docs/design/quick.md says why no other is looked for. One
 * that was, another CPU may have put where this one is looking: so many of them are passed over. */
#define SLOT_LOOKS 8
#define FRESH_NS 16000000
/* How many bits that say "not open" of an open flow are mended on the way. */
#define STALE_BITS 64
/* The same when the whole table is full, and only an entry that goes makes room. */
#define SLOT_LOOKS_FULL 128
/* How many are looked at, whatever the bits say, before an open flow goes. */
#define SLOT_PROBES 8

INLINE int is_live(const struct flow *flow, __u64 now, const struct config *settings)
{
	__u32 age = flow->age;

	return age < AGE_COUNT && (__s64)(now - flow->seen_ns) < (__s64)settings->ages[age];
}

/* Says of a slot whether it holds an open TCP flow. */
INLINE void mark_open(__u32 slot, __u32 open)
{
	__u32 index = slot >> 6;
	struct flow_word *word = bpf_map_lookup_elem(&flow_words, &index);
	__u64 bit = 1ull << (slot & 63);

	if (!word || !!(READ_ONCE(word->open) & bit) == !!open)
		return;
	if (open)
		__sync_fetch_and_or(&word->open, bit);
	else
		__sync_fetch_and_and(&word->open, ~bit);
}

/* A claimed slot is one CPU's to look at and to take; nobody waits for another, whoever comes second goes on. */
INLINE int claim(struct flow_word *word, __u32 slot)
{
	__u64 bit = 1ull << (slot & 63);

	return !(__sync_fetch_and_or(&word->claimed, bit) & bit);
}

/* Claims a slot that is taken, so that nothing more is taken there; false when another CPU has it. */
INLINE int hold(__u32 slot)
{
	__u32 index = slot >> 6;
	struct flow_word *word = bpf_map_lookup_elem(&flow_words, &index);

	return word && claim(word, slot);
}

INLINE void release(__u32 slot)
{
	__u32 index = slot >> 6;
	struct flow_word *word = bpf_map_lookup_elem(&flow_words, &index);

	if (word)
		__sync_fetch_and_and(&word->claimed, ~(1ull << (slot & 63)));
}

enum occupant { OCCUPANT_NONE, OCCUPANT_EXPIRED, OCCUPANT_GIVES_WAY, OCCUPANT_FRESH, OCCUPANT_OPEN };

/* Live, but no open TCP flow: it goes before those do, one that was opened just now last. */
INLINE int gives_way(enum occupant occupant)
{
	return occupant == OCCUPANT_GIVES_WAY || occupant == OCCUPANT_FRESH;
}

/* Who has a slot. */
INLINE enum occupant occupant_of(const struct config *settings, __u64 now, __u32 slot, __u64 *expires)
{
	struct flow_key *key = bpf_map_lookup_elem(&flow_slots, &slot);
	struct flow *flow = key ? bpf_map_lookup_elem(&flows, key) : 0;

	if (!flow || flow->slot != slot)
		return OCCUPANT_NONE;
	if (!is_live(flow, now, settings))
		return OCCUPANT_EXPIRED;
	*expires = flow->seen_ns + settings->ages[AGE_TCP_OPEN];
	if (flow->age == AGE_TCP_OPEN)
		return OCCUPANT_OPEN;
	return (__s64)(now - flow->opened_ns) < FRESH_NS ? OCCUPANT_FRESH : OCCUPANT_GIVES_WAY;
}

INLINE void walk(struct search *search, __u32 slots)
{
	search->walked += slots;
	search->at += slots;
	if (search->at >= search->count)
		search->at = 0;
}

/* 0 or 1, as a callback must return: the compiler knows it of a function, the verifier does not. */
INLINE __u64 as_flag(__u64 value)
{
	__asm__ volatile("%0 &= 1" : "+r"(value));
	return value;
}

/* A claimed slot that is not free is kept, to be taken if none is, or released. */
INLINE void keep(struct search *search, __u32 slot, enum occupant occupant)
{
	if (search->second != NO_SLOT && !(search->fresh && occupant == OCCUPANT_GIVES_WAY)) {
		release(slot);
		return;
	}
	if (search->second != NO_SLOT)
		release(search->second);
	search->second = slot;
	search->fresh = occupant == OCCUPANT_FRESH;
}

/* Claims a slot and looks who has it. True: the search is at its end. In a probe the first open one is kept too,
 * to go where all are. */
STAGE int examine(__u32 slot, __u32 probing)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	__u32 index = slot >> 6;
	struct flow_word *word = bpf_map_lookup_elem(&flow_words, &index);
	struct search *search;
	enum occupant occupant;
	__u64 expires;

	if (!p || !settings || !word || !claim(word, slot))
		return 0;
	search = &p->search;
	occupant = occupant_of(settings, p->now, slot, &expires);
	if (occupant != OCCUPANT_OPEN)
		search->looks--;
	if (occupant == OCCUPANT_EXPIRED || (occupant == OCCUPANT_NONE && !search->full) ||
	    (gives_way(occupant) && probing)) {
		search->found = slot;
		search->occupied = occupant != OCCUPANT_NONE;
		return 1;
	}
	if (occupant == OCCUPANT_NONE || (occupant == OCCUPANT_OPEN && !probing))
		release(slot);
	else
		keep(search, slot, occupant);
	if (occupant == OCCUPANT_OPEN)
		mark_open(slot, 1);
	return !probing && (!search->looks || (occupant == OCCUPANT_GIVES_WAY && !search->full));
}

/* One step: the next slot whose bit is clear, else the end of the word or of the region. */
static long look_on(__u32 step, void *nothing)
{
	struct packet *p = this_packet();
	__u32 slot, index, from, span, left, skip;
	struct search *search;
	struct flow_word *word;
	__u64 clear;

	if (!p)
		return 1;
	search = &p->search;
	if (search->walked >= search->count)
		return 1;
	slot = search->first + search->at;
	index = slot >> 6;
	from = slot & 63;
	span = 64 - from;
	left = search->count - search->at;
	word = bpf_map_lookup_elem(&flow_words, &index);
	if (!word)
		return 1;
	clear = ~(READ_ONCE(word->open) | READ_ONCE(word->claimed)) >> from;
	if (span > left)
		span = left;
	if (span < 64)
		clear &= (1ull << (span & 63)) - 1;
	if (!clear) {
		walk(search, span);
		return 0;
	}
	skip = __builtin_ctzll(clear);
	walk(search, skip + 1);
	return as_flag(examine(slot + skip, 0));
}

/* When an open flow's slot will be free; 0: it is, or its occupant is not open. */
STAGE __u64 expiry_of(__u32 slot, __u64 now)
{
	struct config *settings = this_config();
	__u64 expires = 0;

	if (!settings || occupant_of(settings, now, slot, &expires) != OCCUPANT_OPEN)
		return 0;
	return expires;
}

/* Looks at 64 slots that are said to be open, when one of them may have expired; true when one is not open. */
STAGE int mend_word(__u32 index)
{
	struct flow_word *word = bpf_map_lookup_elem(&flow_words, &index);
	struct config *settings = this_config();
	struct packet *p = this_packet();
	__u64 expires, open;
	__u32 i;

	if (!p || !word || !settings || (__s64)(p->now - READ_ONCE(word->until_ns)) < 0)
		return 0;
	open = READ_ONCE(word->open);
	p->search.stale = 0;
	p->search.soonest = p->now + settings->ages[AGE_TCP_OPEN];
	for (i = 0; i < 64; i++) {
		if (!(open >> i & 1))
			continue;
		expires = expiry_of(index << 6 | i, p->now);
		if (!expires)
			p->search.stale |= 1ull << i;
		else if ((__s64)(expires - p->search.soonest) < 0)
			p->search.soonest = expires;
	}
	barrier();
	WRITE_ONCE(word->until_ns, p->search.stale ? p->now : p->search.soonest);
	__sync_fetch_and_and(&word->open, ~p->search.stale);
	return p->search.stale != 0;
}

static long mend_on(__u32 step, void *nothing)
{
	struct packet *p = this_packet();


	return p ? as_flag(mend_word((p->search.first >> 6) + step)) : 1;
}

/* Whatever the bits say: the first that is not open, else the first at all. */
STAGE int probe(void)
{
	struct packet *p = this_packet();
	__u32 i;

	if (!p)
		return 0;
	for (i = 0; i < SLOT_PROBES; i++) {
		__u32 slot = p->search.first + p->search.at;

		walk(&p->search, 1);
		if (examine(slot, 1))
			return 1;
	}
	return 0;
}

/* From the hand once round the region; true when a slot is found. */
STAGE int seek(__u32 hand)
{
	struct packet *p = this_packet();
	struct search *search;

	if (!p)
		return 0;
	search = &p->search;
	if (!search->count)
		return 0;
	search->at = hand % search->count;
	search->walked = 0;
	search->looks = search->full ? SLOT_LOOKS_FULL : SLOT_LOOKS;
	if (!look_on(0, 0))
		bpf_loop((search->count >> 6) + 2 + search->looks + STALE_BITS, look_on, 0, 0);
	return search->found != NO_SLOT || search->second != NO_SLOT;
}

/* The slot that is taken is claimed and its occupant gone; the hand stands behind it, unless another CPU has moved it
 * meanwhile: it never goes back to what was just taken. */
INLINE __u32 take(struct search *search, struct owner *owner, __u32 hand)
{
	__u32 slot = search->found;
	struct flow_key *key;

	if (slot == NO_SLOT) {
		slot = search->second;
		search->occupied = 1;
	} else if (search->second != NO_SLOT) {
		release(search->second);
	}
	if (slot == NO_SLOT)
		return NO_SLOT;
	key = search->occupied ? bpf_map_lookup_elem(&flow_slots, &slot) : 0;
	if (key) {
		struct flow *flow = bpf_map_lookup_elem(&flows, key);

		if (flow && flow->slot == slot)
			bpf_map_delete_elem(&flows, key);
	}
	mark_open(slot, 0);
	__sync_val_compare_and_swap(&owner->hand, hand, slot - search->first + 1);
	return slot;
}

/* A slot of an owner's, claimed and empty: never an open TCP flow's while another of its region is free, has
 * expired, or holds anything else. NO_SLOT where it has none; "full", the whole table is: where none but open
 * flows are its own. */
STAGE __u32 take_slot(__u32 number, __u32 full)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &number);
	struct owner *owner = bpf_map_lookup_elem(&owners, &number);
	struct search *search;
	__u32 hand;

	if (!p || !settings || !endpoint || !owner || !endpoint->slot_count)
		return NO_SLOT;
	search = &p->search;
	search->first = endpoint->slot_first;
	search->count = endpoint->slot_count;
	search->found = NO_SLOT;
	search->second = NO_SLOT;
	search->full = full;
	hand = READ_ONCE(owner->hand);
	if (!seek(hand)) {
		bpf_loop((search->count >> 6) + 2, mend_on, 0, 0);
		if (!seek(hand) && !full)
			probe();
	}
	return take(search, owner, hand);
}

#endif

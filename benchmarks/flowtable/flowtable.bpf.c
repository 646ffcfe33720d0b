/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Candidates for the flow table, each asked to look up, to insert, and to insert where there is no room, with the
 * keys and values of bpf/types.h. One run of a program is one operation on the entry that "state" leads to; the "empty" program does
 * all but the operation. */
#include "../../bpf/helpers.h"
#include "../../bpf/types.h"

#define OWNERS 110
#define QUOTA 1024
#define ENTRIES (OWNERS * QUOTA)
#define SLOT_PROBES 8
#define NOEXIST 1

#define __array(name, value) __typeof__(value) *name[]

struct state {
	__u64 counter; /* moves on with every run */
	__u64 done;    /* operations that succeeded */
	__u64 first;   /* number of the first entry meant */
	__u64 count;   /* how many entries are meant: a look-up picks any of them */
	__u32 only;    /* not 0: all entries are this owner's (its number + 1) */
	__u32 age;     /* what entries are put in as */
};

#define TABLE(name, kind, entries, flags) \
	struct { \
		__uint(type, kind); \
		__type(key, struct flow_key); \
		__type(value, struct flow); \
		__uint(max_entries, entries); \
		__uint(map_flags, flags); \
	} name SEC(".maps")
#define ARRAY(name, value_type, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__type(key, __u32); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
	} name SEC(".maps")

struct own_table {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, QUOTA);
};
#define OUTER(name, kind) \
	struct { \
		__uint(type, kind); \
		__type(key, __u32); \
		__uint(value_size, 4); \
		__uint(max_entries, OWNERS); \
		__array(values, struct own_table); \
	} name SEC(".maps")

ARRAY(state, struct state, 1);
ARRAY(slots, struct flow_key, ENTRIES);
ARRAY(hands, __u32, OWNERS);
TABLE(hash, BPF_MAP_TYPE_HASH, ENTRIES, 0);
TABLE(lazy, BPF_MAP_TYPE_HASH, ENTRIES, BPF_F_NO_PREALLOC);
TABLE(lru, BPF_MAP_TYPE_LRU_HASH, ENTRIES, 0);
OUTER(own_by_hash, BPF_MAP_TYPE_HASH_OF_MAPS);
OUTER(own_by_array, BPF_MAP_TYPE_ARRAY_OF_MAPS);

struct work {
	struct state *state;
	struct flow_key key;
	__u32 owner;
};

/* The key of entry number n, and whose it is. */
INLINE void entry(struct work *work, __u64 n)
{
	struct flow_key *key = &work->key;

	work->owner = work->state->only ? work->state->only - 1 : n % OWNERS;
	__builtin_memset(key, 0, sizeof(*key));
	key->network = 1;
	key->low_incarnation = work->owner + 1;
	key->low_port = 80;
	key->high_port = n;
	*(__u32 *)(key->low + 12) = work->owner;
	*(__u32 *)(key->high + 12) = n >> 16;
	key->protocol = 6;
}

enum pick { IN_TURN, AT_RANDOM };

INLINE int begin(struct work *work, enum pick pick)
{
	__u32 zero = 0;
	__u64 n;

	work->state = bpf_map_lookup_elem(&state, &zero);
	if (!work->state)
		return 0;
	n = work->state->counter++;
	if (pick == AT_RANDOM) {
		n *= 0x9E3779B97F4A7C15ULL;
		n = ((n >> 32) * work->state->count) >> 32;
	}
	entry(work, work->state->first + n);
	return 1;
}

INLINE void fresh(struct work *work, struct flow *flow, __u32 slot)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->generation = 1;
	flow->age = work->state->age;
	flow->owner = work->owner;
	flow->slot = slot;
}

INLINE int put(struct work *work, void *table, __u32 slot)
{
	struct flow flow;

	if (!table)
		return 0;
	fresh(work, &flow, slot);
	if (bpf_map_update_elem(table, &work->key, &flow, NOEXIST))
		return 0;
	work->state->done++;
	return 0;
}

INLINE int find(struct work *work, void *table)
{
	struct flow *flow = table ? bpf_map_lookup_elem(table, &work->key) : 0;

	if (flow && flow->generation == 1)
		work->state->done++;
	return 0;
}

/* The owner's next slot whose occupant gives way, its occupant removed; the first one looked at when none does. */
INLINE int put_in_slot(struct work *work, void *table)
{
	__u32 owner = work->owner, slot, chosen = 0, found = 0, i;
	__u32 *hand = bpf_map_lookup_elem(&hands, &owner);
	struct flow_key *key;
	struct flow *flow;

	if (!hand)
		return 0;
	for (i = 0; i < SLOT_PROBES && !found; i++) {
		slot = owner * QUOTA + __sync_fetch_and_add(hand, 1) % QUOTA;
		key = bpf_map_lookup_elem(&slots, &slot);
		if (!key)
			return 0;
		flow = bpf_map_lookup_elem(table, key);
		if (!flow || flow->slot != slot || flow->age != AGE_TCP_OPEN)
			found = 1;
		if (found || !i)
			chosen = slot;
	}
	key = bpf_map_lookup_elem(&slots, &chosen);
	if (!key)
		return 0;
	bpf_map_delete_elem(table, key);
	__builtin_memcpy(key, &work->key, sizeof(*key));
	return put(work, table, chosen);
}

INLINE void *own(struct work *work, void *outer)
{
	return bpf_map_lookup_elem(outer, &work->owner);
}

SEC("tc") int empty_random(struct __sk_buff *skb)
{
	struct work work;

	return begin(&work, AT_RANDOM) ? 0 : 1;
}

SEC("tc") int empty_in_turn(struct __sk_buff *skb)
{
	struct work work;
	struct flow flow;

	if (!begin(&work, IN_TURN))
		return 1;
	fresh(&work, &flow, 0);
	barrier();
	return flow.age == 255;
}

#define OPERATION(name, pick, action) \
	SEC("tc") int name(struct __sk_buff *skb) \
	{ \
		struct work work; \
		return begin(&work, pick) ? action : 1; \
	}

OPERATION(hash_find, AT_RANDOM, find(&work, &hash))
OPERATION(hash_see, IN_TURN, find(&work, &hash))
OPERATION(hash_put, IN_TURN, put_in_slot(&work, &hash))
OPERATION(lazy_find, AT_RANDOM, find(&work, &lazy))
OPERATION(lazy_see, IN_TURN, find(&work, &lazy))
OPERATION(lazy_put, IN_TURN, put_in_slot(&work, &lazy))
OPERATION(lru_find, AT_RANDOM, find(&work, &lru))
OPERATION(lru_see, IN_TURN, find(&work, &lru))
OPERATION(lru_put, IN_TURN, put(&work, &lru, 0))
OPERATION(own_by_hash_find, AT_RANDOM, find(&work, own(&work, &own_by_hash)))
OPERATION(own_by_hash_see, IN_TURN, find(&work, own(&work, &own_by_hash)))
OPERATION(own_by_hash_put, IN_TURN, put(&work, own(&work, &own_by_hash), 0))
OPERATION(own_by_array_find, AT_RANDOM, find(&work, own(&work, &own_by_array)))
OPERATION(own_by_array_see, IN_TURN, find(&work, own(&work, &own_by_array)))
OPERATION(own_by_array_put, IN_TURN, put(&work, own(&work, &own_by_array), 0))

char _license[] SEC("license") = "Dual BSD/GPL";

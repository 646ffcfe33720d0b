/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The maps. Sizes are defaults: the loader sets them, and the constants below, before it loads. */
#ifndef CLOCHE_MAPS_H
#define CLOCHE_MAPS_H

#include "helpers.h"
#include "reasons.h"
#include "types.h"

/* rows is indexed set * max_classes + class. */
const volatile __u32 max_classes = 4096;
/* How many places fronts has. */
const volatile __u32 front_places = 131072;
/* The network of what comes in from the uplinks. */
const volatile __u32 uplink_network = 1;

/* While a new layout takes over (docs/design/upgrades.md): programs wait for the gate, and flows that are
 * not there yet are brought from the table of the layout before. Else all of this is zero, and the
 * verifier leaves out what it guards. */
const volatile __u32 has_gate = 0;
const volatile __u32 has_old_flows = 0;
/* For each byte of an old key where it is in ours, and of our flow where it is in an old one: its place + 1,
 * 0: nowhere. */
#define OLD_KEY_ROOM 128
#define FLOW_ROOM 255
const volatile __u8 old_key_from[OLD_KEY_ROOM] = {};
const volatile __u8 flow_from[FLOW_ROOM] = {};
const volatile __u32 old_flow_size = 0;
/* So that the object tells of this layout too. */
const volatile struct event layout_of_events = {};

#define ARRAY_MAP(name, value_type, entries, flags) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__type(key, __u32); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
		__uint(map_flags, flags); \
	} name SEC(".maps")
#define KEYED_MAP(name, kind, key_type, value_type, entries, flags) \
	struct { \
		__uint(type, kind); \
		__type(key, key_type); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
		__uint(map_flags, flags); \
	} name SEC(".maps")

ARRAY_MAP(config, struct config, 1, BPF_F_MMAPABLE);
KEYED_MAP(links, BPF_MAP_TYPE_HASH, __u32, __u32, 1024, BPF_F_NO_PREALLOC);
ARRAY_MAP(endpoints, struct endpoint, 1024, BPF_F_MMAPABLE);
KEYED_MAP(addresses, BPF_MAP_TYPE_HASH, struct address_key, struct address, 65536, BPF_F_NO_PREALLOC);
ARRAY_MAP(address_blocks, __u64, 1 << (ADDRESS_BLOCK_BITS - 6), BPF_F_MMAPABLE);
ARRAY_MAP(prefixes, struct prefix, 32768, BPF_F_MMAPABLE);
ARRAY_MAP(prefix_keys, struct prefix_key, 32768, BPF_F_MMAPABLE);
ARRAY_MAP(prefix_nodes, __u64, (2 * NETWORKS + 4 * 32768) * NODE_SLOTS, BPF_F_MMAPABLE);
ARRAY_MAP(atoms, __u64, ATOMS_SIZE, BPF_F_MMAPABLE);
ARRAY_MAP(rows, __u64, 512 * 4096, BPF_F_MMAPABLE);
ARRAY_MAP(cells, struct unit, 4 * 1024 * 1024 / ROW_UNIT, BPF_F_MMAPABLE);
ARRAY_MAP(heads, struct head, 4 * 1024 * 1024 / ROW_UNIT, BPF_F_MMAPABLE);
ARRAY_MAP(sets, struct set, 512, BPF_F_MMAPABLE);
KEYED_MAP(names, BPF_MAP_TYPE_HASH, struct name_key, struct name_entry, 4096, BPF_F_NO_PREALLOC);
KEYED_MAP(services, BPF_MAP_TYPE_HASH, struct service_key, struct service, 65536, BPF_F_NO_PREALLOC);
ARRAY_MAP(backends, struct backend, 262144, BPF_F_MMAPABLE);
ARRAY_MAP(fronts, struct front, 131072, BPF_F_MMAPABLE);
ARRAY_MAP(front_blocks, __u64, 1 << FRONT_BLOCK_BITS, BPF_F_MMAPABLE);
KEYED_MAP(members, BPF_MAP_TYPE_HASH, struct member_key, __u32, 262144, BPF_F_NO_PREALLOC);
KEYED_MAP(affinity, BPF_MAP_TYPE_LRU_HASH, struct affinity_key, struct affinity, 65536, 0);
KEYED_MAP(flows, BPF_MAP_TYPE_HASH, struct flow_key, struct flow, 262144, 0);
ARRAY_MAP(flow_slots, struct flow_key, 1024 * 1024, 0);
ARRAY_MAP(flow_words, struct flow_word, 1024 * 1024 / 64, 0);
ARRAY_MAP(owners, struct owner, 1024, 0);
KEYED_MAP(fragments, BPF_MAP_TYPE_HASH, struct fragment_key, struct fragment, 4096, 0);
ARRAY_MAP(fragment_slots, struct fragment_key, 1024 * FRAGMENTS_EACH, 0);
KEYED_MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counter, 65536, 0);
KEYED_MAP(reasons, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, REASON_COUNT, 0);
ARRAY_MAP(hints, __u32, 2 * HINTS, 0);
ARRAY_MAP(gate, __u32, 1, BPF_F_MMAPABLE);
KEYED_MAP(old_flows, BPF_MAP_TYPE_HASH, __u32, __u32, 1, BPF_F_NO_PREALLOC);
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} events SEC(".maps");

#endif

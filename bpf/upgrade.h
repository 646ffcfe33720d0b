/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* While a new layout takes over: who waits for the gate, and how flows come over. docs/design/upgrades.md */
#ifndef CLOCHE_UPGRADE_H
#define CLOCHE_UPGRADE_H

#include "context.h"

_Static_assert(sizeof(struct flow) <= FLOW_ROOM, "flow_from has a place for each byte");
_Static_assert(sizeof(struct flow_key) < 255, "old_key_from names each byte");

/* True while the programs that are to be replaced still judge. */
INLINE int is_waiting(void)
{
	__u32 zero = 0, *open;

	if (!has_gate)
		return 0;
	open = bpf_map_lookup_elem(&gate, &zero);
	return !open || !READ_ONCE(*open);
}

/* Copies a flow that only the old table has into ours, in the slot that it had. Always 0. */
STAGE int bring_flow(__u32 translation)
{
	struct packet *p = this_packet();
	struct flow_key *key;
	__u8 *old, *fresh;
	__u32 i;

	if (!p)
		return 0;
	key = translation ? &p->translation : &p->key;
	if (bpf_map_lookup_elem(&flows, key))
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < OLD_KEY_ROOM; i++) {
		__u32 from = old_key_from[i];

		p->old_key[i] = from && from <= sizeof(*key) ? ((__u8 *)key)[from - 1] : 0;
	}
	old = bpf_map_lookup_elem(&old_flows, p->old_key);
	if (!old)
		return 0;
	fresh = (__u8 *)&p->fresh;
#pragma clang loop unroll(disable)
	for (i = 0; i < sizeof(struct flow); i++) {
		__u32 from = flow_from[i];

		fresh[i] = from && from <= old_flow_size ? old[from - 1] : 0;
	}
	bpf_map_update_elem(&flows, key, &p->fresh, 1 /* BPF_NOEXIST */);
	return 0;
}

/* The entry under p->key or p->translation, or NULL. */
INLINE struct flow *find_flow(struct packet *p, struct flow_key *key)
{
	if (has_old_flows)
		bring_flow(key == &p->translation);
	return bpf_map_lookup_elem(&flows, key);
}

#endif

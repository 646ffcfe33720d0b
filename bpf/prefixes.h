/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The longest block that an address is in: a tree of nodes with a slot for each four bits (docs/design/prefixes.md).
 * It is written slot by slot, and each single write leaves every address in the block it was in before or will be in. */
#ifndef CLOCHE_PREFIXES_H
#define CLOCHE_PREFIXES_H

#include "context.h"

#define STEP_BITS 4
#define WORD_STEPS 16

INLINE int is_ipv4(const void *address)
{
	return ((const __u64 *)address)[0] == 0 && ((const __u32 *)address)[2] == 0xffff0000;
}

/* The number of the longest block for some bits of an address, beginning at a node; "*node" is the one to go on
 * with after 64 bits, else 0. There are no more branches than have to be: the verifier follows each. */
INLINE __u32 descend(__u64 bits, __u32 *node, __u32 number)
{
	__u32 left = WORD_STEPS, i, index, block, none, skip;
	__u64 *slot, found;

	for (i = 0; i < WORD_STEPS && left; i++) {
		index = *node * NODE_SLOTS + (__u32)(bits >> (64 - STEP_BITS));
		*node = 0;
		slot = bpf_map_lookup_elem(&prefix_nodes, &index);
		if (!slot)
			break;
		found = READ_ONCE(*slot);
		block = SLOT_BLOCK(found);
		none = (__u32)((__s32)(block - 1) >> 31);
		number = block | (number & none);
		if (!SLOT_CHILD(found))
			break;
		skip = SLOT_SKIP(found);
		bits <<= STEP_BITS;
		if ((bits >> 1) >> (63 - skip * STEP_BITS) != SLOT_PATTERN(found))
			break;
		bits <<= skip * STEP_BITS;
		left -= 1 + skip;
		*node = SLOT_CHILD(found);
	}
	return number;
}

STAGE __u32 block_number(__u64 high, __u64 low, __u32 node)
{
	__u32 number = descend(high, &node, 0);

	return node ? descend(low, &node, number) : number;
}

/* What prefixes says of an address, or NULL. */
INLINE struct prefix *look_up_prefix(const struct packet *p, const void *address)
{
	__u64 high = swap64(((const __u64 *)address)[0]), low = swap64(((const __u64 *)address)[1]);
	__u32 number;

	if (p->network >= NETWORKS)
		return 0;
	if (is_ipv4(address))
		number = block_number(low << 32, 0, ROOT_NODE(p->network, 0));
	else
		number = block_number(high, low, ROOT_NODE(p->network, 1));
	return number ? bpf_map_lookup_elem(&prefixes, &number) : 0;
}

INLINE int is_ours(struct packet *p, const void *address)
{
	struct prefix *found = look_up_prefix(p, address);

	return found && found->flags & PREFIX_OURS;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* First-packet classification, one direction: the datapath's own judge() asked about prepared packets, in batches,
 * so that what a test run itself costs vanishes. "empty" does all but ask; "just_addresses", "just_prefixes" and "just_cells"
 * do one of the parts of judge() each, on the same packets: what it spends its time on. */
#include "../../bpf/policy.h"

#define QUESTIONS 65536
#define BATCH 64

struct prepared {
	__u8 address[16];         /* the other end's */
	__u32 endpoint;           /* who sends */
	__u32 atom_index;
	__u32 class_;             /* of the address, as it will be found */
	__u32 set;                /* the sender's */
};
struct measured {
	__u64 next;               /* the question to go on with */
	__u64 allowed;
	__u64 denied;
	__u64 mask;               /* questions are those whose number is within it: 0 asks one again and again */
};

ARRAY_MAP(prepared, struct prepared, QUESTIONS, 0);
ARRAY_MAP(tally, struct measured, 1, 0);

char _license[] SEC("license") = "Dual BSD/GPL";

enum part_of_it { NOTHING, ALL, ADDRESSES, PREFIXES, CELLS };

/* One question's verdict, or something that depends on what was read. */
INLINE __u32 ask_for(struct packet *p, const struct prepared *question, enum part_of_it what)
{
	struct prefix *prefix;
	__u32 index, atom = 0;
	__u64 *word;

	switch (what) {
	case ALL:
		return judge() == VERDICT_ALLOW;
	case ADDRESSES:
		look_up(p, &p->asked.destination);
		return p->asked.destination.class_ != 0;
	case PREFIXES:
		prefix = look_up_prefix(p, question->address);
		return prefix && at_generation(READ_ONCE(prefix->class_), p->generation) > 1;
	case CELLS:
		index = question->atom_index;
		word = bpf_map_lookup_elem(&atoms, &index);
		if (word)
			atom = at_generation(READ_ONCE(*word), p->generation);
		return CELL_VERDICT(cell_of(question->set, question->class_, atom, p->generation)) == VERDICT_ALLOW;
	default:
		return 0;
	}
}

INLINE int batch(enum part_of_it what)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	__u32 zero = 0, i, at, allowed = 0;
	struct measured *measured = bpf_map_lookup_elem(&tally, &zero);
	struct prepared *question;

	if (!p || !settings || !measured)
		return 0;
	p->generation = READ_ONCE(settings->generation);
	p->network = 1;
	for (i = 0; i < BATCH; i++) {
		at = (measured->next + i) & measured->mask;
		question = bpf_map_lookup_elem(&prepared, &at);
		if (!question)
			return 0;
		p->asked.source.endpoint = question->endpoint;
		p->asked.destination.endpoint = 0;
		p->asked.destination.looked_up = 0;
		copy16(p->asked.destination.address, question->address);
		p->asked.atom_index = question->atom_index;
		allowed += ask_for(p, question, what);
	}
	measured->next += BATCH;
	measured->allowed += allowed;
	measured->denied += what ? BATCH - allowed : 0;
	return 0;
}

SEC("tc") int classify(struct __sk_buff *skb)
{
	return batch(ALL);
}

SEC("tc") int empty(struct __sk_buff *skb)
{
	return batch(NOTHING);
}

SEC("tc") int just_addresses(struct __sk_buff *skb)
{
	return batch(ADDRESSES);
}

SEC("tc") int just_prefixes(struct __sk_buff *skb)
{
	return batch(PREFIXES);
}

SEC("tc") int just_cells(struct __sk_buff *skb)
{
	return batch(CELLS);
}

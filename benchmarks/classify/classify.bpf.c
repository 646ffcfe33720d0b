/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* First-packet classification, one direction: the datapath's own judge() asked about prepared packets, in batches,
 * so that what a test run itself costs vanishes. "empty" does all but ask. */
#include "../../bpf/policy.h"

#define QUESTIONS 65536
#define BATCH 64

struct prepared {
	__u8 address[16];         /* the other end's */
	__u32 endpoint;           /* who sends */
	__u32 atom_index;
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

INLINE int batch(int asks)
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
		if (asks)
			allowed += judge() == VERDICT_ALLOW;
	}
	measured->next += BATCH;
	measured->allowed += allowed;
	measured->denied += asks ? BATCH - allowed : 0;
	return 0;
}

SEC("tc") int classify(struct __sk_buff *skb)
{
	return batch(1);
}

SEC("tc") int empty(struct __sk_buff *skb)
{
	return batch(0);
}

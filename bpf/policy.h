/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What policy says of a source, a destination and an atom: both directions, egress first. */
#ifndef CLOCHE_POLICY_H
#define CLOCHE_POLICY_H

#include "parse.h"
#include "prefixes.h"

INLINE __u32 slot_of(const struct packet *p)
{
	if (p->protocol == PROTOCOL_TCP)
		return SLOT_TCP;
	if (p->protocol == PROTOCOL_UDP)
		return SLOT_UDP;
	if (p->protocol == PROTOCOL_SCTP)
		return SLOT_SCTP;
	if (is_icmp_protocol(p))
		return p->ipv6 ? SLOT_ICMPV6 : SLOT_ICMP;
	return SLOT_OTHER;
}

/* Index into atoms, for this destination port (or ICMP type and code). */
INLINE __u32 atom_index(const struct packet *p, __u32 port, __u32 icmp)
{
	__u32 slot = slot_of(p);

	if (slot == SLOT_OTHER)
		return slot << 16 | p->protocol;
	return slot << 16 | (slot == SLOT_ICMP || slot == SLOT_ICMPV6 ? icmp & 0xffff : port & 0xffff);
}

/* The class of an end: its own entry's, else its prefix's. */
INLINE __u32 class_of(struct packet *p, struct end *end, __u32 host_counts)
{
	struct prefix *prefix;

	if (!end->looked_up)
		look_up(p, end);
	if (end->class_ && (host_counts || !(end->flags & ADDRESS_HOST)))
		return end->class_;
	prefix = look_up_prefix(p, end->address);
	return prefix ? at_generation(READ_ONCE(prefix->class_), p->generation) : 0;
}

INLINE __u32 cell_of(__u32 set, __u32 class_, __u32 atom, __u64 generation)
{
	__u32 index, group = atom / GROUP_CELLS;
	struct head *head;
	struct unit *unit;
	__u64 *row;

	if (!class_ || class_ >= max_classes)
		return 0;
	index = set * max_classes + class_;
	row = bpf_map_lookup_elem(&rows, &index);
	if (!row)
		return 0;
	index = at_generation(READ_ONCE(*row), generation);
	if (!index)
		return 0;
	head = bpf_map_lookup_elem(&heads, &index);
	if (!head)
		return 0;
	if (group < GROUPS && !(READ_ONCE(head->groups) >> group & 1))
		return READ_ONCE(head->common);
	index = head->first + atom / ROW_UNIT;
	unit = bpf_map_lookup_elem(&cells, &index);
	return unit ? READ_ONCE(unit->cells[atom % ROW_UNIT]) : 0;
}

/* What a domain name's look-up added for this endpoint: an allowing cell, or 0. */
INLINE __u32 name_cell(struct packet *p, __u32 set, __u32 endpoint, const __u8 *other)
{
	struct set *entry = bpf_map_lookup_elem(&sets, &set);
	struct name_entry *found;

	if (!entry || !(entry->flags & SET_NAMES))
		return 0;
	p->name.endpoint = endpoint;
	copy16(p->name.address, other);
	found = bpf_map_lookup_elem(&names, &p->name);
	if (!found || found->expires_ns <= p->now || CELL_VERDICT(found->cell) != VERDICT_ALLOW)
		return 0;
	return found->cell;
}

INLINE void count_rule(__u32 set, __u32 rule, __u32 allowed)
{
	struct set *entry = bpf_map_lookup_elem(&sets, &set);
	struct counter *counter;
	__u32 index;

	if (!set || !entry || rule >= entry->rules)
		return;
	index = entry->counter_first + rule;
	counter = bpf_map_lookup_elem(&counters, &index);
	if (!counter)
		return;
	if (allowed)
		counter->allowed++;
	else
		counter->denied++;
}

INLINE __u32 cell_reason(__u32 cell, __u32 not_allowed, __u32 denied)
{
	if (CELL_VERDICT(cell) == VERDICT_ALLOW)
		return REASON_NONE;
	if (CELL_VERDICT(cell) != VERDICT_DENY)
		return REASON_UNKNOWN_CLASS;
	return CELL_RULE(cell) ? denied : not_allowed;
}

/* Answers p->asked. */
STAGE int judge(void)
{
	struct packet *p = this_packet();
	struct question *asked;
	struct endpoint *endpoint;
	__u32 atom = 0, number, cell, index;
	__u64 *word;

	if (!p)
		return VERDICT_DENY;
	asked = &p->asked;
	asked->judged = 1;
	asked->egress_set = 0;
	asked->egress_rule = 0;
	asked->ingress_set = 0;
	asked->ingress_rule = 0;
	asked->source_class = 0;
	asked->destination_class = 0;
	asked->reason = REASON_NONE;
	asked->direction = NEITHER_DIRECTION;
	asked->verdict = VERDICT_ALLOW;
	index = asked->atom_index;
	word = bpf_map_lookup_elem(&atoms, &index);
	if (word)
		atom = at_generation(READ_ONCE(*word), p->generation);
	asked->atom = atom;

	number = asked->source.endpoint;
	endpoint = number ? bpf_map_lookup_elem(&endpoints, &number) : 0;
	if (endpoint)
		asked->egress_set = at_generation(READ_ONCE(endpoint->egress), p->generation);
	if (asked->egress_set) {
		cell = name_cell(p, asked->egress_set, number, asked->destination.address);
		asked->destination_class = class_of(p, &asked->destination, 1);
		if (!cell)
			cell = cell_of(asked->egress_set, asked->destination_class, atom, p->generation);
		asked->egress_rule = CELL_RULE(cell);
		asked->reason = cell_reason(cell, REASON_EGRESS_NOT_ALLOWED, REASON_EGRESS_DENIED);
		if (asked->reason) {
			asked->direction = 0;
			asked->verdict = VERDICT_DENY;
			return VERDICT_DENY;
		}
	}

	number = asked->destination.endpoint;
	endpoint = number ? bpf_map_lookup_elem(&endpoints, &number) : 0;
	if (endpoint)
		asked->ingress_set = at_generation(READ_ONCE(endpoint->ingress), p->generation);
	if (asked->ingress_set) {
		cell = name_cell(p, asked->ingress_set, number, asked->source.address);
		asked->source_class = class_of(p, &asked->source, asked->from_host);
		if (!cell)
			cell = cell_of(asked->ingress_set, asked->source_class, atom, p->generation);
		asked->ingress_rule = CELL_RULE(cell);
		asked->reason = cell_reason(cell, REASON_INGRESS_NOT_ALLOWED, REASON_INGRESS_DENIED);
		if (asked->reason) {
			asked->direction = 1;
			asked->verdict = VERDICT_DENY;
			return VERDICT_DENY;
		}
	}
	return VERDICT_ALLOW;
}

/* A new flow's rules are counted: all of an allowed one, the deciding one of a denied one. */
INLINE void count_new(struct packet *p)
{
	struct question *asked = &p->asked;

	p->counted = 1;
	if (asked->verdict == VERDICT_ALLOW) {
		count_rule(asked->egress_set, asked->egress_rule, 1);
		count_rule(asked->ingress_set, asked->ingress_rule, 1);
	} else if (asked->direction == 0) {
		count_rule(asked->egress_set, asked->egress_rule, 0);
	} else {
		count_rule(asked->ingress_set, asked->ingress_rule, 0);
	}
}

#endif

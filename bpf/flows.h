/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The flow table: one entry for both directions, opened, judged again after a flip, and told of. */
#ifndef CLOCHE_FLOWS_H
#define CLOCHE_FLOWS_H

#include "hops.h"
#include "policy.h"
#include "states.h"
#include "upgrade.h"

/* Puts p->fresh under a key, in a slot of p->fresh.owner's. An entry that is there (expired, or replaced
 * by a new flow) gives up its place. False when there is no room. */
INLINE int remember(struct packet *p, const struct config *settings, struct flow_key *key)
{
	struct flow *old = p->absent && key == &p->key ? 0 : bpf_map_lookup_elem(&flows, key);
	__u32 before = old ? old->slot : NO_SLOT, open = p->fresh.age == AGE_TCP_OPEN, slot, i;
	struct flow_key *place;
	int failed;

	/* Another CPU that has claimed the slot may be about to delete the entry. */
	if (old && old->owner == p->fresh.owner && before != NO_SLOT && hold(before)) {
		p->fresh.slot = before;
		failed = bpf_map_update_elem(&flows, key, &p->fresh, UPDATE_OLD) != 0;
		if (!failed)
			mark_open(before, open);
		release(before);
		if (!failed)
			return 1;
	}
	/* Twice: where the whole table is full, one of the owner's own has to make the room. */
	for (i = 0; i < 2; i++) {
		slot = take_slot(p->fresh.owner, i);
		place = bpf_map_lookup_elem(&flow_slots, &slot);
		if (!place)
			return 0;
		__builtin_memcpy(place, key, sizeof(*key));
		p->fresh.slot = slot;
		failed = bpf_map_update_elem(&flows, key, &p->fresh, old ? UPDATE_ANY : UPDATE_NEW) != 0;
		if (!failed)
			mark_open(slot, open);
		release(slot);
		if (!failed) {
			if (before != NO_SLOT && before != slot)
				mark_open(before, 0);
			return 1;
		}
		/* Another CPU may have opened the same flow: it was judged alike. */
		if (!old && bpf_map_lookup_elem(&flows, key))
			return 1;
	}
	return 0;
}

/* Forgets an entry that was made just now. */
INLINE void forget(struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);

	if (!flow)
		return;
	mark_open(flow->slot, 0);
	bpf_map_delete_elem(&flows, key);
}

INLINE void ask(struct packet *p, const struct end *source, const struct end *destination)
{
	__builtin_memcpy(&p->asked.source, source, sizeof(*source));
	__builtin_memcpy(&p->asked.destination, destination, sizeof(*destination));
}

/* A pod that reaches itself by a service is judged as itself, not as the reserved address. */
INLINE void ask_itself(struct packet *p)
{
	const struct end *itself = p->destination.flags & ADDRESS_HAIRPIN ? &p->source : &p->destination;

	ask(p, itself, itself);
}

INLINE void ask_opened_by_sender(struct packet *p)
{
	if (p->chosen.hairpin)
		ask_itself(p);
	else
		ask(p, &p->source, &p->destination);
	p->asked.from_host = p->entry == ENTRY_HOST;
	p->asked.atom_index = atom_index(p, p->destination.port, p->icmp);
}

INLINE void ask_opened_by_receiver(struct packet *p)
{
	if (p->chosen.hairpin)
		ask_itself(p);
	else
		ask(p, &p->destination, &p->source);
	p->asked.from_host = !p->destination.endpoint && p->destination.flags & ADDRESS_HOST;
	p->asked.atom_index = atom_index(p, p->source.port, p->icmp);
}

enum opened { OPENED_BY_NOBODY, OPENED_BY_SENDER, OPENED_BY_RECEIVER };

/* Who may have opened the flow of a packet that has none; p->asked holds the answer that counts. */
INLINE enum opened judge_new(struct packet *p)
{
	ask_opened_by_sender(p);
	if (judge() == VERDICT_ALLOW)
		return OPENED_BY_SENDER;
	if (!tcp_without_syn(p))
		return OPENED_BY_NOBODY;
	ask_opened_by_receiver(p);
	if (judge() == VERDICT_ALLOW)
		return OPENED_BY_RECEIVER;
	/* The first answer is the one to give. */
	ask_opened_by_sender(p);
	judge();
	return OPENED_BY_NOBODY;
}

/* Where an allowed packet goes; "to" is whom it is for after translation. */
INLINE int route(struct packet *p, const struct end *to, __u32 through_stack)
{
	struct endpoint *endpoint;
	__u32 number = to->endpoint;

	if (through_stack && p->entry == ENTRY_ENDPOINT) {
		p->delivery = DELIVER_STACK;
		return GO_ON;
	}
	if (number) {
		endpoint = bpf_map_lookup_elem(&endpoints, &number);
		if (!endpoint || READ_ONCE(endpoint->state) != ENDPOINT_OPEN)
			return deny(p, REASON_CLOSED);
		if (unlikely(p->entry == ENTRY_ENDPOINT && p->hop_limit <= 1))
			return turn_away(REASON_TTL, number, 0);
		if (unlikely(is_too_big(p, endpoint->mtu)))
			return turn_away(REASON_TOO_BIG, number, endpoint->mtu);
		p->delivery = DELIVER_ENDPOINT;
		p->to = number;
		return GO_ON;
	}
	if (p->entry == ENTRY_ENDPOINT &&
	    (to->flags & ADDRESS_HOST ||
	     (!(to->flags & (ADDRESS_SERVICE | ADDRESS_GATEWAY | ADDRESS_HAIRPIN)) && !is_ours(p, to->address)))) {
		p->delivery = DELIVER_STACK;
		return GO_ON;
	}
	return deny(p, REASON_UNKNOWN_DESTINATION);
}

/* The entry that a packet opens, in p->fresh. */
INLINE void first_state(struct packet *p, enum opened by)
{
	struct flow *fresh = &p->fresh;
	const struct end *opener = by == OPENED_BY_SENDER ? &p->source : &p->destination;
	const struct end *receiver = by == OPENED_BY_SENDER ? &p->destination : &p->source;
	__u32 flags = 0;

	if ((by == OPENED_BY_SENDER) != p->sender_is_low)
		flags |= FLOW_OPENED_BY_HIGH;
	if (p->entry != ENTRY_ENDPOINT)
		flags |= FLOW_STACK;
	if (p->asked.from_host || (!receiver->endpoint && receiver->flags & ADDRESS_HOST))
		flags |= FLOW_HOST;
	if (p->tcp_flags & TCP_FIN)
		flags |= p->sender_is_low ? FLOW_FIN_LOW : FLOW_FIN_HIGH;
	fresh->generation = p->generation;
	fresh->seen_ns = p->now;
	fresh->opened_ns = p->now;
	fresh->age = first_age(p);
	fresh->action = VERDICT_ALLOW;
	fresh->reason = REASON_NONE;
	fresh->direction = NEITHER_DIRECTION;
	fresh->owner = opener->endpoint ? opener->endpoint : receiver->endpoint;
	fresh->service_port = 0;
	fresh->icmp = p->icmp;
	fresh->service = 0;
	fresh->epoch = 0;
	fresh->pad2 = 0;
	((__u64 *)fresh->service_address)[0] = 0;
	((__u64 *)fresh->service_address)[1] = 0;
	if (p->chosen.named) {
		flags |= FLOW_TRANSLATED | (p->sender_is_low ? FLOW_FRONT_HIGH : 0);
		if (p->chosen.hairpin)
			flags |= FLOW_HAIRPIN;
		copy16(fresh->service_address, p->wire.destination);
		fresh->service_port = p->wire.destination_port;
		fresh->service = p->chosen.number;
		fresh->epoch = p->chosen.epoch;
	}
	fresh->flags = flags;
}

/* Makes p->fresh, the flow's entry, into that of its translation and keeps it, not in the flow's own place. */
INLINE int remember_translation(struct packet *p, const struct config *settings)
{
	struct flow *fresh = &p->fresh;
	__u32 flows_slot;
	int held, kept;

	fresh->flags = p->client_is_low ? 0 : FLOW_OPENED_BY_HIGH;
	fresh->action = VERDICT_ALLOW;
	fresh->reason = REASON_NONE;
	copy16(fresh->service_address, p->out.destination);
	fresh->service_port = p->out.destination_port;
	fresh->service = p->chosen.number;
	fresh->epoch = p->chosen.epoch;
	flows_slot = fresh->slot;
	held = hold(flows_slot);
	kept = remember(p, settings, &p->translation);
	if (held)
		release(flows_slot);
	return kept;
}

INLINE void remember_affinity(struct packet *p)
{
	struct affinity last = {.seen_ns = p->now, .port = p->out.destination_port};

	if (!p->chosen.affinity_seconds)
		return;
	copy16(last.address, p->out.destination);
	p->client.service = p->chosen.number;
	p->client.network = p->network;
	copy16(p->client.client, p->wire.source);
	bpf_map_update_elem(&affinity, &p->client, &last, UPDATE_ANY);
}

/* A packet without a live entry, or one that begins its flow anew. */
STAGE int open_flow(void)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	enum opened by;

	if (!p || !settings)
		return DECIDED;
	if (p->destination.flags & ADDRESS_HAIRPIN)
		return deny(p, REASON_UNKNOWN_DESTINATION);
	by = judge_new(p);
	if (by == OPENED_BY_NOBODY) {
		count_new(p);
		return deny(p, p->asked.reason);
	}
	if (route(p, &p->destination, 0))
		return DECIDED;
	if (!(p->protocol == PROTOCOL_TCP && p->tcp_flags & TCP_RST)) {
		int kept;

		first_state(p, by);
		kept = remember(p, settings, &p->key);
		if (p->chosen.named && (!kept || !remember_translation(p, settings))) {
			if (kept)
				forget(&p->key);
			return deny(p, REASON_FLOW_TABLE_FULL);
		}
		if (p->chosen.named)
			remember_affinity(p);
		count_new(p);
		report(EVENT_NEW);
	}
	return GO_ON;
}

/* An event about a flow, told as its opener opened it. */
INLINE void report_flow(struct packet *p, const struct flow *flow, __u32 kind)
{
	__u32 icmp = p->icmp;

	p->by_receiver = !sent_by_opener(p, flow);
	p->icmp = flow->icmp;
	if (flow->flags & FLOW_TRANSLATED) {
		copy16(p->told_service, flow->service_address);
		p->told_port = flow->service_port;
	}
	report(kind);
	p->by_receiver = 0;
	p->icmp = icmp;
}

/* Asks policy about a live flow as its opener opened it. */
INLINE void ask_about(struct packet *p, const struct flow *flow)
{
	if (flow->flags & FLOW_HAIRPIN)
		ask_itself(p);
	else if (sent_by_opener(p, flow))
		ask(p, &p->source, &p->destination);
	else
		ask(p, &p->destination, &p->source);
	p->asked.from_host = !!(flow->flags & FLOW_HOST);
	p->asked.atom_index = atom_index(p, sent_by_opener(p, flow) ? p->destination.port : p->source.port, flow->icmp);
	judge();
}

/* What policy says now of a flow that an older generation judged, in p->fresh, not yet kept when allowed. */
STAGE int judge_again(void)
{
	struct packet *p = this_packet();
	struct flow *flow;
	__u32 turned;

	if (!p)
		return DECIDED;
	flow = bpf_map_lookup_elem(&flows, &p->key);
	if (!flow)
		return deny(p, REASON_INTERNAL);
	__builtin_memcpy(&p->fresh, flow, sizeof(*flow));
	ask_about(p, &p->fresh);
	turned = p->fresh.action == VERDICT_ALLOW;
	p->fresh.action = p->asked.verdict;
	p->fresh.reason = p->asked.reason;
	p->fresh.direction = p->asked.direction;
	p->fresh.generation = p->generation;
	if (p->asked.verdict == VERDICT_ALLOW) {
		if (p->fresh.age == AGE_CUT)
			p->fresh.age = p->protocol == PROTOCOL_TCP ? AGE_TCP_OPEN : p->protocol == PROTOCOL_UDP ? AGE_UDP
				       : is_icmp_protocol(p) ? AGE_ICMP : AGE_OTHER;
		mark_open(p->fresh.slot, p->fresh.age == AGE_TCP_OPEN);
		return GO_ON;
	}
	mark_open(p->fresh.slot, 0);
	p->fresh.age = AGE_CUT;
	p->fresh.seen_ns = p->now;
	p->live = 1;
	p->live_age = AGE_CUT;
	p->live_seen = p->now;
	/* One step, so that no packet sees the generation with the action before it. */
	bpf_map_update_elem(&flows, &p->key, &p->fresh, UPDATE_OLD);
	deny(p, p->asked.reason);
	if (turned)
		report_flow(p, &p->fresh, EVENT_CUT);
	return DECIDED;
}

/* A live, allowed flow after one more packet. */
INLINE void move_on(struct packet *p, struct flow *flow)
{
	struct mover by = {p->protocol, p->tcp_flags, !!p->sender_is_low};
	__u32 after;
	__u8 age = flow->age, next = next_age(by, flow, &after);

	take_step(flow, p->now, next, after);
	p->live_age = next;
	p->live_seen = flow->seen_ns;
	if (next == AGE_TCP_CLOSING && age != AGE_TCP_CLOSING)
		report_flow(p, flow, EVENT_CLOSED);
}

/* A reply gets its service's address back as source, and what went to the reserved address turns back. */
INLINE void translate_reply(struct packet *p, const struct flow *flow)
{
	copy16(p->out.source, flow->service_address);
	p->out.source_port = flow->service_port;
	copy16(p->out.destination, flow->flags & FLOW_HAIRPIN ? p->wire.source : p->wire.destination);
	p->out.destination_port = p->wire.destination_port;
	p->rewritten = 1;
}

INLINE int is_from_front(const struct packet *p, const struct flow *flow)
{
	return flow->flags & FLOW_TRANSLATED && (flow->flags & FLOW_FRONT_HIGH ? 0 : 1) == p->sender_is_low;
}

/* What the flow table says, "flow" being its entry under p->key; p->source and p->destination are set. */
INLINE int track(struct packet *p, const struct config *settings, struct flow *flow)
{
	__u32 again = 0, turned_back;

	p->absent = !flow;
	if (!flow || !is_live(flow, p->now, settings))
		return open_flow();
	/* A service's flow has these ports; whoever goes to its backend directly would be taken for it. */
	if (unlikely(flow->flags & FLOW_TRANSLATED && !p->chosen.named && !is_from_front(p, flow)))
		return deny(p, REASON_TRANSLATION_CLASH);
	if (is_opening(p) && !(flow->age == AGE_TCP_OPENING && sent_by_opener(p, flow)))
		return open_flow();
	if (unlikely(READ_ONCE(flow->generation) != p->generation)) {
		if (judge_again())
			return DECIDED;
		again = 1;
		flow = &p->fresh;
	} else {
		barrier();
		if (flow->action != VERDICT_ALLOW) {
			flow->seen_ns = p->now;
			p->live = 1;
			p->live_age = flow->age;
			p->live_seen = p->now;
			/* Only so that the drop's event names its rule: what counts is in the entry. */
			__builtin_memcpy(&p->fresh, flow, sizeof(*flow));
			ask_about(p, &p->fresh);
			p->asked.direction = p->fresh.direction;
			return deny(p, p->fresh.reason);
		}
	}
	turned_back = 0;
	if (is_from_front(p, flow)) {
		translate_reply(p, flow);
		turned_back = flow->flags & FLOW_HAIRPIN;
	}
	if (turned_back ? route(p, &p->source, flow->flags & FLOW_STACK)
			: route(p, &p->destination, flow->flags & FLOW_STACK))
		return DECIDED;
	move_on(p, flow);
	p->live = 1;
	if (again)
		bpf_map_update_elem(&flows, &p->key, &p->fresh, UPDATE_OLD);
	return GO_ON;
}

#endif

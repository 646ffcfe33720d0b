/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Events on the ring buffer, a token bucket for each endpoint; what is not sent is counted. */
#ifndef CLOCHE_EVENTS_H
#define CLOCHE_EVENTS_H

#include "policy.h"

#define TOKEN_BITS 20
#define TICK_BITS 10          /* the bucket counts time in ticks of 1024 ns */
#define TICKS_PER_SECOND (1000000000 >> TICK_BITS)
#define LONGEST_TICKS (1u << 22)

/* Takes a token; false when there is none. Two CPUs may race: a token more or less. */
INLINE int take_token(struct packet *p, const struct config *settings, struct owner *owner)
{
	__u64 burst = (__u64)settings->event_burst << TOKEN_BITS, tokens = owner->event_tokens;
	__u64 ticks = (p->now - owner->event_time_ns) >> TICK_BITS;

	if (!owner->event_time_ns || ticks >= LONGEST_TICKS) {
		tokens = owner->event_time_ns > p->now ? tokens : burst;
		owner->event_time_ns = p->now;
	} else if (ticks) {
		tokens += ticks * (settings->event_rate & 0xfffff) * (1 << TOKEN_BITS) / TICKS_PER_SECOND;
		owner->event_time_ns = p->now;
	}
	if (tokens > burst)
		tokens = burst;
	if (tokens < 1 << TOKEN_BITS) {
		owner->event_tokens = tokens;
		return 0;
	}
	owner->event_tokens = tokens - (1 << TOKEN_BITS);
	return 1;
}

/* The other end first. An ICMP flow's port is its type, whoever sends. */
INLINE void turn_round(struct event *event)
{
	__u8 address[16];
	__u32 endpoint = event->source_endpoint;
	__u16 port = event->source_port;

	copy16(address, event->source);
	copy16(event->source, event->destination);
	copy16(event->destination, address);
	event->source_endpoint = event->destination_endpoint;
	event->destination_endpoint = endpoint;
	if (event->protocol == PROTOCOL_ICMP || event->protocol == PROTOCOL_ICMPV6)
		return;
	event->source_port = event->destination_port;
	event->destination_port = port;
}

INLINE void describe(struct event *event, struct packet *p, __u32 kind)
{
	const struct question *asked = &p->asked;

	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = p->now;
	event->generation = p->generation;
	event->kind = kind;
	event->verdict = kind == EVENT_CUT ? VERDICT_DENY : p->verdict;
	event->reason = p->reason;
	event->protocol = p->protocol;
	event->network = p->network;
	event->source_endpoint = p->sender;
	if (p->parsed) {
		event->source_port = p->source.port;
		/* An ICMP flow is told by its type and code; its source port stays echo's identifier. */
		event->destination_port = is_icmp_protocol(p) ? p->icmp : p->destination.port;
		copy16(event->source, p->source.address);
		copy16(event->destination, p->destination.address);
		event->destination_endpoint = p->destination.endpoint;
		if (!p->sender)
			event->source_endpoint = p->source.endpoint;
	}
	if (p->by_receiver)
		turn_round(event);
	if (p->told_port) {
		copy16(event->service_address, p->told_service);
		event->service_port = p->told_port;
	} else if (p->chosen.named) {
		copy16(event->service_address, p->wire.destination);
		event->service_port = p->wire.destination_port;
	}
	if (p->reason == REASON_NO_GENERATION || p->reason == REASON_UNKNOWN_LINK)
		event->link = p->link;
	if (asked->judged) {
		event->egress_set = asked->egress_set;
		event->egress_rule = asked->egress_rule;
		event->ingress_set = asked->ingress_set;
		event->ingress_rule = asked->ingress_rule;
		event->source_class = asked->source_class;
		event->destination_class = asked->destination_class;
		event->atom = asked->atom;
	}
}

/* Sends an event about this packet, on the account of its sender, else of its receiver. */
STAGE int report(__u32 kind)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct owner *owner;
	struct event *event;
	__u32 number;

	if (!p || !settings || settings->flags & CONFIG_EVENTS_OFF)
		return 0;
	number = p->sender;
	if (!number && p->parsed)
		number = p->source.endpoint ? p->source.endpoint : p->destination.endpoint;
	owner = bpf_map_lookup_elem(&owners, &number);
	if (!owner)
		return 0;
	if (!take_token(p, settings, owner)) {
		__sync_fetch_and_add(&owner->events_suppressed, 1);
		return 0;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&owner->events_suppressed, 1);
		return 0;
	}
	describe(event, p, kind);
	event->suppressed = __sync_lock_test_and_set(&owner->events_suppressed, 0);
	bpf_ringbuf_submit(event, 0);
	return 1;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* From a service's address to one of its backends, and the answer of one that has none. */
#ifndef CLOCHE_SERVICES_H
#define CLOCHE_SERVICES_H

#include "flows.h"
#include "fronts.h"
#include "hints.h"

/* Which of "count" backends a packet goes to, as the client wrote it. */
INLINE __u32 choose(const struct packet *p, const struct config *settings, __u32 count)
{
	const __u64 *source = (const void *)p->wire.source, *destination = (const void *)p->wire.destination;
	__u64 hash = settings->hash_key[0];

	hash = hash_step(hash, source[0]);
	hash = hash_step(hash, source[1]);
	hash = hash_step(hash, destination[0]);
	hash = hash_step(hash, destination[1]);
	hash = hash_step(hash, p->wire.source_port | (__u64)p->wire.destination_port << 16 |
				       (__u64)p->protocol << 32);
	hash = hash_step(hash, p->network ^ settings->hash_key[1]);
	return (hash >> 32) * count >> 32;
}

/* Turns the packet towards the backend in p->member; towards the sender itself from the reserved address. */
INLINE void turn_to_backend(struct packet *p, const struct config *settings)
{
	copy16(p->source.address, p->wire.source);
	p->source.flags = 0;
	p->source.looked_up = 0;
	copy16(p->destination.address, p->member.address);
	p->destination.port = p->member.port;
	look_up_receiver(p);
	p->chosen.hairpin = p->source.endpoint && p->source.endpoint == p->destination.endpoint;
	if (p->chosen.hairpin) {
		p->source.flags = ADDRESS_HAIRPIN;
		p->source.looked_up = 1;
		p->source.class_ = 0;
		copy16(p->source.address, p->ipv6 ? settings->hairpin6 : settings->hairpin4);
	}
	copy16(p->out.source, p->source.address);
	copy16(p->out.destination, p->destination.address);
	p->out.source_port = p->wire.source_port;
	p->out.destination_port = p->destination.port;
	p->rewritten = 1;
	p->sender_is_low = make_key(&p->key, p, &p->source, &p->destination, FLOW_PLAIN);
}

/* A SYN whose translated flow is not live, closing or cut begins anew. */
INLINE int is_over(struct packet *p, const struct config *settings)
{
	struct flow *flow = find_flow(p, &p->key);

	return !flow || !is_live(flow, p->now, settings) || flow->age == AGE_TCP_CLOSING || flow->age == AGE_CUT;
}

/* The backend of a client's flow that is known already. GO_ON: none, or it may not be kept. */
enum kept { KEPT, NOT_KEPT, KEPT_GONE };

INLINE enum kept keep_backend(struct packet *p, const struct config *settings, const struct flow *known)
{
	if (!known || !is_live(known, p->now, settings))
		return NOT_KEPT;
	copy16(p->member.address, known->service_address);
	p->member.port = known->service_port;
	if (!(known->service == p->chosen.number && known->epoch == p->chosen.epoch) &&
	    !bpf_map_lookup_elem(&members, &p->member))
		return tcp_without_syn(p) ? KEPT_GONE : NOT_KEPT;
	turn_to_backend(p, settings);
	return is_opening(p) && is_over(p, settings) ? NOT_KEPT : KEPT;
}

/* Where the client went last, while that is a backend still. */
INLINE int take_last(struct packet *p)
{
	struct affinity *last;

	if (!p->chosen.affinity_seconds)
		return 0;
	p->client.service = p->chosen.number;
	p->client.network = p->network;
	copy16(p->client.client, p->wire.source);
	last = bpf_map_lookup_elem(&affinity, &p->client);
	if (!last || (__s64)(p->now - last->seen_ns) >= (__s64)(p->chosen.affinity_seconds * 1000000000ull))
		return 0;
	copy16(p->member.address, last->address);
	p->member.port = last->port;
	return bpf_map_lookup_elem(&members, &p->member) != 0;
}

INLINE int choose_backend(struct packet *p, const struct config *settings)
{
	struct backend *backend;
	__u32 choice, index;

	if (!p->chosen.count) {
		deny(p, REASON_NO_BACKEND);
		p->rewritten = 0;
		/* A reset is never answered (RFC 9293, 3.5.2). */
		if (!(p->protocol == PROTOCOL_TCP && p->tcp_flags & TCP_RST))
			p->delivery = DELIVER_BACK;
		return DECIDED;
	}
	if (!take_last(p)) {
		choice = choose(p, settings, p->chosen.count);
		index = p->chosen.first + choice;
		if (!take_near(p, choice)) {
			backend = bpf_map_lookup_elem(&backends, &index);
			if (!backend)
				return deny(p, REASON_INTERNAL);
			copy16(p->member.address, backend->address);
			p->member.port = backend->port;
		}
		p->chosen.backend = index + 1;
	}
	turn_to_backend(p, settings);
	return GO_ON;
}

/* A live flow under the translated addresses must be of this service's address and port, on the backend's side. */
INLINE int clashes(struct packet *p, const struct config *settings, const struct flow *flow)
{
	if (!flow || !is_live(flow, p->now, settings))
		return 0;
	return !(flow->flags & FLOW_TRANSLATED) || is_from_front(p, flow) ||
	       !same16(flow->service_address, p->wire.destination) ||
	       flow->service_port != p->wire.destination_port;
}

/* The translation of a live flow lives as that does. */
INLINE void keep_up(struct flow *known, __u8 age, __u64 seen_ns)
{
	if (known->age != age) {
		known->age = age;
		mark_open(known->slot, age == AGE_TCP_OPEN);
	}
	if (known->seen_ns != seen_ns)
		known->seen_ns = seen_ns;
}

/* The translation of a live flow follows it, and learns the service's epoch. */
INLINE int keep_translation(struct packet *p, const struct config *settings, struct flow *known)
{
	struct flow *flow;

	if (known && known->service_port == p->out.destination_port &&
	    same16(known->service_address, p->out.destination)) {
		keep_up(known, p->live_age, p->live_seen);
		if (known->epoch != p->chosen.epoch || known->service != p->chosen.number) {
			known->service = p->chosen.number;
			known->epoch = p->chosen.epoch;
		}
		return 1;
	}
	flow = find_flow(p, &p->key);
	if (!flow)
		return 0;
	__builtin_memcpy(&p->fresh, flow, sizeof(*flow));
	p->fresh.age = p->live_age;
	p->fresh.seen_ns = p->live_seen;
	return remember_translation(p, settings);
}

/* Fills p->chosen with what services says. */
INLINE int find_service(struct packet *p)
{
	struct service *service;

	p->service.network = p->network;
	copy16(p->service.address, p->wire.destination);
	p->service.port = p->wire.destination_port;
	p->service.protocol = p->protocol;
	p->service.pad = 0;
	service = bpf_map_lookup_elem(&services, &p->service);
	if (!service)
		return 0;
	p->chosen.number = service->number;
	p->chosen.first = service->first;
	p->chosen.count = service->count;
	p->chosen.epoch = service->epoch;
	p->chosen.affinity_seconds = service->affinity_seconds;
	return 1;
}

/* A packet to a service's address, or to one that is not "looked_up" yet: NO_FRONT when it has to be. */
STAGE int carry_to_service(__u32 looked_up)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct flow *known, *flow;
	enum kept kept;
	int next;

	if (!p || !settings)
		return DECIDED;
	if (!looked_up) {
		if (!may_have_front(p->network, (const void *)p->wire.destination))
			return NO_FRONT;
		be_service(&p->destination);
	} else if (!has_ports(p->protocol)) {
		return deny(p, REASON_NO_SERVICE);
	}
	/* Before its front is looked at, and without need of it: both are waited for at once. */
	p->client_is_low = make_key(&p->translation, p, &p->source, &p->destination, FLOW_TRANSLATION);
	known = find_flow(p, &p->translation);
	if (!looked_up && !find_front(p))
		return NO_FRONT;
	if (!read_front(p) && !find_service(p))
		return deny(p, REASON_NO_SERVICE);
	p->chosen.named = 1;
	p->member.service = p->chosen.number;
	p->member.pad = 0;
	kept = keep_backend(p, settings, known);
	if (kept == KEPT_GONE)
		return deny(p, REASON_BACKEND_GONE);
	if (kept == NOT_KEPT && choose_backend(p, settings))
		return DECIDED;
	flow = find_flow(p, &p->key);
	if (clashes(p, settings, flow))
		return deny(p, REASON_TRANSLATION_CLASH);
	next = track(p, settings, flow);
	/* A live flow has opened none, so what was known of its translation is there still. */
	if (p->live && !keep_translation(p, settings, known) && next == GO_ON)
		return deny(p, REASON_FLOW_TABLE_FULL);
	return next;
}

#endif

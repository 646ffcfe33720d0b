/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The short way of a known connection's packets to a service, as quick.h's of others. docs/design/quick.md */
#ifndef CLOCHE_QUICK_SERVICES_H
#define CLOCHE_QUICK_SERVICES_H

#include "quick.h"
#include "services.h"

/* The live translation of a packet to a service whose front is open, if it knows the service's list as it is. */
INLINE struct flow *quick_translation(struct packet *p, const struct config *settings)
{
	struct flow *known;

	be_service(&p->destination);
	p->client_is_low = make_key(&p->translation, p, &p->source, &p->destination, FLOW_TRANSLATION);
	known = bpf_map_lookup_elem(&flows, &p->translation);
	if (!known || !is_live(known, p->now, settings) || !find_front(p) || !read_front(p) ||
	    known->service != p->chosen.number || known->epoch != p->chosen.epoch)
		return 0;
	return known;
}

/* The program's action when the packet is on its way, else NOT_QUICK. Whether there is a short way at all, and the hops,
 * quick_packet has asked. */
STAGE int quick_to_service(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct endpoint *sender, *receiver;
	struct flow *known, *flow;
	__u32 number, own;
	struct glance seen;
	__u64 clock;

	if (!p || !settings || !take_glance(skb, &seen))
		return NOT_QUICK;
	sender = quick_sender(skb, &seen, &own);
	if (!sender)
		return NOT_QUICK;
	be_seen(p, &seen);
	clock = settings->clock_ns;
	p->now = clock ? clock : bpf_ktime_get_coarse_ns();
	p->network = sender->network;
	p->chosen.front_word = 0;
	copy16(p->source.address, seen.source);
	p->source.port = p->wire.source_port;
	p->source.incarnation = sender->incarnation;
	copy16(p->destination.address, seen.destination);
	p->destination.port = p->wire.destination_port;
	known = quick_translation(p, settings);
	if (!known)
		return NOT_QUICK;
	copy16(p->out.destination, known->service_address);
	p->out.destination_port = known->service_port;
	receiver = hinted(address_hint(p->network, (const void *)p->out.destination), &number);
	if (!receiver || number == own || is_wide(skb, &seen, receiver))
		return NOT_QUICK;
	copy16(p->destination.address, p->out.destination);
	p->destination.port = p->out.destination_port;
	p->destination.incarnation = receiver->incarnation;
	p->sender_is_low = make_key(&p->key, p, &p->source, &p->destination, FLOW_PLAIN);
	seen.by.low = p->sender_is_low;
	flow = bpf_map_lookup_elem(&flows, &p->key);
	if (!flow || clashes(p, settings, flow) || !track_quick(seen.by, flow, settings))
		return NOT_QUICK;
	keep_up(known, flow->age, flow->seen_ns);
	if (rewrite(skb))
		return drop_quick(skb);
	return send_quick(skb, seen.ipv6, receiver, number);
}

#endif

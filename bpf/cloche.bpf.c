// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The datapath: docs/design/packets.md, top to bottom. */
#include "answers.h"
#include "fragments.h"
#include "icmp.h"
#include "quick_services.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* The end of every packet. */
INLINE int finish(struct __sk_buff *skb, struct packet *p, const struct config *settings)
{
	if (p->fragments_open)
		leave_for_later();
	if (unlikely(p->verdict != VERDICT_ALLOW)) {
		report(EVENT_DROP);
		if (p->delivery == DELIVER_BACK)
			refuse(skb);
	} else if (p->rewritten) {
		if (is_icmp_error(p) && p->part != PART_LATER)
			rewrite_error(skb);
		else
			rewrite(skb);
	}
	count_reason(p->reason);
	leave_answer(skb, p);
	return deliver(skb, p, settings);
}

/* Whose the destination is; only the gateway's own address is nowhere to go. */
INLINE int look_up_destination(struct packet *p)
{
	look_up_receiver(p);
	if (unlikely(!p->destination.endpoint && (p->destination.flags & (ADDRESS_HOST | ADDRESS_SERVICE | ADDRESS_GATEWAY)) == ADDRESS_GATEWAY))
		return deny(p, REASON_LINK_LOCAL);
	return GO_ON;
}

/* Services that have fronts, then fragments, ICMP errors, other services, flows and policy; what kind of address it is
 * for has been checked. */
INLINE int carry(struct __sk_buff *skb, struct packet *p, const struct config *settings)
{
	if (likely(p->part == PART_WHOLE) && has_ports(p->protocol) && carry_to_service(0) != NO_FRONT)
		return DECIDED;
	if (look_up_destination(p))
		return DECIDED;
	if (unlikely(p->part != PART_WHOLE) && fragment())
		return DECIDED;
	if (unlikely(is_icmp_error(p)))
		return icmp_error(skb);
	if (is_service(&p->destination))
		return carry_to_service(1);
	stand_for(&p->source, &p->destination);
	stand_for(&p->destination, &p->source);
	p->chosen.hairpin = (p->source.flags | p->destination.flags) & ADDRESS_HAIRPIN;
	p->sender_is_low = make_key(&p->key, p, &p->source, &p->destination, FLOW_PLAIN);
	return track(p, settings, find_flow(p, &p->key));
}

INLINE int parse(struct __sk_buff *skb, struct packet *p, __u16 ethertype)
{
	if (likely(parse_quick(skb, p) == PARSED))
		return GO_ON;
	p->ipv6 = ethertype == swap16(ETH_P_IPV6);
	return parse_all(skb);
}

/* Where a packet may go at all. */
INLINE int check_destination(struct packet *p)
{
	__u32 reason = destination_kind_reason(p);

	return unlikely(reason) ? deny(p, reason) : GO_ON;
}

/* What an endpoint may send as its own. */
INLINE int check_sender(struct __sk_buff *skb, struct packet *p, const struct endpoint *sender)
{
	__u32 reason, icmp = p->icmp >> 8;

	if (p->ipv6 && unlikely(p->protocol == PROTOCOL_ICMPV6) && p->part != PART_LATER && icmp >= ND_FIRST &&
	    icmp <= ND_LAST)
		return answer_nd(skb);
	reason = source_kind_reason(p);
	if (unlikely(reason))
		return deny(p, reason);
	if (p->protocol == PROTOCOL_UDP && p->part != PART_LATER && p->wire.source_port == (p->ipv6 ? 547 : 67))
		return deny(p, REASON_DHCP_SERVER);
	if (unlikely(!is_senders(p, sender, p->wire.source)))
		return deny(p, REASON_SPOOFED_ADDRESS);
	return check_destination(p);
}

/* Dropped for where it came in, whatever it is: the link is all that can be told of it. */
INLINE int not_read(struct __sk_buff *skb, struct packet *p, __u32 reason)
{
	p->link = skb->ifindex;
	return deny(p, reason);
}

INLINE int endpoint_packet(struct __sk_buff *skb, struct packet *p, const struct config *settings)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct endpoint *sender;
	__u32 ifindex = skb->ifindex, number = 0;
	__u16 ethertype;

	p->entry = ENTRY_ENDPOINT;
	p->segment = skb->gso_size;
	if (unlikely(!p->generation))
		return not_read(skb, p, REASON_NO_GENERATION);
	sender = hinted_sender(ifindex, &number);
	if (unlikely(!sender)) {
		__u32 *found = bpf_map_lookup_elem(&links, &ifindex);

		if (unlikely(!found))
			return not_read(skb, p, REASON_UNKNOWN_LINK);
		number = *found;
		leave_hint(link_hint(ifindex), number);
		sender = bpf_map_lookup_elem(&endpoints, &number);
		if (unlikely(!sender || sender->state == ENDPOINT_ABSENT))
			return not_read(skb, p, REASON_UNKNOWN_LINK);
	}
	p->sender = number;
	p->network = sender->network;
	p->source.endpoint = number;
	p->source.incarnation = sender->incarnation;
	p->source.flags = 0;
	if (unlikely(sender->state != ENDPOINT_OPEN))
		return deny(p, REASON_CLOSED);
	if (unlikely(data + ETHERNET_LENGTH > end))
		return deny(p, REASON_MALFORMED);
	if (unlikely(!same6(ethernet->h_source, sender->mac)))
		return deny(p, REASON_SPOOFED_MAC);
	ethertype = ethernet->h_proto;
	if (unlikely(skb->vlan_present))
		return deny(p, REASON_ETHERTYPE);
	if (unlikely(ethertype != swap16(ETH_P_IP) && ethertype != swap16(ETH_P_IPV6)))
		return ethertype == swap16(ETH_P_ARP) ? answer_arp(skb) : deny(p, REASON_ETHERTYPE);
	if (parse(skb, p, ethertype) || check_sender(skb, p, sender))
		return DECIDED;
	return carry(skb, p, settings);
}

INLINE int stack_packet(struct __sk_buff *skb, struct packet *p, const struct config *settings)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	__u32 reason, mark = skb->mark;
	__u16 ethertype;

	p->entry = mark & settings->host_mark ? ENTRY_HOST : ENTRY_STACK;
	if (mark & settings->host_mark)
		skb->mark = mark & ~settings->host_mark;
	p->network = uplink_network;
	p->segment = skb->gso_size;
	if (unlikely(!p->generation))
		return not_read(skb, p, REASON_NO_GENERATION);
	if (unlikely(data + ETHERNET_LENGTH > end))
		return deny(p, REASON_MALFORMED);
	ethertype = ethernet->h_proto;
	if (unlikely(skb->vlan_present))
		return deny(p, REASON_ETHERTYPE);
	if (unlikely(ethertype != swap16(ETH_P_IP) && ethertype != swap16(ETH_P_IPV6)))
		return deny(p, ethertype == swap16(ETH_P_ARP) ? REASON_NEIGHBOUR : REASON_ETHERTYPE);
	if (parse(skb, p, ethertype))
		return DECIDED;
	reason = source_kind_reason(p);
	if (unlikely(reason))
		return deny(p, reason);
	look_up(p, &p->source);
	/* Only packets turned back here come from the reserved address. */
	if (unlikely(p->source.flags & ADDRESS_HAIRPIN))
		return deny(p, REASON_MARTIAN);
	if (check_destination(p))
		return DECIDED;
	return carry(skb, p, settings);
}

SEC("tc") int from_endpoint(struct __sk_buff *skb)
{
	struct config *settings;
	struct packet *p;
	int action;

	if (is_waiting())
		return PASS_ON;
	action = quick_packet(skb);
	if (action == MAY_BE_SERVED)
		action = quick_to_service(skb);
	if (likely(action != NOT_QUICK))
		return action;
	settings = this_config();
	p = this_packet();
	if (!p || !settings)
		return TC_ACT_SHOT;
	begin(p, settings);
	endpoint_packet(skb, p, settings);
	return finish(skb, p, settings);
}

SEC("tc") int from_stack(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();

	if (!p || !settings)
		return TC_ACT_SHOT;
	if (is_waiting())
		return PASS_ON;
	begin(p, settings);
	stack_packet(skb, p, settings);
	return finish(skb, p, settings);
}

/* True when an address is one that only packets from here may have as source. */
INLINE int is_our_source(struct packet *p)
{
	look_up(p, &p->source);
	return p->source.endpoint || is_ours(p, p->source.address);
}

/* From outside: nobody there may speak as one of ours. Read from the network header, as an uplink need not
 * be Ethernet. What is no IP is let on without an answer: delivery stays nowhere. */
STAGE int judge_outsider(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	__u16 protocol = skb->protocol;
	__u32 ends[2];

	if (!p || !settings)
		return DECIDED;
	begin(p, settings);
	p->entry = ENTRY_STACK;
	p->network = uplink_network;
	if (protocol == swap16(ETH_P_IP)) {
		if (bpf_skb_load_bytes_relative(skb, 12, ends, 8, BPF_HDR_START_NET) ||
		    bpf_skb_load_bytes_relative(skb, 9, &p->protocol, 1, BPF_HDR_START_NET))
			return GO_ON;
		map_ipv4(p->source.address, ends[0]);
		map_ipv4(p->destination.address, ends[1]);
	} else if (protocol != swap16(ETH_P_IPV6) ||
		   bpf_skb_load_bytes_relative(skb, 8, p->wire.source, 32, BPF_HDR_START_NET) ||
		   bpf_skb_load_bytes_relative(skb, 6, &p->protocol, 1, BPF_HDR_START_NET)) {
		return GO_ON;
	} else {
		copy16(p->source.address, p->wire.source);
		copy16(p->destination.address, p->wire.destination);
	}
	p->delivery = DELIVER_PASS;
	if (!is_our_source(p))
		return GO_ON;
	/* Its ports are not read: the event tells of the addresses alone. */
	look_up(p, &p->destination);
	p->source.port = 0;
	p->destination.port = 0;
	p->parsed = 1;
	deny(p, REASON_SPOOFED_ADDRESS);
	report(EVENT_DROP);
	count_reason(p->reason);
	return DECIDED;
}

SEC("tc") int from_uplink(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	int decided = judge_outsider(skb);

	if (!p)
		return TC_ACT_SHOT;
	if (decided) {
		leave_answer(skb, p);
		return TC_ACT_SHOT;
	}
	if (p->delivery == DELIVER_PASS) {
		count_reason(p->reason);
		leave_answer(skb, p);
	}
	return PASS_ON;
}

/* Tells from_stack what the host itself sends: it has a socket. What the host forwards may speak as one of
 * ours only if it came in by this device, on which endpoints' packets are received: so a device that has
 * become an uplink and has no program yet gets no further. */
SEC("tc") int mark_host(struct __sk_buff *skb)
{
	struct config *settings = this_config();
	__u32 from = skb->ingress_ifindex;

	if (!settings)
		return TC_ACT_SHOT;
	if (skb->sk) {
		skb->mark = skb->mark | settings->host_mark;
		return PASS_ON;
	}
	skb->mark = skb->mark & ~settings->host_mark;
	if (!from || from == settings->stack_ifindex)
		return PASS_ON;
	return judge_outsider(skb) ? TC_ACT_SHOT : PASS_ON;
}

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The end of every packet: new addresses and ports with their checksums, counts, what test runs read,
 * and delivery. */
#ifndef CLOCHE_FORWARD_H
#define CLOCHE_FORWARD_H

#include "flows.h"
#include "sctp.h"

#define TCP_CHECKSUM 16
#define UDP_CHECKSUM 6
#define IPV4_CHECKSUM 10
#define IPV4_ADDRESSES 12
#define IPV6_ADDRESSES 8

#define PACKET_HOST 0         /* linux/if_packet.h: for whoever it is delivered to */
#define PASS_ON (-1)          /* TC_ACT_UNSPEC: the next program, or the stack */

/* Source and destination, as they follow each other in an IPv4 header. */
INLINE void ipv4_pair(__u32 *pair, const struct wire *wire)
{
	pair[0] = *(const __u32 *)(wire->source + 12);
	pair[1] = *(const __u32 *)(wire->destination + 12);
}

/* Writes p->out's addresses; *difference is what that adds to a checksum. */
INLINE int write_addresses(struct __sk_buff *skb, struct packet *p, __u32 *difference)
{
	if (p->ipv6) {
		*difference = bpf_csum_diff(p->wire.source, 32, p->out.source, 32, 0);
		return bpf_skb_store_bytes(skb, ETHERNET_LENGTH + IPV6_ADDRESSES, p->out.source, 32, 0);
	} else {
		__u32 before[2], after[2];

		ipv4_pair(before, &p->wire);
		ipv4_pair(after, &p->out);
		*difference = bpf_csum_diff(before, 8, after, 8, 0);
		if (bpf_l3_csum_replace(skb, ETHERNET_LENGTH + IPV4_CHECKSUM, 0, *difference, 0))
			return -1;
		return bpf_skb_store_bytes(skb, ETHERNET_LENGTH + IPV4_ADDRESSES, after, 8, 0);
	}
}

/* The upper checksum and the ports. A UDP checksum of zero stays zero; where the checksum is partial the
 * helper knows to change it for addresses and not for ports. */
INLINE int write_upper(struct __sk_buff *skb, struct packet *p, __u32 address_difference)
{
	__u32 ports[2] = {swap16(p->wire.source_port) | (__u32)swap16(p->wire.destination_port) << 16,
			  swap16(p->out.source_port) | (__u32)swap16(p->out.destination_port) << 16};
	__u32 checksum = p->l4 + (p->protocol == PROTOCOL_TCP ? TCP_CHECKSUM : UDP_CHECKSUM);
	__u64 flags = p->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (p->protocol == PROTOCOL_SCTP) {
		if (ports[0] == ports[1])
			return 0;
		if (bpf_skb_store_bytes(skb, p->l4, &ports[1], 4, 0))
			return -1;
		return p->part == PART_WHOLE ? sctp_repair(skb, p->l4 + SCTP_CHECKSUM, ports[0] ^ ports[1], p->l4_length) : 0;
	}
	if (bpf_l4_csum_replace(skb, checksum, 0, address_difference, flags | BPF_F_PSEUDO_HDR))
		return -1;
	if (ports[0] == ports[1])
		return 0;
	if (bpf_l4_csum_replace(skb, checksum, 0, bpf_csum_diff(&ports[0], 4, &ports[1], 4, 0), flags))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4, &ports[1], 4, 0);
}

/* Makes the packet what p->out says. */
STAGE int rewrite(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	__u32 difference = 0;

	if (!p)
		return DECIDED;
	if (write_addresses(skb, p, &difference))
		return deny(p, REASON_INTERNAL);
	if (p->part != PART_LATER && has_ports(p->protocol) && write_upper(skb, p, difference))
		return deny(p, REASON_INTERNAL);
	return GO_ON;
}

INLINE void count_reason(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&reasons, &reason);

	if (count)
		++*count;
}

/* cb, as types.h says. */
INLINE void leave_answer(struct __sk_buff *skb, const struct packet *p)
{
	const struct question *asked = &p->asked;
	__u32 set = 0, rule = 0, class_ = 0, atom = 0;

	if (unlikely(asked->judged)) {
		__u32 ingress = asked->direction == 1 || (asked->direction != 0 && asked->ingress_set);

		set = ingress ? asked->ingress_set : asked->egress_set;
		rule = ingress ? asked->ingress_rule : asked->egress_rule;
		class_ = ingress ? asked->source_class : asked->destination_class;
		atom = asked->atom;
	}
	skb->cb[0] = p->verdict | p->reason << 8 | p->delivery << 16 | asked->direction << 24;
	skb->cb[1] = (set & 0xffff) | atom << 16;
	skb->cb[2] = (class_ & 0xffff) | p->to << 16;
	skb->cb[3] = rule;
	skb->cb[4] = p->chosen.backend;
}

/* A frame's beginning: both MACs, ethertype, and IP's header as far as IPv4's checksum. */
#define FRONT_LENGTH 26

/* One hop less. IPv4's checksum follows (RFC 1141). */
INLINE void take_hop(__u8 *ip, int ipv6)
{
	if (ipv6) {
		ip[7]--;
	} else {
		__u32 check = *(__u16 *)(ip + IPV4_CHECKSUM) + 1u;

		ip[8]--;
		*(__u16 *)(ip + IPV4_CHECKSUM) = check + (check >= 0xffff);
	}
}

/* The receiver's MAC, its gateway's, which follow each other as they do in a frame, and one hop less. Written in place: a
 * program that does so gets its packet's linear part as its own. */
INLINE int write_front(struct __sk_buff *skb, int ipv6, const struct endpoint *endpoint)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct {
		__u16 lead;               /* so that IP is aligned */
		__u8 frame[FRONT_LENGTH];
	} front;

	if (likely(data + FRONT_LENGTH <= end)) {
		__builtin_memcpy(data, endpoint->mac, 12);
		take_hop(data + ETHERNET_LENGTH, ipv6);
		return 0;
	}
	if (bpf_skb_load_bytes(skb, 0, front.frame, FRONT_LENGTH))
		return -1;
	__builtin_memcpy(front.frame, endpoint->mac, 12);
	take_hop(front.frame + ETHERNET_LENGTH, ipv6);
	return bpf_skb_store_bytes(skb, 0, front.frame, FRONT_LENGTH, 0);
}

/* What came from the stack has lost its hop there, or is the host's own. */
INLINE int to_endpoint(struct __sk_buff *skb, int ipv6, const struct endpoint *endpoint, int takes_hop)
{
	if (takes_hop ? write_front(skb, ipv6, endpoint) : bpf_skb_store_bytes(skb, 0, endpoint->mac, 12, 0))
		return TC_ACT_SHOT;
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(endpoint->ifindex, 0);
}

INLINE int deliver(struct __sk_buff *skb, struct packet *p, const struct config *settings)
{
	struct endpoint *endpoint;
	__u32 number = p->to;

	if (p->delivery == DELIVER_ENDPOINT) {
		endpoint = bpf_map_lookup_elem(&endpoints, &number);
		return endpoint ? to_endpoint(skb, p->ipv6, endpoint, p->entry == ENTRY_ENDPOINT) : TC_ACT_SHOT;
	}
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	switch (p->delivery) {
	case DELIVER_STACK:
		if (bpf_skb_store_bytes(skb, 0, settings->stack_mac, 6, 0))
			return TC_ACT_SHOT;
		return bpf_redirect(settings->stack_ifindex, BPF_F_INGRESS);
	case DELIVER_BACK:
		if (p->entry == ENTRY_ENDPOINT)
			return bpf_redirect(skb->ifindex, 0);
		return bpf_redirect(settings->stack_ifindex, BPF_F_INGRESS);
	case DELIVER_PASS:
		return PASS_ON;
	default:
		return TC_ACT_SHOT;
	}
}

#endif

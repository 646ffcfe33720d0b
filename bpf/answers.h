/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The denials that answer, in the packet's place. A service without backends refuses: TCP by a reset (RFC 9293,
 * 3.5.2), UDP and SCTP by port unreachable (RFC 792, RFC 4443). What was turned away at the receiver's door is
 * told why: time exceeded, or packet too big with what its link takes. The packet is quoted as it came. */
#ifndef CLOCHE_ANSWERS_H
#define CLOCHE_ANSWERS_H

#include <linux/tcp.h>

#include "neighbours.h"

#define ANSWER_TTL 64
#define PACKET_BROADCAST 1    /* linux/if_packet.h */
#define PACKET_MULTICAST 2
#define IPV4_DONT_FRAGMENT 0x4000
#define QUOTED 128            /* of the packet that is answered, from its IP header on */
#define ICMP_HEADER 8
/* The frame begins two bytes into p->bytes, so that IP is aligned. */
#define FRAME 2
#define PACKET (FRAME + ETHERNET_LENGTH)
/* The packet is brought to one length, then cut behind its MAC header: what is pulled away takes the
 * mark of a partial checksum with it, which would else be completed in the answer. */
#define ROOM 512
#define CUT 400

INLINE __u32 ip_header(const struct packet *p)
{
	return p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

INLINE void build_ip(struct packet *p, __u32 protocol, __u32 length)
{
	if (p->ipv6) {
		struct ipv6hdr *ip = (void *)(p->bytes + PACKET);

		*(__u32 *)ip = 0x60;
		ip->payload_len = swap16(length);
		ip->nexthdr = protocol;
		ip->hop_limit = ANSWER_TTL;
		copy16(&ip->saddr, p->out.source);
		copy16(&ip->daddr, p->out.destination);
	} else {
		struct iphdr *ip = (void *)(p->bytes + PACKET);

		*(__u32 *)ip = 0x45;
		ip->tot_len = swap16(sizeof(*ip) + length);
		ip->id = 0;
		ip->frag_off = swap16(IPV4_DONT_FRAGMENT);
		ip->ttl = ANSWER_TTL;
		ip->protocol = protocol;
		ip->check = 0;
		ip->saddr = *(__u32 *)(p->out.source + 12);
		ip->daddr = *(__u32 *)(p->out.destination + 12);
		ip->check = fold(bpf_csum_diff(0, 0, (void *)ip, sizeof(*ip), 0));
	}
}

/* The pseudo-header's sum, unfolded. */
INLINE __u64 pseudo_sum(struct packet *p, __u32 protocol, __u32 length)
{
	__u64 sum = swap16(protocol) + swap16(length);

	if (p->ipv6)
		return sum + (__u32)bpf_csum_diff(0, 0, p->out.source, 32, 0);
	return sum + *(__u32 *)(p->out.source + 12) + (__u64) * (__u32 *)(p->out.destination + 12);
}

/* A reset, as of a port that nobody listens on. Returns the frame's length, 0: none can be sent. */
INLINE __u32 build_reset(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr *to = (void *)p->more_bytes, *reset;
	__u32 taken;

	if (bpf_skb_load_bytes(skb, p->l4, to, sizeof(*to)))
		return 0;
	taken = p->l4_length - (p->more_bytes[12] >> 4) * 4 + !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
	reset = (void *)(p->bytes + PACKET + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)));
	__builtin_memset(reset, 0, sizeof(*reset));
	reset->source = to->dest;
	reset->dest = to->source;
	((__u8 *)reset)[12] = sizeof(*reset) / 4 << 4;
	if (p->tcp_flags & TCP_ACK) {
		reset->seq = to->ack_seq;
		((__u8 *)reset)[13] = TCP_RST;
	} else {
		reset->ack_seq = swap32(swap32(to->seq) + taken);
		((__u8 *)reset)[13] = TCP_RST | TCP_ACK;
	}
	reset->check = fold(pseudo_sum(p, PROTOCOL_TCP, sizeof(*reset)) +
			    (__u32)bpf_csum_diff(0, 0, (void *)reset, sizeof(*reset), 0));
	build_ip(p, PROTOCOL_TCP, sizeof(*reset));
	return ETHERNET_LENGTH + ip_header(p) + sizeof(*reset);
}

/* Type, code and second word of the error that tells a reason. */
INLINE void build_error_head(const struct packet *p, __u8 *icmp)
{
	if (p->reason == REASON_TTL) {
		icmp[0] = p->ipv6 ? 3 : 11;
	} else if (p->reason == REASON_TOO_BIG) {
		icmp[0] = p->ipv6 ? 2 : 3;
		icmp[1] = p->ipv6 ? 0 : 4;
		*(__u32 *)(icmp + 4) = swap32(p->mtu);
	} else {
		icmp[0] = p->ipv6 ? 1 : 3;
		icmp[1] = p->ipv6 ? 4 : 3;
	}
}

INLINE __u32 build_error(struct __sk_buff *skb, struct packet *p)
{
	__u8 *icmp = p->bytes + PACKET + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 quoted = p->l4 - ETHERNET_LENGTH + p->l4_length;
	__u64 sum, length;

	if (quoted > QUOTED)
		quoted = QUOTED;
	/* At least an IP header; on all 64 bits, as older verifiers lose bounds in a copy of 32. */
	length = quoted;
	__asm__ volatile("" : "+r"(length));
	__builtin_memset(icmp, 0, ICMP_HEADER + QUOTED);
	build_error_head(p, icmp);
	if (length < sizeof(struct iphdr) || length > QUOTED || bpf_skb_load_bytes(skb, ETHERNET_LENGTH, icmp + ICMP_HEADER, length))
		return 0;
	sum = (__u32)bpf_csum_diff(0, 0, (void *)icmp, ICMP_HEADER + QUOTED, 0);
	if (p->ipv6)
		sum += pseudo_sum(p, PROTOCOL_ICMPV6, ICMP_HEADER + quoted);
	*(__u16 *)(icmp + 2) = fold(sum);
	build_ip(p, p->ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP, ICMP_HEADER + quoted);
	return ETHERNET_LENGTH + ip_header(p) + ICMP_HEADER + quoted;
}

/* True for what came as the link's broadcast or multicast: it is dropped, and nobody told (RFC 1122, 3.2.2). */
INLINE int is_for_many(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_BROADCAST || skb->pkt_type == PACKET_MULTICAST;
}

/* Who answers: the service, or to an endpoint its gateway. The gateway's addresses lead nowhere outside, so to
 * the stack the receiver answers, under the address by which it was called. */
INLINE void take_answers_ends(struct packet *p, const struct config *settings)
{
	copy16(p->out.destination, p->wire.source);
	if (p->reason == REASON_NO_BACKEND || p->entry != ENTRY_ENDPOINT)
		copy16(p->out.source, p->wire.destination);
	else
		copy16(p->out.source, p->ipv6 ? settings->gateway6 : settings->gateway4);
}

/* The answer takes the packet's place, and the way back. */
STAGE int refuse(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	__u32 length;

	if (!p || !settings)
		return DECIDED;
	if (p->reason != REASON_NO_BACKEND && is_for_many(skb)) {
		p->delivery = DELIVER_NOWHERE;
		return DECIDED;
	}
	if (bpf_skb_load_bytes(skb, 0, p->bytes + FRAME, 12))
		return deny(p, REASON_INTERNAL);
	take_answers_ends(p, settings);
	copy6(p->more_bytes, p->bytes + FRAME);
	copy6(p->bytes + FRAME, p->bytes + FRAME + 6);
	copy6(p->bytes + FRAME + 6, p->more_bytes);
	if (p->entry != ENTRY_ENDPOINT)
		copy6(p->bytes + FRAME, settings->stack_mac);
	*(__u16 *)(p->bytes + FRAME + 12) = swap16(p->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	length = p->reason == REASON_NO_BACKEND && p->protocol == PROTOCOL_TCP ? build_reset(skb, p) : build_error(skb, p);
	if (length < 1 || length > sizeof(p->bytes) - FRAME)
		return deny(p, REASON_INTERNAL);
	if (bpf_skb_change_tail(skb, ROOM, 0) || bpf_skb_adjust_room(skb, -CUT, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_change_tail(skb, length, 0) || bpf_skb_store_bytes(skb, 0, p->bytes + FRAME, length, 0))
		return deny(p, REASON_INTERNAL);
	return GO_ON;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* ARP and neighbour discovery from endpoints: answered here with the gateway's MAC, whoever of our
 * ranges is asked for, so that no endpoint hears of another one's MAC (RFC 826, RFC 4861). */
#ifndef CLOCHE_NEIGHBOURS_H
#define CLOCHE_NEIGHBOURS_H

#include "parse.h"
#include "prefixes.h"

#define ARP_LENGTH 28
#define ND_FIRST 133
#define ND_ADVERTISED_ROUTER 134
#define ND_SOLICITED 135
#define ND_LAST 137
#define ND_ADVERTISED 136
#define ND_BODY 24            /* ICMPv6 header and target */
#define ND_ANSWER 32          /* with the target's link-layer address as its one option */
#define ND_FLAG_ROUTER 0x80
#define ND_FLAG_SOLICITED 0x40
#define ND_FLAG_OVERRIDE 0x20

struct arp {
	__u16 hardware;
	__u16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__u16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};

INLINE void copy6(void *to, const void *from)
{
	((__u16 *)to)[0] = ((const __u16 *)from)[0];
	((__u16 *)to)[1] = ((const __u16 *)from)[1];
	((__u16 *)to)[2] = ((const __u16 *)from)[2];
}

INLINE int same6(const void *one, const void *other)
{
	return ((((const __u16 *)one)[0] ^ ((const __u16 *)other)[0]) |
		(((const __u16 *)one)[1] ^ ((const __u16 *)other)[1]) |
		(((const __u16 *)one)[2] ^ ((const __u16 *)other)[2])) == 0;
}

/* True when the address is one of the sending endpoint's. */
INLINE int is_senders(struct packet *p, const struct endpoint *sender, const void *address)
{
	struct address *found;

	if (same16(address, sender->address4) || same16(address, sender->address6))
		return 1;
	p->address.network = p->network;
	copy16(p->address.address, address);
	found = find_address(p);
	return found && found->endpoint == p->sender;
}

/* True when an endpoint may ask who has the address: the gateway's, another endpoint's, or one of our
 * ranges that nobody here has. */
INLINE int is_asked_for(struct packet *p, const void *address, const void *gateway)
{
	struct address *found;

	if (same16(address, gateway))
		return 1;
	p->address.network = p->network;
	copy16(p->address.address, address);
	found = find_address(p);
	if (found && found->endpoint)
		return found->endpoint != p->sender;
	if (found && found->flags)
		return found->flags & ADDRESS_GATEWAY;
	return is_ours(p, address);
}

INLINE int answered(struct packet *p)
{
	p->verdict = VERDICT_ALLOW;
	p->reason = REASON_NONE;
	p->delivery = DELIVER_BACK;
	return DECIDED;
}

STAGE int answer_arp(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct endpoint *sender;
	struct arp *arp;
	__u32 number;

	if (!p || !settings)
		return DECIDED;
	number = p->sender;
	sender = bpf_map_lookup_elem(&endpoints, &number);
	arp = (void *)(p->bytes + 16);
	if (!number || !sender || skb->len < ETHERNET_LENGTH + ARP_LENGTH ||
	    bpf_skb_load_bytes(skb, ETHERNET_LENGTH, arp, ARP_LENGTH))
		return deny(p, REASON_NEIGHBOUR);
	if (arp->hardware != swap16(1) || arp->protocol != swap16(ETH_P_IP) || arp->hardware_length != 6 ||
	    arp->protocol_length != 4 || arp->operation != swap16(1))
		return deny(p, REASON_NEIGHBOUR);
	map_ipv4(p->wire.source, *(__u32 *)arp->sender);
	map_ipv4(p->wire.destination, *(__u32 *)arp->target);
	if (!same6(arp->sender_mac, sender->mac) || !*(__u32 *)arp->sender ||
	    !is_senders(p, sender, p->wire.source) ||
	    !is_asked_for(p, p->wire.destination, settings->gateway4))
		return deny(p, REASON_NEIGHBOUR);
	arp->operation = swap16(2);
	copy6(arp->target_mac, sender->mac);
	*(__u32 *)arp->target = *(__u32 *)arp->sender;
	copy6(arp->sender_mac, sender->gateway_mac);
	*(__u32 *)arp->sender = *(__u32 *)(p->wire.destination + 12);
	if (bpf_skb_store_bytes(skb, 0, sender->mac, 12, 0) ||
	    bpf_skb_store_bytes(skb, ETHERNET_LENGTH, arp, ARP_LENGTH, 0))
		return deny(p, REASON_INTERNAL);
	return answered(p);
}

/* The sum over IPv6's pseudo-header and an upper part of constant size, folded and inverted. */
INLINE __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The answer's IPv6 header and body in p->bytes. */
INLINE void build_advertisement(struct packet *p, const struct endpoint *sender, __u32 router)
{
	struct ipv6hdr *ip = (void *)p->bytes;
	__u8 *body = p->bytes + sizeof(*ip);
	__u64 sum;

	*(__u32 *)p->bytes = 0x60;
	ip->payload_len = swap16(ND_ANSWER);
	ip->nexthdr = PROTOCOL_ICMPV6;
	ip->hop_limit = 255;
	copy16(&ip->daddr, p->wire.source);
	copy16(&ip->saddr, p->more_bytes + 8);
	*(__u64 *)body = 0;
	body[0] = ND_ADVERTISED;
	body[4] = ND_FLAG_SOLICITED | ND_FLAG_OVERRIDE | (router ? ND_FLAG_ROUTER : 0);
	copy16(body + 8, p->more_bytes + 8);
	body[24] = 2;
	body[25] = 1;
	copy6(body + 26, sender->gateway_mac);
	sum = bpf_csum_diff(0, 0, p->bytes + 8, 32 + ND_ANSWER, 0);
	sum += swap16(ND_ANSWER) + swap16(PROTOCOL_ICMPV6);
	*(__u16 *)(body + 2) = fold(sum);
}

/* ICMPv6 from an endpoint, whole or a first part. */
STAGE int answer_nd(struct __sk_buff *skb)
{
	struct packet *p = this_packet();
	struct config *settings = this_config();
	struct endpoint *sender;
	__u32 number, type, router;
	int kind;

	if (!p || !settings)
		return DECIDED;
	type = p->icmp >> 8;
	if (type == ND_ADVERTISED_ROUTER)
		return deny(p, REASON_ROUTER_ADVERTISEMENT);
	number = p->sender;
	sender = bpf_map_lookup_elem(&endpoints, &number);
	if (!number || !sender || p->icmp != ND_SOLICITED << 8 || p->hop_limit != 255 ||
	    p->part != PART_WHOLE || p->l4_length < ND_BODY ||
	    bpf_skb_load_bytes(skb, p->l4, p->more_bytes, ND_BODY))
		return deny(p, REASON_NEIGHBOUR);
	kind = kind_of(p->wire.source, 1);
	if (kind != KIND_LINK_LOCAL && (kind != KIND_UNICAST || !is_senders(p, sender, p->wire.source)))
		return deny(p, REASON_NEIGHBOUR);
	if (kind_of(p->more_bytes + 8, 1) == KIND_MAPPED)
		return deny(p, REASON_NEIGHBOUR);
	router = same16(p->more_bytes + 8, settings->gateway6);
	if (!is_asked_for(p, p->more_bytes + 8, settings->gateway6))
		return deny(p, REASON_NEIGHBOUR);
	build_advertisement(p, sender, router);
	if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + sizeof(struct ipv6hdr) + ND_ANSWER, 0) ||
	    bpf_skb_store_bytes(skb, 0, sender->mac, 12, 0) ||
	    bpf_skb_store_bytes(skb, ETHERNET_LENGTH, p->bytes, sizeof(struct ipv6hdr) + ND_ANSWER, 0))
		return deny(p, REASON_INTERNAL);
	return answered(p);
}

#endif

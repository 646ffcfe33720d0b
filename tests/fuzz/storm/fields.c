// SPDX-License-Identifier: Apache-2.0
// Fields of headers made odd, each by its meaning: lengths, fragments, next headers, addresses, ports, flags, what
// ICMP errors quote, what ARP and neighbour discovery ask for.
#include <string.h>

#include "storm.h"

enum { ICMP = 1, TCP = 6, UDP = 17, FRAGMENT = 44, ICMPV6 = 58 };

static const __u16 PORTS[] = { 80, 80, 80, 8080, 53, 40000, 40001, 67, 547, 0, 65535 };
static const __u8 FLAGS[] = { 2, 2, 18, 16, 16, 24, 17, 1, 4, 20, 0, 3, 6, 63, 41, 194 };
static const __u8 PROTOCOLS[] = { 0, 1, 4, 6, 6, 17, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 132, 135, 255 };
static const __u8 EXTENSIONS[] = { 0, 60, 60, 43, 44 };
static const __u8 TYPES[] = { 0, 3, 4, 5, 8, 11, 12, 1, 2, 128, 129, 133, 134, 135, 136, 137 };
static const __u16 KINDS[] = { 0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x8863, 0x0801 };

#define PICK(draw, table) ((table)[below(draw, sizeof(table) / sizeof((table)[0]))])

static void put_address(const struct site *site, struct draw *draw, __u8 *at, int family)
{
	const int six = family == 6;
	const __u8 *from = site->pool[six][below(draw, site->pool_sizes[six])];

	if (six)
		memcpy(at, from, 16);
	else
		memcpy(at, from + 12, 4);
	if (!below(draw, 8))
		at[below(draw, six ? 16 : 4)] ^= 1 << below(draw, 8);
}

static void spoil_ethernet(const struct site *site, struct draw *draw, struct sent *sent)
{
	__u8 *frame = sent->frame;
	const struct party *party = site->parties + below(draw, PARTIES);

	switch (below(draw, 6)) {
	case 0:
		memcpy(frame + 6, party->mac, 6);
		break;
	case 1:
		memset(frame + 6 * below(draw, 2), below(draw, 2) ? 0xff : 0, 6);
		break;
	case 2:
		memcpy(frame, below(draw, 2) ? party->mac : party->gateway_mac, 6);
		break;
	case 3:
		frame[below(draw, 12)] ^= 1 << below(draw, 8);
		break;
	case 4:
		put16(frame + 12, below(draw, 8) ? PICK(draw, KINDS) : drawn(draw));
		break;
	default:
		make_room(sent, 12, 4);
		put16(frame + 12, below(draw, 2) ? 0x8100 : 0x88a8);
		put16(frame + 14, drawn(draw));
	}
}

static void spoil_ipv4(const struct site *site, struct draw *draw, __u8 *ip)
{
	switch (below(draw, 9)) {
	case 0:
		ip[0] = below(draw, 2) ? (ip[0] & 0xf0) | below(draw, 16) : oddly(draw, ip[0], 1);
		break;
	case 1:
		put16(ip + 2, oddly(draw, get16(ip + 2), 2));
		break;
	case 2:
		put16(ip + 4, below(draw, 4));
		break;
	case 3:
		put16(ip + 6, below(draw, 2) << 15 | below(draw, 2) << 14 | below(draw, 2) << 13 |
				      (below(draw, 4) ? below(draw, 12) : drawn(draw) & 0x1fff));
		break;
	case 4:
		ip[8] = below(draw, 4) ? below(draw, 3) : edge(draw);
		break;
	case 5:
		ip[9] = PICK(draw, PROTOCOLS);
		break;
	case 6:
		put16(ip + 10, oddly(draw, get16(ip + 10), 2));
		break;
	default:
		put_address(site, draw, ip + (below(draw, 2) ? 12 : 16), 4);
	}
}

// One more extension header behind IPv6's own.
static void put_extension(struct draw *draw, struct sent *sent, __u32 ip)
{
	__u32 kind = PICK(draw, EXTENSIONS), words = kind == FRAGMENT ? 0 : below(draw, 3), before = sent->length;
	__u8 *header = sent->frame + ip + 40;

	make_room(sent, ip + 40, 8 + 8 * words);
	if (sent->length == before)
		return;
	memset(header, 0, 8 + 8 * words);
	header[0] = sent->frame[ip + 6];
	sent->frame[ip + 6] = kind;
	if (kind == FRAGMENT) {
		put16(header + 2, (below(draw, 2) ? 0 : 8 * below(draw, 10)) | below(draw, 2));
		header[7] = below(draw, 4);
	} else {
		header[1] = below(draw, 12) ? words : edge(draw);
		header[3] = below(draw, 6) ? 0 : edge(draw);
	}
	if (below(draw, 8))
		put16(sent->frame + ip + 4, get16(sent->frame + ip + 4) + 8 + 8 * words);
}

static void spoil_ipv6(const struct site *site, struct draw *draw, struct sent *sent, __u32 at)
{
	__u8 *ip = sent->frame + at;

	switch (below(draw, 9)) {
	case 0:
		ip[0] = oddly(draw, ip[0], 1);
		break;
	case 1:
		put16(ip + 4, oddly(draw, get16(ip + 4), 2));
		break;
	case 2:
		ip[6] = PICK(draw, PROTOCOLS);
		break;
	case 3:
		ip[7] = below(draw, 4) ? below(draw, 3) : edge(draw);
		break;
	case 4:
	case 5:
	case 6:
		for (__u32 count = 1 + (below(draw, 3) ? 0 : below(draw, 8)); count--;)
			put_extension(draw, sent, at);
		break;
	default:
		put_address(site, draw, ip + (below(draw, 2) ? 8 : 24), 6);
	}
}

static void spoil_ports(struct draw *draw, __u8 *upper)
{
	__u8 *port = upper + 2 * below(draw, 2);

	put16(port, below(draw, 4) ? PICK(draw, PORTS) : oddly(draw, get16(port), 2));
}

// What follows IP's headers; ``have`` bytes of it are there.
static void spoil_upper(const struct site *site, struct draw *draw, __u8 *upper, const struct reading *packet)
{
	__u32 have = packet->end - packet->upper, at;

	if (have < 8)
		return;
	at = below(draw, have < 24 ? have : 24);
	if (packet->protocol == (packet->family == 4 ? ICMP : ICMPV6)) {
		at = below(draw, 3);
		if (at < 2)
			upper[at] = at ? below(draw, 16) : PICK(draw, TYPES);
		else if (packet->family == 6 && have >= 24)
			put_address(site, draw, upper + 8, 6);
		else
			upper[4 + below(draw, 4)] = edge(draw);
	} else if (below(draw, 2)) {
		spoil_ports(draw, upper);
	} else if (packet->protocol == TCP && have >= 20 && below(draw, 2)) {
		at = below(draw, 5);
		upper[at ? 13 : 12] = at ? PICK(draw, FLAGS) : oddly(draw, upper[12], 1);
	} else if (packet->protocol == UDP) {
		at = below(draw, 2) ? 4 : 6;
		put16(upper + at, at == 6 ? 0 : oddly(draw, get16(upper + at), 2));
	} else {
		upper[at] = oddly(draw, upper[at], 1);
	}
}

static void spoil_arp(const struct site *site, struct draw *draw, struct sent *sent)
{
	__u8 *arp = sent->frame + LEAST;

	if (sent->length < LEAST + 28)
		return;
	switch (below(draw, 5)) {
	case 0:
		arp[below(draw, 8)] = edge(draw);
		break;
	case 1:
		memcpy(arp + 8, site->parties[below(draw, PARTIES)].mac, 6);
		break;
	case 2:
		arp[7] = below(draw, 4);
		break;
	default:
		put_address(site, draw, arp + (below(draw, 2) ? 14 : 24), 4);
	}
}

static void spoil_packet(const struct site *site, struct draw *draw, struct sent *sent,
			 const struct reading *packet)
{
	if (packet->upper < packet->end && below(draw, 2))
		spoil_upper(site, draw, sent->frame + packet->upper, packet);
	else if (packet->family == 4)
		spoil_ipv4(site, draw, sent->frame + packet->ip);
	else
		spoil_ipv6(site, draw, sent, packet->ip);
}

void spoil_field(const struct site *site, struct draw *draw, struct sent *sent)
{
	struct reading packet = read_frame(sent->frame, sent->length), quoted;

	if (!below(draw, 12)) {
		spoil_ethernet(site, draw, sent);
	} else if (packet.family) {
		if (is_error(sent->frame, &packet) && below(draw, 3)) {
			quoted = read_ip(sent->frame, sent->length, packet.upper + 8, packet.family);
			if (quoted.family)
				packet = quoted;
		}
		spoil_packet(site, draw, sent, &packet);
	} else if (get16(sent->frame + 12) == 0x0806) {
		spoil_arp(site, draw, sent);
	}
}

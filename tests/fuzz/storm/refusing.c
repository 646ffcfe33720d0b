// SPDX-License-Identifier: Apache-2.0
// What must be refused for what it holds, whoever sends it and whatever came before: read from
// docs/design/packets.md (order 3 to 5), not looking at bpf/parse.h.
#include <string.h>

#include "storm.h"

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60, FOLLOWED = 6 };
enum { OPTION_END = 0, OPTION_NOTHING = 1, LOOSE = 131, STRICT = 137 };

static enum wrong refuse_options(const __u8 *options, __u32 length)
{
	__u32 at = 0, size;

	while (at < length && options[at] != OPTION_END) {
		if (options[at] == OPTION_NOTHING) {
			at++;
			continue;
		}
		size = at + 1 < length ? options[at + 1] : 0;
		if (size < 2 || at + size > length)
			return MALFORMED_PASSED;
		if (options[at] == LOOSE || options[at] == STRICT)
			return ROUTED_PASSED;
		at += size;
	}
	return FINE;
}

static enum wrong refuse_ipv4(const __u8 *ip, __u32 length)
{
	__u32 header = (ip[0] & 15) * 4, total = get16(ip + 2);

	if (ip[0] >> 4 != 4 || header < 20 || total < header || total > length)
		return MALFORMED_PASSED;
	return refuse_options(ip + 20, header - 20);
}

// The chain of extension headers, up to a later part.
static enum wrong refuse_ipv6(const __u8 *ip, __u32 length)
{
	__u32 end = 40 + get16(ip + 4), at = 40, kind = ip[6], parts = 0, more = 0, size;

	if (ip[0] >> 4 != 6 || end > length)
		return MALFORMED_PASSED;
	for (int count = 0; kind == HOP_BY_HOP || kind == ROUTING || kind == FRAGMENT || kind == DESTINATION; count++) {
		if (count == FOLLOWED)
			return MALFORMED_PASSED;
		size = at + 2 > end || kind == FRAGMENT ? 8 : (ip[at + 1] + 1) * 8;
		if (at + size > end)
			return more ? FINE : MALFORMED_PASSED;
		if (kind == ROUTING && ip[at + 3])
			return ROUTED_PASSED;
		if (kind == FRAGMENT) {
			if (parts++)
				return MALFORMED_PASSED;
			more = ip[at + 3] & 1;
			if (get16(ip + at + 2) & 0xfff8)
				return FINE;
		}
		kind = ip[at];
		at += size;
	}
	return FINE;
}

static int is_odd4(const __u8 *address)
{
	static const __u8 none[4];

	return !memcmp(address, none, 4) || address[0] == 127 || address[0] >= 224 ||
	       (address[0] == 169 && address[1] == 254);
}

static int is_odd6(const __u8 *address)
{
	static const __u8 none[16], mapped[12] = { [10] = 0xff, [11] = 0xff };

	return address[0] == 0xff || (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) ||
	       (!memcmp(address, none, 15) && address[15] < 2) || !memcmp(address, mapped, 12);
}

static enum wrong refuse_upper(const struct sent *sent, const struct reading *packet)
{
	const __u8 *upper = sent->frame + packet->upper;
	__u32 have = packet->end - packet->upper, icmp = packet->family == 4 ? ICMP : ICMPV6, kind = packet->protocol;

	if (packet->part)
		return FINE;
	if (have < (kind == TCP ? 20 : kind == UDP || kind == icmp ? 8 : kind == SCTP ? 12 : 0))
		return MALFORMED_PASSED;
	if (sent->by < PARTIES && kind == UDP && get16(upper) == (packet->family == 4 ? 67 : 547))
		return SERVER_PASSED;
	return sent->by < PARTIES && kind == ICMPV6 && packet->family == 6 && upper[0] >= 133 && upper[0] <= 137 ?
		       NEIGHBOUR_PASSED : FINE;
}

// Of what is delivered, or answered by an error or a reset.
enum wrong refuse(const struct sent *sent, const struct reading *packet)
{
	const __u8 *ip = sent->frame + packet->ip;
	const __u32 length = sent->length - packet->ip;
	enum wrong found;

	if (!packet->family)
		return MALFORMED_PASSED;
	found = packet->family == 4 ? refuse_ipv4(ip, length) : refuse_ipv6(ip, length);
	if (found)
		return found;
	if (packet->family == 4 ? is_odd4(ip + 12) || is_odd4(ip + 16) : is_odd6(ip + 8) || is_odd6(ip + 24))
		return MARTIAN_PASSED;
	return refuse_upper(sent, packet);
}

// Of what is answered as it asks for: neighbour discovery.
enum wrong refuse_question(const struct sent *sent, const struct reading *packet)
{
	const __u8 *ip = sent->frame + packet->ip, *upper = sent->frame + packet->upper;

	if (packet->family != 6 || refuse_ipv6(ip, sent->length - packet->ip) || packet->part ||
	    packet->protocol != ICMPV6 || packet->end < packet->upper + 24)
		return NEIGHBOUR_PASSED;
	return ip[7] != 255 || upper[0] != 135 || upper[1] ? NEIGHBOUR_PASSED : FINE;
}

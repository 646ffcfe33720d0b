// SPDX-License-Identifier: Apache-2.0
// Reads IP as far as it can be read, and its checksums (RFC 1071, RFC 9260), not looking at bpf/parse.h.
#include <string.h>

#include "storm.h"

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60, MOST_HEADERS = 8 };

__u32 get16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

void put16(__u8 *at, __u32 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static struct reading read_ipv4(const __u8 *frame, __u32 length, __u32 at)
{
	struct reading packet = { 0 };
	__u32 header, total, word;

	if (at + 20 > length)
		return packet;
	header = (frame[at] & 15) * 4;
	total = get16(frame + at + 2);
	if (header < 20 || at + header > length || total < header)
		return packet;
	word = get16(frame + at + 6);
	packet.family = 4;
	packet.ip = at;
	packet.upper = at + header;
	packet.end = at + total < length ? at + total : length;
	packet.protocol = frame[at + 9];
	packet.part = (word & 0x3fff) != 0;
	packet.later = (word & 0x1fff) != 0;
	return packet;
}

static struct reading read_ipv6(const __u8 *frame, __u32 length, __u32 at)
{
	struct reading packet = { 0 };

	if (at + 40 > length)
		return packet;
	packet.family = 6;
	packet.ip = at;
	packet.end = at + 40 + get16(frame + at + 4);
	if (packet.end > length)
		packet.end = length;
	packet.protocol = frame[at + 6];
	packet.upper = at + 40;
	for (int count = 0; count < MOST_HEADERS && !packet.later; count++) {
		const __u8 *header = frame + packet.upper;
		__u32 kind = packet.protocol, size;

		if (kind != HOP_BY_HOP && kind != ROUTING && kind != FRAGMENT && kind != DESTINATION)
			break;
		if (packet.upper + 8 > packet.end)
			break;
		size = kind == FRAGMENT ? 8 : (header[1] + 1) * 8;
		if (packet.upper + size > packet.end)
			break;
		if (kind == FRAGMENT) {
			packet.part |= (get16(header + 2) & 0xfff9) != 0;
			packet.later = (get16(header + 2) & 0xfff8) != 0;
		}
		packet.protocol = header[0];
		packet.upper += size;
	}
	return packet;
}

struct reading read_ip(const __u8 *frame, __u32 length, __u32 at, __u32 family)
{
	return family == 4 ? read_ipv4(frame, length, at) : read_ipv6(frame, length, at);
}

struct reading read_frame(const __u8 *frame, __u32 length)
{
	struct reading none = { 0 };
	__u32 kind = length < LEAST ? 0 : get16(frame + 12);

	if (kind != 0x0800 && kind != 0x86dd)
		return none;
	return read_ip(frame, length, LEAST, kind == 0x0800 ? 4 : 6);
}

// An ICMP error, whole or its first part: what it quotes is written anew too.
int is_error(const __u8 *frame, const struct reading *packet)
{
	__u32 type;

	if (!packet->family || packet->later || packet->upper + 8 > packet->end)
		return 0;
	type = frame[packet->upper];
	if (packet->family == 6)
		return packet->protocol == ICMPV6 && type >= 1 && type <= 4;
	return packet->protocol == ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

static __u32 summed(const __u8 *bytes, __u32 length, __u64 sum)
{
	for (; length > 1; length -= 2, bytes += 2)
		sum += get16(bytes);
	if (length)
		sum += bytes[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __u32 crc_table[256];

__attribute__((constructor)) static void make_crc_table(void)
{
	for (__u32 byte = 0; byte < 256; byte++) {
		__u32 value = byte;

		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
		crc_table[byte] = value;
	}
}

// SCTP's, its own field as zero.
static __u32 crc32c(const __u8 *bytes, __u32 length)
{
	__u32 value = 0xffffffff;

	for (__u32 at = 0; at < length; at++)
		value = value >> 8 ^ crc_table[(value ^ (at >= 8 && at < 12 ? 0 : bytes[at])) & 255];
	return ~value;
}

// Where the upper checksum is, 0: there is none, or it cannot be told whether it is right.
static __u32 upper_at(const struct reading *packet)
{
	__u32 have = packet->end - packet->upper;

	if (!packet->family || packet->later || packet->end < packet->upper)
		return 0;
	if (packet->protocol == TCP)
		return have >= 20 ? packet->upper + 16 : 0;
	if (packet->protocol == UDP)
		return have >= 8 ? packet->upper + 6 : 0;
	if (packet->protocol == (packet->family == 4 ? ICMP : ICMPV6))
		return have >= 8 ? packet->upper + 2 : 0;
	return packet->protocol == SCTP && have >= 12 && !packet->part ? packet->upper + 8 : 0;
}

// The sum over pseudo-header and upper part; 0xffff when the checksum in it is right.
static __u32 upper_sum(const __u8 *frame, const struct reading *packet)
{
	__u32 length = packet->end - packet->upper;
	__u64 sum = packet->protocol + length;

	if (packet->family == 6)
		sum += summed(frame + packet->ip + 8, 32, 0);
	else if (packet->protocol == ICMP)
		sum = 0;
	else
		sum += summed(frame + packet->ip + 12, 8, 0);
	return summed(frame + packet->upper, length, sum);
}

int ipv4_right(const __u8 *frame, const struct reading *packet)
{
	return packet->family != 4 || summed(frame + packet->ip, (frame[packet->ip] & 15) * 4, 0) == 0xffff;
}

// UDP without a checksum: it is to stay so.
int is_unsummed(const __u8 *frame, const struct reading *packet)
{
	__u32 at = packet->protocol == UDP ? upper_at(packet) : 0;

	return at && !get16(frame + at);
}

int upper_right(const __u8 *frame, const struct reading *packet)
{
	__u32 at = upper_at(packet), crc;

	if (!at)
		return 1;
	if (is_unsummed(frame, packet))
		return 1;
	if (packet->protocol != SCTP)
		return upper_sum(frame, packet) == 0xffff;
	memcpy(&crc, frame + at, 4);
	return crc == crc32c(frame + packet->upper, packet->end - packet->upper);
}

// Makes both checksums right; one that UDP does without stays away.
void mend(__u8 *frame, const struct reading *packet)
{
	__u32 at = upper_at(packet), crc;

	if (packet->family == 4) {
		put16(frame + packet->ip + 10, 0);
		put16(frame + packet->ip + 10, ~summed(frame + packet->ip, (frame[packet->ip] & 15) * 4, 0));
	}
	if (!at || is_unsummed(frame, packet))
		return;
	if (packet->protocol == SCTP) {
		crc = crc32c(frame + packet->upper, packet->end - packet->upper);
		memcpy(frame + at, &crc, 4);
		return;
	}
	put16(frame + at, 0);
	crc = ~upper_sum(frame, packet) & 0xffff;
	put16(frame + at, crc || packet->protocol != UDP ? crc : 0xffff);
}

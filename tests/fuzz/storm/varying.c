// SPDX-License-Identifier: Apache-2.0
// Makes another frame of a frame: bits, bytes, lengths, fields, another sender; in a share of them lengths and
// checksums are mended, so that what is odd gets further in than its checksum.
#include <stddef.h>
#include <string.h>

#include "storm.h"

static const __u8 CHANGES[] = { 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5, 8 };
static const __u8 SIZES[] = { 1, 1, 2, 4, 4, 8, 8, 16, 20, 40 };
static const __u64 WAITS[] = { 1,		1000,	     1000000,	  1000000,     1000000000,
			       5000000000,	29000000000, 31000000000, 61000000000, 601000000000 };

// Bytes of what is there already, put in before ``at``.
void make_room(struct sent *sent, __u32 at, __u32 count)
{
	if (sent->length + count > MOST || at > sent->length)
		return;
	memmove(sent->frame + at + count, sent->frame + at, sent->length - at);
	sent->length += count;
}

// Mostly in the headers, seldom in the MACs.
static __u32 place(struct draw *draw, const struct sent *sent)
{
	__u32 reach = sent->length < 120 ? sent->length : 120;

	if (!below(draw, 20) || reach <= 12)
		return below(draw, 14);
	return below(draw, 20) ? 12 + below(draw, reach - 12) : below(draw, sent->length);
}

static void take_out(struct draw *draw, struct sent *sent, __u32 at)
{
	__u32 count = SIZES[below(draw, sizeof(SIZES))];

	if (at + count >= sent->length || sent->length - count < LEAST)
		return;
	memmove(sent->frame + at, sent->frame + at + count, sent->length - at - count);
	sent->length -= count;
}

static void put_in(struct draw *draw, struct sent *sent, __u32 at)
{
	__u32 count = SIZES[below(draw, sizeof(SIZES))], random = below(draw, 2), before = sent->length;

	make_room(sent, at, count);
	for (__u32 number = 0; before != sent->length && number < count; number++)
		sent->frame[at + number] = random ? drawn(draw) : edge(draw);
}

static void put_last(struct draw *draw, struct sent *sent)
{
	__u32 count = below(draw, 4) ? SIZES[below(draw, sizeof(SIZES))] : below(draw, 1480);

	if (sent->length + count > MOST)
		return;
	memset(sent->frame + sent->length, below(draw, 2) ? 0 : drawn(draw), count);
	sent->length += count;
}

static void spoil_bytes(struct draw *draw, struct sent *sent)
{
	__u32 at = place(draw, sent), from = place(draw, sent), count = SIZES[below(draw, sizeof(SIZES))];

	switch (below(draw, 9)) {
	case 0:
	case 1:
		sent->frame[at] ^= 1 << below(draw, 8);
		break;
	case 2:
		sent->frame[at] = edge(draw);
		break;
	case 3:
		sent->frame[at] = oddly(draw, sent->frame[at], 1);
		break;
	case 4:
		sent->length = at < LEAST ? LEAST : at;
		break;
	case 5:
		put_last(draw, sent);
		break;
	case 6:
		put_in(draw, sent, at);
		break;
	case 7:
		take_out(draw, sent, at);
		break;
	default:
		if (at + count <= sent->length && from + count <= sent->length)
			memmove(sent->frame + at, sent->frame + from, count);
	}
}

// Another sender, in half of the cases by that one's own MACs.
static void change_sender(const struct site *site, struct draw *draw, struct sent *sent)
{
	const struct party *party;

	sent->by = below(draw, SENDERS);
	if (below(draw, 2))
		return;
	party = site->parties + (sent->by < PARTIES ? sent->by : 0);
	memcpy(sent->frame, sent->by < PARTIES ? party->gateway_mac : site->peer_mac, 6);
	memcpy(sent->frame + 6, sent->by < PARTIES ? party->mac : site->stack_mac, 6);
}

static void mend_length(struct sent *sent)
{
	__u32 kind = get16(sent->frame + 12);

	if (kind == 0x0800 && sent->length >= LEAST + 20)
		put16(sent->frame + LEAST + 2, sent->length - LEAST);
	if (kind == 0x86dd && sent->length >= LEAST + 40)
		put16(sent->frame + LEAST + 4, sent->length - LEAST - 40);
}

void vary(const struct site *site, const struct sent *base, __u64 seed, struct sent *out)
{
	struct draw draw = { seed };
	__u32 changes = CHANGES[below(&draw, sizeof(CHANGES))];
	struct reading packet;

	memcpy(out, base, offsetof(struct sent, frame));
	memcpy(out->frame, base->frame, base->length);
	out->wait_ns = below(&draw, 500) ? 0 : WAITS[below(&draw, sizeof(WAITS) / sizeof(WAITS[0]))];
	while (changes--) {
		if (below(&draw, 5) < 3)
			spoil_field(site, &draw, out);
		else
			spoil_bytes(&draw, out);
	}
	if (!below(&draw, 24))
		change_sender(site, &draw, out);
	if (below(&draw, 2) && out->length != base->length)
		mend_length(out);
	packet = read_frame(out->frame, out->length);
	if (below(&draw, 3) && packet.family && packet.upper <= packet.end)
		mend(out->frame, &packet);
}

// SPDX-License-Identifier: Apache-2.0
// What no frame may do, whatever it holds and whatever came before it. A frame that is dropped is dropped with a
// reason and unchanged; one that passes comes from who it says, over a link that is open, and reaches whom it is
// addressed to, with nothing changed but what a router and a service change; an answer goes to its sender.
#include <string.h>

#include "storm.h"

enum { SHOT = 2, REDIRECTED = 7, ARP = 0x0806 };
#define PASSED_ON 0xffffffffu

static const char *WORDS[WRONGS] = {
	[FINE] = "fine",
	[UNTRIED] = "too short for a test run",
	[KERNEL_REFUSED] = "the kernel refuses the test run",
	[ODD_RETURN] = "verdict, reason, delivery and return value do not fit together",
	[NO_REASON] = "dropped without a reason",
	[HELPER_FAILED] = "a helper of the kernel failed",
	[NOT_DROPPED] = "denied, but not dropped",
	[CHANGED] = "denied, but changed",
	[CLOSED_LINK] = "passed from a link that is not open",
	[SPOOFED_MAC] = "passed from a spoofed MAC",
	[SPOOFED_ADDRESS] = "passed from a spoofed source",
	[ASTRAY] = "delivered where such a packet never goes",
	[FOREIGN_MACS] = "delivered with somebody else's MACs",
	[FOREIGN_ADDRESS] = "delivered to somebody else",
	[OTHER_LENGTH] = "delivered longer or shorter",
	[OTHER_HOPS] = "delivered with a wrong number of hops left",
	[OTHER_PAYLOAD] = "delivered with something else changed",
	[SPOILT_IPV4] = "spoils the header's checksum",
	[SPOILT_UPPER] = "spoils the upper checksum",
	[ANSWER_ASTRAY] = "answered to somebody else",
	[ANSWER_UNASKED] = "answered what no router answers: an error, a later part, what came for many",
	[ANSWER_WRONG] = "answered with what cannot be read, or a wrong checksum",
	[MALFORMED_PASSED] = "passed though its headers do not hold together",
	[ROUTED_PASSED] = "passed with a source route",
	[MARTIAN_PASSED] = "passed with an address that no packet may carry",
	[SERVER_PASSED] = "passed as a DHCP server's",
	[NEIGHBOUR_PASSED] = "passed as neighbour discovery that is none",
};

// One packet before and after the program.
struct passage {
	const struct site *site;
	const struct sent *sent;
	const struct answer *answer;
	struct reading before;
	struct reading after;
	__u32 verdict;
	__u32 reason;
	__u32 delivery;
};

const char *words(__u32 wrong)
{
	return wrong < WRONGS ? WORDS[wrong] : "?";
}

enum entry_kind entry_of(__u32 by)
{
	return by < PARTIES ? FROM_ENDPOINT : by == SENDER_HOST ? FROM_HOST : FROM_STACK;
}

// An address of a packet (which: 0 source, 1 destination) as 16 bytes.
static void address_of(const __u8 *frame, const struct reading *packet, int which, __u8 *to)
{
	static const __u8 mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (packet->family == 6) {
		memcpy(to, frame + packet->ip + 8 + 16 * which, 16);
		return;
	}
	memcpy(to, mapped, 12);
	memcpy(to + 12, frame + packet->ip + 12 + 4 * which, 4);
}

static int has_address(const struct party *party, const __u8 *address)
{
	return !memcmp(party->addresses[0], address, 16) || !memcmp(party->addresses[1], address, 16);
}

static int is_inside(const struct range *range, const __u8 *address)
{
	return !memcmp(range->address, address, range->bits / 8);
}

static enum wrong judge_sender(const struct passage *one)
{
	const struct party *party = one->site->parties + one->sent->by;
	const __u8 *frame = one->sent->frame;
	__u8 source[16];

	if (!one->sent->by || !party->open)
		return CLOSED_LINK;
	if (memcmp(frame + 6, party->mac, 6))
		return SPOOFED_MAC;
	if (get16(frame + 12) == ARP)
		return memcmp(frame + 22, party->mac, 6) || memcmp(frame + 28, party->addresses[0] + 12, 4) ?
			       SPOOFED_ADDRESS : FINE;
	if (!one->before.family)
		return ASTRAY;
	address_of(frame, &one->before, 0, source);
	if (one->verdict == VERDICT_ALLOW && one->delivery == DELIVER_BACK && one->before.family == 6 &&
	    source[0] == 0xfe && (source[1] & 0xc0) == 0x80)
		return FINE;  // neighbour discovery
	return has_address(party, source) ? FINE : SPOOFED_ADDRESS;
}

static enum wrong judge_macs(const struct passage *one)
{
	const struct party *party;
	const __u8 *after = one->answer->frame;
	__u32 number = one->answer->cb[2] >> 16;
	__u8 destination[16];

	if (one->delivery == DELIVER_STACK)
		return memcmp(after, one->site->stack_mac, 6) || memcmp(after + 6, one->sent->frame + 6, 6) ?
			       FOREIGN_MACS : FINE;
	if (!number || number >= PARTIES || !one->site->parties[number].open)
		return CLOSED_LINK;
	party = one->site->parties + number;
	if (memcmp(after, party->mac, 6) || memcmp(after + 6, party->gateway_mac, 6))
		return FOREIGN_MACS;
	address_of(after, &one->after, 1, destination);
	return has_address(party, destination) ? FINE : FOREIGN_ADDRESS;
}

// Hops, addresses, ports and checksums may be others; what is quoted in an ICMP error too.
static int may_change(const struct passage *one, __u32 at)
{
	const struct reading *packet = &one->before;
	__u32 header = at - packet->ip, upper = at - packet->upper;

	if (packet->family == 4 && (header == 8 || header == 10 || header == 11 || (header >= 12 && header < 20)))
		return 1;
	if (packet->family == 6 && (header == 7 || (header >= 8 && header < 40)))
		return 1;
	if (packet->later || at < packet->upper)
		return 0;
	switch (packet->protocol) {
	case 6:
		return upper < 4 || upper == 16 || upper == 17;
	case 17:
		return upper < 4 || upper == 6 || upper == 7;
	case 132:
		return upper < 4 || (upper >= 8 && upper < 12);
	default:
		return is_error(one->sent->frame, packet) && upper >= 2;
	}
}

static enum wrong judge_contents(const struct passage *one)
{
	const __u8 *before = one->sent->frame, *after = one->answer->frame;
	__u32 hops = one->before.ip + (one->before.family == 4 ? 8 : 7);
	__u32 taken = one->delivery == DELIVER_ENDPOINT && one->sent->by < PARTIES;

	if (one->answer->length != one->sent->length)
		return OTHER_LENGTH;
	if (after[hops] != before[hops] - taken)
		return OTHER_HOPS;
	for (__u32 at = 12; at < one->sent->length; at++)
		if (before[at] != after[at] && !may_change(one, at))
			return OTHER_PAYLOAD;
	if (ipv4_right(before, &one->before) && !ipv4_right(after, &one->after))
		return SPOILT_IPV4;
	if (is_unsummed(before, &one->before) != is_unsummed(after, &one->after) ||
	    (upper_right(before, &one->before) && !upper_right(after, &one->after)))
		return SPOILT_UPPER;
	return FINE;
}

// A denial for what the packet is (hops.md): a service's refusal is another matter.
static int is_unasked(const struct passage *one)
{
	return one->verdict == VERDICT_DENY && one->reason != REASON_NO_BACKEND &&
	       (one->sent->frame[0] & 1 || one->before.later || is_error(one->sent->frame, &one->before));
}

static enum wrong judge_answer(const struct passage *one)
{
	const __u8 *to = one->sent->by < PARTIES ? one->site->parties[one->sent->by].mac : one->site->stack_mac;
	const __u8 *after = one->answer->frame;
	__u8 asked[16], answered[16];

	if (memcmp(after, to, 6))
		return ANSWER_ASTRAY;
	if (is_unasked(one))
		return ANSWER_UNASKED;
	if (get16(one->sent->frame + 12) == ARP)
		return get16(after + 12) != ARP || get16(after + 20) != 2 ? ANSWER_WRONG : FINE;
	if (one->after.family != one->before.family || one->after.end != one->answer->length ||
	    !ipv4_right(after, &one->after) || !upper_right(after, &one->after))
		return ANSWER_WRONG;
	address_of(one->sent->frame, &one->before, 0, asked);
	address_of(after, &one->after, 1, answered);
	return memcmp(asked, answered, 16) ? ANSWER_ASTRAY : FINE;
}

// An uplink's frames are refused or left as they are.
static enum wrong judge_uplink(const struct passage *one)
{
	const __u32 at = one->before.family == 4 ? 0 : 1;
	__u8 source[16];

	if (one->answer->length != one->sent->length || memcmp(one->answer->frame, one->sent->frame, one->sent->length))
		return CHANGED;
	if (one->verdict == VERDICT_DENY)
		return one->answer->retval == SHOT ? FINE : NOT_DROPPED;
	if (one->answer->retval != PASSED_ON || (one->verdict == VERDICT_ALLOW && one->delivery != DELIVER_PASS))
		return ODD_RETURN;
	if (!one->before.family)
		return FINE;
	address_of(one->sent->frame, &one->before, 0, source);
	return is_inside(one->site->ranges + at, source) ? SPOOFED_ADDRESS : FINE;
}

static enum wrong judge_passage(const struct passage *one)
{
	__u32 from_endpoint = one->sent->by < PARTIES;
	enum wrong found = from_endpoint ? judge_sender(one) : FINE;

	if (found)
		return found;
	if (one->answer->retval != REDIRECTED)
		return ODD_RETURN;
	if (one->verdict == VERDICT_DENY || one->delivery != DELIVER_BACK)
		found = refuse(one->sent, &one->before);
	else if (get16(one->sent->frame + 12) != ARP)
		found = refuse_question(one->sent, &one->before);
	if (found)
		return found;
	if (one->delivery == DELIVER_BACK)
		return one->verdict == VERDICT_ALLOW && !from_endpoint ? ASTRAY : judge_answer(one);
	if (one->delivery != DELIVER_ENDPOINT && (one->delivery != DELIVER_STACK || !from_endpoint))
		return ASTRAY;
	if (one->after.family != one->before.family)
		return OTHER_PAYLOAD;
	found = judge_macs(one);
	return found ? found : judge_contents(one);
}

enum wrong judge(const struct site *site, const struct sent *sent, const struct answer *answer)
{
	__u32 verdict = answer->cb[0] & 0xff, reason = answer->cb[0] >> 8 & 0xff;
	struct passage one = { site, sent, answer, .verdict = verdict, .reason = reason };

	one.delivery = answer->cb[0] >> 16 & 0xff;
	one.before = read_frame(sent->frame, sent->length);
	if (reason == REASON_INTERNAL)
		return HELPER_FAILED;
	if (verdict == VERDICT_ALLOW && reason)
		return ODD_RETURN;
	if (verdict == VERDICT_DENY && !reason)
		return NO_REASON;
	if (sent->by == SENDER_UPLINK)
		return judge_uplink(&one);
	if (verdict != VERDICT_ALLOW && verdict != VERDICT_DENY)
		return NO_REASON;
	if (verdict == VERDICT_DENY && one.delivery != DELIVER_BACK) {
		if (answer->retval != SHOT || one.delivery != DELIVER_NOWHERE)
			return NOT_DROPPED;
		return answer->length != sent->length || memcmp(answer->frame, sent->frame, sent->length) ? CHANGED : FINE;
	}
	one.after = read_frame(answer->frame, answer->length);
	return judge_passage(&one);
}

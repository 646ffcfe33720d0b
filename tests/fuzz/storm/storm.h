// SPDX-License-Identifier: Apache-2.0
// A storm: one frame varied many times, each variation sent to the real program by test run and its answer held
// against what no frame may do. tests/fuzz/attack_storm.py has the same structs for Python.
#ifndef STORM_H
#define STORM_H

#include <linux/types.h>

#include "../../../bpf/reasons.h"
#include "../../../bpf/types.h"

#define LEAST 14              // what a test run takes
#define MOST 1600             // what is sent
#define ROOM_IN 2048
#define ROOM_OUT 4096
#define POOL 40
#define PARTIES 5             // senders below this are links: [0] is nobody's, the others are endpoints'
#define DELIVERIES 5

enum sender { SENDER_HOST = PARTIES, SENDER_STACK, SENDER_UPLINK, SENDERS };
enum entry_kind { FROM_ENDPOINT, FROM_HOST, FROM_STACK, ENTRIES };
enum program_kind { PROGRAM_ENDPOINT, PROGRAM_STACK, PROGRAM_UPLINK, PROGRAMS };

// A link and who is on it. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d: [0] IPv4, [1] IPv6.
struct party {
	__u32 ifindex;
	__u32 open;
	__u8 mac[6];
	__u8 gateway_mac[6];
	__u8 addresses[2][16];
};

struct range {
	__u8 address[16];
	__u32 bits;
};

struct site {
	volatile __u64 *clock;        // what the program takes for the time
	struct party parties[PARTIES];
	struct range ranges[2];       // those of the endpoints
	__u8 stack_mac[6];
	__u8 peer_mac[6];
	__u32 stack_ifindex;
	__u32 host_mark;
	__s32 programs[PROGRAMS];     // descriptors
	__u32 pool_sizes[2];
	__u8 pool[2][POOL][16];       // addresses to put in, by family
	__u64 seen[REASON_COUNT][DELIVERIES][ENTRIES];
};

// What is sent, after so much time.
struct sent {
	__u64 wait_ns;
	__u32 by;                     // a party's index, or enum sender
	__u32 length;
	__u8 frame[ROOM_IN];
};

struct answer {
	__u32 wrong;                  // enum wrong
	__u32 retval;
	__u32 mark;
	__u32 cb[5];
	__u32 length;
	__u8 frame[ROOM_OUT];
};

// What no frame may do. Words for people are in judging.c.
enum wrong {
	FINE, UNTRIED, KERNEL_REFUSED, ODD_RETURN, NO_REASON, HELPER_FAILED, NOT_DROPPED, CHANGED, CLOSED_LINK,
	SPOOFED_MAC, SPOOFED_ADDRESS, ASTRAY, FOREIGN_MACS, FOREIGN_ADDRESS, OTHER_LENGTH, OTHER_HOPS, OTHER_PAYLOAD,
	SPOILT_IPV4, SPOILT_UPPER, ANSWER_ASTRAY, ANSWER_UNASKED, ANSWER_WRONG, MALFORMED_PASSED,
	ROUTED_PASSED, MARTIAN_PASSED, SERVER_PASSED, NEIGHBOUR_PASSED, WRONGS
};

// An IP packet that begins at ``ip`` in a frame; family 0: none that can be read. ``end``: where its own length
// ends it, or the frame does.
struct reading {
	__u32 family;
	__u32 ip;
	__u32 upper;
	__u32 end;
	__u32 protocol;
	__u32 part;                   // a fragment
	__u32 later;                  // not the first one
};

// reading.c
__u32 get16(const __u8 *at);
void put16(__u8 *at, __u32 value);
struct reading read_frame(const __u8 *frame, __u32 length);
struct reading read_ip(const __u8 *frame, __u32 length, __u32 at, __u32 family);
int is_error(const __u8 *frame, const struct reading *packet);
int ipv4_right(const __u8 *frame, const struct reading *packet);
int upper_right(const __u8 *frame, const struct reading *packet);
int is_unsummed(const __u8 *frame, const struct reading *packet);
void mend(__u8 *frame, const struct reading *packet);

// drawing.c
struct draw {
	__u64 state;
};
__u64 drawn(struct draw *draw);
__u32 below(struct draw *draw, __u32 limit);
__u32 edge(struct draw *draw);
__u32 oddly(struct draw *draw, __u32 was, __u32 bytes);

// fields.c
void spoil_field(const struct site *site, struct draw *draw, struct sent *sent);

// varying.c
void make_room(struct sent *sent, __u32 at, __u32 count);
void vary(const struct site *site, const struct sent *base, __u64 seed, struct sent *out);

// refusing.c
enum wrong refuse(const struct sent *sent, const struct reading *packet);
enum wrong refuse_question(const struct sent *sent, const struct reading *packet);

// judging.c
enum wrong judge(const struct site *site, const struct sent *sent, const struct answer *answer);
enum entry_kind entry_of(__u32 by);
const char *words(__u32 wrong);

// sending.c
__u32 send_frame(struct site *site, const struct sent *sent, struct answer *answer);
__u64 storm(struct site *site, const struct sent *base, __u64 seed, __u64 count, struct sent *sent,
	    struct answer *answer, __u32 *untried);
__u64 struct_sizes(__u32 which);

#endif

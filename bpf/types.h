/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* THE layout of every map: Python's is generated from this file's BTF (tools/generate.py).
 * All integers are in host order, ports included, unless a field says otherwise; addresses are
 * 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.
 *
 * A VERSIONED word holds an old and a new number and the generation (modulo 2^16) since which the
 * new one counts: old 24 bits | new 24 bits << 24 | since << 48. A packet reads the generation
 * once and picks by it, so whatever was written for the next generation takes effect at the flip
 * of one number. Where old equals new, since is meaningless. Words whose old and new differ are
 * levelled (old := new) before they are 2^14 generations old. */
#ifndef CLOCHE_TYPES_H
#define CLOCHE_TYPES_H

#define CLOCHE_LAYOUT 1

/* Indexes into the atoms map: protocol slot << 16 | port. For ICMP the port is type << 8 | code,
 * for SLOT_OTHER it is the protocol number. */
enum protocol_slot { SLOT_TCP, SLOT_UDP, SLOT_SCTP, SLOT_ICMP, SLOT_ICMPV6, SLOT_OTHER, SLOT_COUNT };
#define ATOMS_SIZE (SLOT_OTHER * 65536 + 256)

/* How many cells of a row are in one entry of the cells map. */
#define ROW_UNIT 16

enum verdict { VERDICT_UNSET, VERDICT_ALLOW, VERDICT_DENY, VERDICT_NEXT };

/* A cell: verdict bits 0-1, shadow verdict bits 2-3, local rule number bits 4-31 (0: no rule). */
#define CELL_VERDICT(cell) ((cell) & 3)
#define CELL_SHADOW(cell) ((cell) >> 2 & 3)
#define CELL_RULE(cell) ((cell) >> 4)

/* --- config: one entry --- */
enum age { /* which age limit a flow state has; indexes config.ages */
	AGE_TCP_OPENING, AGE_TCP_OPEN, AGE_TCP_CLOSING, AGE_UDP, AGE_UDP_REPLIED, AGE_ICMP, AGE_OTHER,
	AGE_CUT, AGE_FRAGMENT, AGE_AFFINITY_UNUSED, AGE_COUNT = 12
};
#define CONFIG_EVENTS_OFF 1  /* send no events (benchmarks only) */
#define CONFIG_QUICK_OFF 2   /* every packet by the long way (tests only) */
struct config {
	__u64 generation;         /* 0: none is active, everything is denied */
	__u64 clock_ns;           /* not 0: the time; else bpf_ktime */
	__u32 flags;              /* CONFIG_* */
	__u32 event_rate;         /* events per second and endpoint */
	__u64 ages[AGE_COUNT];    /* ns */
	__u64 hash_key[2];        /* of the backend choice */
	__u8 gateway4[16];        /* what endpoints have as their gateway */
	__u8 gateway6[16];
	__u8 hairpin4[16];        /* what an endpoint sees itself as when it reaches itself by a service */
	__u8 hairpin6[16];
	__u32 stack_ifindex;      /* the instance's device, whose receive side is the host's stack */
	__u32 host_mark;          /* the mark bit by which mark_host tells from_stack: sent by the host itself */
	__u8 stack_mac[6];        /* that device's own MAC */
	__u16 pad;
	__u32 event_burst;
	__u32 pad2;
};

/* --- links: ifindex -> endpoint number (u32 -> u32) --- */

/* --- endpoints: array by endpoint number --- */
enum endpoint_state { ENDPOINT_ABSENT, ENDPOINT_CLOSED, ENDPOINT_OPEN };
/* Two cache lines; the common packet over IPv4 needs the first alone. */
struct endpoint {
	__u64 egress;             /* VERSIONED set; 0: no policy in this direction */
	__u64 ingress;            /* VERSIONED set */
	__u32 state;              /* enum endpoint_state */
	__u32 ifindex;            /* host side of its veth */
	__u32 network;
	__u32 incarnation;        /* never reused */
	__u8 mac[6];              /* the container's */
	__u8 gateway_mac[6];      /* the host side's */
	__u32 mtu;                /* of its link, in bytes of IP; 0: not known, nothing is too big */
	__u8 address4[16];        /* its first IPv4 address, all zero if none: quick source check */
	__u8 address6[16];        /* its first IPv6 address */
	__u32 slot_first;         /* its region of flow_slots */
	__u32 slot_count;         /* its quota of flows */
	__u32 flags;
	__u32 pad[9];
};

/* --- addresses: hash; the addresses that are known one by one --- */
struct address_key {
	__u32 network;
	__u8 address[16];
};
#define ADDRESS_HOST 1       /* this host's own: counts only for what the host itself sends or gets */
#define ADDRESS_SERVICE 2    /* a service's: look further in services */
#define ADDRESS_GATEWAY 4    /* the endpoints' gateway */
#define ADDRESS_HAIRPIN 8    /* the reserved source of pods that reach themselves */
struct address {
	__u64 class_;             /* VERSIONED class */
	__u32 endpoint;           /* number if on this host, else 0 */
	__u32 flags;              /* ADDRESS_* */
};

/* --- address_blocks: array of u64; a bit for each block of 256 addresses, by its hash, in which an entry of addresses is:
 * most other addresses need not be looked up --- */
#define ADDRESS_BLOCK_BITS 15

/* --- prefixes: array by a block's number; all other addresses are found by the longest block they are in --- */
#define PREFIX_OURS 1        /* a range of this network's endpoints: never sent outside */
struct prefix {
	__u64 class_;             /* VERSIONED class */
	__u32 flags;
	__u32 pad;
};
/* --- prefix_keys: array by the same number; read by user space alone --- */
struct prefix_key {
	__u32 network;
	__u32 length;             /* in bits of the 16 bytes */
	__u8 address[16];
};
/* --- prefix_nodes: array of u64, index node * NODE_SLOTS + the next four bits of the address. A slot holds the
 * longest block that ends here, the node to go on with, and what the address must have before that node is of
 * use: up to four times four bits, which nothing else was told apart by. The way begins at a node of the network
 * and family, and takes the 32 bits of IPv4, or 128 of IPv6; there is a node after 64 of them. --- */
#define NODE_SLOTS 16
#define NETWORKS 1024        /* numbers below this have blocks */
#define SLOT_BLOCK(slot) ((__u32)(slot) & 0xfffff)
#define SLOT_CHILD(slot) ((__u32)((slot) >> 20) & 0x3fffff)
#define SLOT_SKIP(slot) ((__u32)((slot) >> 42) & 7)
#define SLOT_PATTERN(slot) ((__u32)((slot) >> 48))
#define ROOT_NODE(network, ipv6) ((network) * 2 + !!(ipv6))

/* --- atoms: array of VERSIONED u64, index see above ---
 * --- rows: array of VERSIONED u64 numbers of heads, index set * max_classes + class; 0: no row, deny --- */

/* --- heads: array, one for each row: where its cells are, and what most of them are, so that few packets need to
 * look at them --- */
#define GROUP_CELLS 64
#define GROUPS 64
struct head {
	__u64 groups;             /* a bit for each GROUP_CELLS cells of the row that are not all the common one */
	__u32 common;             /* the common cell */
	__u32 first;              /* index in cells; user space calls the row by this number */
};
/* --- cells: array; a row's are in units that follow each other --- */
struct unit {
	__u32 cells[ROW_UNIT];
};

/* --- sets: array by set number --- */
#define SET_NAMES 1          /* has rules by domain name: look in names first */
struct set {
	__u32 counter_first;      /* where its rules' counters begin; local rule 0 counts defaults */
	__u32 rules;              /* how many counters it has, rule 0 included */
	__u32 flags;              /* SET_* */
	__u32 pad;
};

/* --- names: hash; what a domain name's look-up added --- */
struct name_key {
	__u32 endpoint;
	__u8 address[16];
};
struct name_entry {
	__u64 expires_ns;
	__u32 cell;
	__u32 pad;
};

/* --- services: hash --- */
struct service_key {
	__u32 network;
	__u8 address[16];
	__u16 port;
	__u8 protocol;
	__u8 pad;
};
struct service {
	__u32 number;             /* of the service port, never reused while flows may know it */
	__u32 first;              /* its backends: first..first+count in backends */
	__u32 count;              /* 0: refused with no-backend */
	__u32 epoch;              /* grows whenever the list changes */
	__u32 affinity_seconds;   /* 0: none */
	__u32 pad;
};
/* --- backends: array --- */
struct backend {
	__u8 address[16];
	__u16 port;
	__u16 pad;
	__u32 service;            /* number */
};
/* --- fronts: array; the entries of services once more, each with its first backends, so that a first packet waits for
 * memory once. User space keeps them beside services; what is not found here is looked for there. One is in the first of
 * FRONT_TRIES places, from that on which its network and address hash to, that is free. docs/design/fronts.md --- */
#define FRONT_TRIES 8
#define FRONT_BACKENDS 4
enum front_state {
	FRONT_EMPTY,              /* no front is in the places behind it that was looked for from before it */
	FRONT_GONE,
	FRONT_BUSY,               /* being written */
	FRONT_HIDDEN,             /* its address is not the services' now */
	FRONT_OPEN
};
#define FRONT_STATE(word) ((word) & 7)
/* Two cache lines. */
struct front {
	__u64 word;               /* enum front_state | how often it was written << 3 */
	__u8 address[16];
	__u32 network;
	__u16 port;
	__u8 protocol;
	__u8 pad;
	__u32 number;             /* from here on as in struct service */
	__u32 first;
	__u32 count;
	__u32 epoch;
	__u32 affinity_seconds;
	__u32 pad2;
	__u16 ports[FRONT_BACKENDS];
	__u8 addresses[FRONT_BACKENDS * 16];
};
/* --- front_blocks: array of u64; how many fronts there are for the addresses of each 256 that differ in the last
 * byte alone, by a hash: where there is none, none is looked for --- */
#define FRONT_BLOCK_BITS 12
/* --- members: hash; is this (still) a backend of that service port? -> u32 1 --- */
struct member_key {
	__u32 service;
	__u8 address[16];
	__u16 port;
	__u16 pad;
};
/* --- affinity: hash; where a client's last connection went --- */
struct affinity_key {
	__u32 service;
	__u32 network;
	__u8 client[16];
};
struct affinity {
	__u64 seen_ns;
	__u8 address[16];
	__u16 port;
	__u16 pad[3];
};

/* --- flows: hash. One entry for both directions; "low" is the side whose (address, port) is
 * lower as bytes in network order. A service's flow has a second entry, kind FLOW_TRANSLATION,
 * under what the client wrote. Incarnations are 0 for what is not an endpoint of this host. --- */
enum flow_kind { FLOW_PLAIN, FLOW_TRANSLATION };
struct flow_key {
	__u32 network;
	__u32 low_incarnation;
	__u32 high_incarnation;
	__u16 low_port;
	__u16 high_port;
	__u8 low[16];
	__u8 high[16];
	__u8 protocol;
	__u8 kind;
	__u8 pad[2];
};
#define FLOW_OPENED_BY_HIGH 1
#define FLOW_STACK 2          /* opened by what came through the host's stack: replies go there */
#define FLOW_HOST 4           /* opened by the host itself, or towards the host's own address */
#define FLOW_TRANSLATED 8     /* has a service's address in front of the receiver's */
#define FLOW_HAIRPIN 16
#define FLOW_REPLIED 32
#define FLOW_FIN_LOW 64
#define FLOW_FIN_HIGH 128
#define FLOW_FRONT_HIGH 256   /* TRANSLATED: the service's address stands before the high side */
struct flow {
	__u64 generation;         /* judged by; written after action, never newer */
	__u64 seen_ns;
	__u64 opened_ns;
	__u8 age;                 /* enum age: its state */
	__u8 action;              /* enum verdict */
	__u8 reason;              /* when denied */
	__u8 direction;           /* that denied: 0 egress, 1 ingress */
	__u32 flags;              /* FLOW_* */
	__u32 owner;              /* endpoint number whose quota it counts in */
	__u32 slot;               /* its index in flow_slots */
	__u8 service_address[16]; /* TRANSLATED: what the client wrote. kind TRANSLATION: the backend */
	__u16 service_port;
	__u16 icmp;               /* type << 8 | code of the packet that opened it */
	__u32 service;            /* number */
	__u32 epoch;              /* the service's when the backend was last confirmed */
	__u32 pad2;
};
/* --- flow_slots: array of flow_key, each endpoint has a region: who to evict --- */
/* --- flow_words: array, one for each 64 of flow_slots: what need not be looked at when room is sought --- */
struct flow_word {
	__u64 open;               /* a bit for each slot that holds an open TCP flow; may be stale */
	__u64 claimed;            /* a bit for each slot that is being taken */
	__u64 until_ns;           /* none of the open ones expires before */
};
/* --- owners: array by endpoint number; program-written side of the quota --- */
struct owner {
	__u32 hand;               /* the next slot to look at, relative to the region */
	__u32 claims;             /* a bit for each of its fragment_slots that is being taken */
	__u64 event_tokens;       /* token bucket of events, scaled by 2^20 */
	__u64 event_time_ns;
	__u64 events_suppressed;
	__u64 answers_ns;         /* until when its answers of ICMP errors have used up their share */
};
/* What a sender's packets are answered with time exceeded and packet too big: so many at once, and one more
 * for each of these spans. */
#define ANSWER_NS 10000000
#define ANSWERS_AT_ONCE 50

/* --- fragments: hash --- */
struct fragment_key {
	__u32 network;
	__u32 incarnation;        /* the sender's, 0 when it came through the stack */
	__u8 source[16];          /* as on the wire, before translation */
	__u8 destination[16];
	__u32 id;
	__u8 protocol;            /* IPv6: 0 */
	__u8 pad[3];
};
#define FRAGMENT_WORDS 128
#define FRAGMENTS_EACH 16     /* fragmented packets of one sender at a time; the stack is one sender */
struct fragment {
	__u64 seen_ns;
	__u8 new_source[16];      /* after translation */
	__u8 new_destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 verdict;
	__u8 reason;
	__u8 delivery;            /* enum delivery */
	__u32 endpoint;           /* whom it is delivered to */
	__u32 last;               /* payload length once the last fragment was seen, else 0 */
	__u32 have;               /* payload bytes seen; when it reaches last, the entry goes */
	__u32 slot;               /* its index in fragment_slots */
	__u64 seen[FRAGMENT_WORDS]; /* a bit for each 8 bytes of payload */
};

/* --- fragment_slots: array of fragment_key, FRAGMENTS_EACH for each endpoint number, 0 is the stack --- */

/* --- events: ring buffer --- */
enum event_kind { EVENT_NEW, EVENT_DROP, EVENT_CLOSED, EVENT_CUT };
struct event {
	__u64 time_ns;
	__u64 generation;
	__u8 kind;                /* enum event_kind */
	__u8 verdict;
	__u8 reason;
	__u8 protocol;
	__u16 source_port;
	__u16 destination_port;
	__u8 source[16];
	__u8 destination[16];     /* after translation */
	__u8 service_address[16]; /* zero where no service was named */
	__u16 service_port;
	__u16 pad;
	__u32 network;
	__u32 source_endpoint;    /* number or 0 */
	__u32 destination_endpoint;
	__u32 egress_set;
	__u32 egress_rule;        /* local to the set */
	__u32 ingress_set;
	__u32 ingress_rule;
	__u32 source_class;
	__u32 destination_class;
	__u32 atom;
	__u32 suppressed;         /* events of this endpoint not sent since the last that was */
	__u32 link;               /* ifindex, of a packet that was not read because of where it came in; else 0 */
	__u32 pad2;
};

/* --- counters: per-CPU array, sets[set].counter_first + local rule --- */
struct counter {
	__u64 allowed;            /* new flows */
	__u64 denied;
};
/* --- hints: array of u32; the endpoint that the program found last in links, by ifindex, and in addresses, by
 * a hash of (network, address) --- */
#define HINT_BITS 12
#define HINTS (1 << HINT_BITS)
/* --- reasons: per-CPU array of u64 by enum reason; 0 counts what passed --- */

/* --- what the program leaves in skb->cb[0..4], for test-run --- */
enum delivery {
	DELIVER_NOWHERE,          /* dropped */
	DELIVER_ENDPOINT,         /* to the endpoint in cb[2] >> 16 */
	DELIVER_STACK,            /* to the host's stack */
	DELIVER_BACK,             /* answered: out where it came from (ARP, ND, reset, unreachable) */
	DELIVER_PASS              /* left to the stack as it is (uplinks) */
};
/* cb[0] = verdict | reason << 8 | delivery << 16 | direction that decided << 24 (0 egress, 1 ingress, 2 neither)
 * Set, class and rule are those of the direction that denied; of an allowed new flow those of the receiver's
 * set, where it has one, else of the sender's. A packet that policy was not asked about has zeroes.
 * cb[1] = set | atom << 16        cb[2] = class | endpoint number << 16
 * cb[3] = local rule              cb[4] = backend's index in backends + 1, 0: none */

#endif

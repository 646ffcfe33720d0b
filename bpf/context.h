/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One packet on its way through the program. It lives in a per-CPU map, as the stack has 512 bytes
 * for all functions together; every stage finds it there and leaves its answer in it. */
#ifndef CLOCHE_CONTEXT_H
#define CLOCHE_CONTEXT_H

#include "maps.h"

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_SCTP 132

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

#define ETHERNET_LENGTH 14
#define NEITHER_DIRECTION 2
#define HASH_MULTIPLIER 0x9E3779B97F4A7C15ull

enum entry { ENTRY_ENDPOINT, ENTRY_HOST, ENTRY_STACK };

/* What part of a datagram a packet is. */
enum part { PART_WHOLE, PART_FIRST, PART_LATER };

/* What a stage says: go on with the next one, or the packet's answer is there; or that a service, if it is for one, has
 * no front. */
enum next { GO_ON, DECIDED, NO_FRONT };

/* One end of a packet, as this host knows it. */
struct end {
	__u8 address[16];
	__u32 endpoint;           /* number on this host, 0: none */
	__u32 incarnation;        /* the endpoint's */
	__u32 class_;             /* of its entry in addresses; 0: none there */
	__u32 flags;              /* ADDRESS_* */
	__u32 port;
	__u32 looked_up;          /* class_ and flags are from addresses */
};

/* Addresses and ports as they are, or will be, in the packet. */
struct wire {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u32 pad;
};

/* What policy is asked, and what it says. */
struct question {
	struct end source;
	struct end destination;
	__u32 atom_index;
	__u32 from_host;          /* the host itself sends: its own class counts as a source */
	__u32 verdict;
	__u32 reason;
	__u32 direction;          /* that denied: 0 egress, 1 ingress, 2 neither */
	__u32 egress_set;
	__u32 egress_rule;
	__u32 ingress_set;
	__u32 ingress_rule;
	__u32 source_class;
	__u32 destination_class;
	__u32 atom;
	__u32 judged;             /* policy was asked about this packet */
};

/* What the service stage chose. */
struct chosen {
	__u32 named;              /* the packet is for a service */
	__u32 number;             /* of the service port */
	__u32 epoch;
	__u32 affinity_seconds;
	__u32 backend;            /* index in backends + 1, 0 when kept from before */
	__u32 hairpin;            /* it is the sender itself */
	__u32 first;              /* its backends, in backends */
	__u32 count;
	__u32 front;              /* index in fronts of what this is from, */
	__u64 front_word;         /* and its word; 0: it is from services */
};

/* The packet that an ICMP error quotes: who sent it to whom, and where its headers begin. */
struct quote {
	struct end source;
	struct end destination;
	struct wire wire;         /* as quoted */
	struct wire out;          /* as it will be quoted */
	__u32 l3;
	__u32 l4;
	__u32 left;               /* bytes quoted from l4 on */
	__u32 l4_length;          /* of the packet itself from there on */
	__u32 protocol;
	__u32 difference;         /* to the sum of the error's body */
};

/* For a slot of a region of flow_slots. Here and not on the stack, as what lies there is known to the verifier
 * for each way that leads to it. */
struct search {
	__u32 first;              /* the region */
	__u32 count;
	__u32 at;                 /* where in it to look next */
	__u32 walked;             /* slots that are behind */
	__u32 looks;              /* left */
	__u32 full;               /* the whole table is: only an occupant that goes makes room */
	__u32 found;              /* claimed, or NO_SLOT */
	__u32 second;             /* claimed too: gives way, if none is found that is gone or has expired */
	__u32 fresh;              /* it was opened just now */
	__u32 occupied;           /* what was found is to be emptied */
	__u64 stale;              /* of 64 slots, those that are wrongly said to be open */
	__u64 soonest;            /* when the first of the others expires */
};

struct packet {
	__u64 now;
	__u64 generation;
	__u32 network;
	__u32 sender;             /* endpoint number; 0: it came through the stack */
	__u8 entry;               /* enum entry */
	__u8 ipv6;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 part;                /* enum part */
	__u8 cut_short;           /* a first fragment without its whole upper header */
	__u8 hop_limit;
	__u8 more;                /* fragments follow */
	__u8 parsed;              /* wire, source and destination are this packet's */
	__u8 counted;             /* this packet opened a flow, or tried to */
	__u8 tcp_header;          /* bytes */
	__u8 by_receiver;         /* of a flow that the other side opened: told the other way round */
	__u32 segment;            /* payload of each segment that it will be cut into, 0: it is one */
	__u32 l4;                 /* where the upper header begins */
	__u32 l4_length;          /* payload of IP from there on */
	__u32 sender_is_low;      /* in key, the flow's */
	struct flow_key key;
	__u32 absent;             /* there is no entry under it */
	__u32 link;               /* ifindex; only when that is why the packet is not read */
	__u32 mtu;                /* that it was too big for */
	__u32 told_port;          /* of the flow's service, and its address, for events; 0: none */
	__u8 told_service[16];
	__u32 icmp;               /* type << 8 | code */
	__u32 fragment_id;
	__u32 fragment_offset;
	__u32 fragment_length;    /* of what is fragmented */
	struct end source;        /* as judged: after translation towards a backend */
	struct end destination;
	struct wire wire;         /* as it came */
	struct wire out;          /* as it goes */
	__u32 rewritten;          /* out differs */
	/* the answer */
	__u32 verdict;
	__u32 reason;
	__u32 delivery;
	__u32 to;                 /* endpoint delivered to */
	__u32 to_stack;           /* a reply of a flow that came through the stack */
	__u32 fragments_open;     /* a first fragment's entry waits for this answer */
	struct question asked;
	struct chosen chosen;
	__u32 live;               /* the flow was there; its age and time afterwards: */
	__u32 live_age;
	__u64 live_seen;
	struct flow_key translation; /* of the translation entry */
	__u32 client_is_low;
	struct flow fresh;        /* where entries are put together */
	struct quote quote;       /* of an ICMP error */
	struct search search;
	/* keys and other working room */
	__u32 address_pad;
	struct address_key address;
	struct service_key service;
	struct member_key member;
	struct affinity_key client;
	struct name_key name;
	struct fragment_key datagram;
	__u64 swept_ns;           /* when this CPU last looked for expired fragments */
	__u8 bytes[384];          /* headers that are read or put together */
	__u8 more_bytes[64];
	__u8 old_key[OLD_KEY_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct packet);
	__uint(max_entries, 1);
} scratch SEC(".maps");

INLINE struct packet *this_packet(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

INLINE struct config *this_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

INLINE void copy16(void *to, const void *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

INLINE int same16(const void *one, const void *other)
{
	return ((((const __u64 *)one)[0] ^ ((const __u64 *)other)[0]) |
		(((const __u64 *)one)[1] ^ ((const __u64 *)other)[1])) == 0;
}

INLINE int is_zero16(const void *address)
{
	return (((const __u64 *)address)[0] | ((const __u64 *)address)[1]) == 0;
}

/* IPv4 as ::ffff:a.b.c.d, from the four bytes in network order. */
INLINE void map_ipv4(void *to, __u32 address)
{
	((__u64 *)to)[0] = 0;
	((__u32 *)to)[2] = 0xffff0000;
	((__u32 *)to)[3] = address;
}

/* The number that a VERSIONED word holds for this generation. */
INLINE __u32 at_generation(__u64 word, __u64 generation)
{
	__u16 age = (__u16)generation - (__u16)(word >> 48);

	return age < 0x8000 ? (word >> 24) & 0xffffff : word & 0xffffff;
}

INLINE int deny(struct packet *p, __u32 reason)
{
	p->verdict = VERDICT_DENY;
	p->reason = reason;
	p->delivery = DELIVER_NOWHERE;
	return DECIDED;
}

INLINE void begin(struct packet *p, const struct config *settings)
{
	__u64 clock = settings->clock_ns;

	p->now = clock ? clock : bpf_ktime_get_coarse_ns();
	p->generation = READ_ONCE(settings->generation);
	p->network = 0;
	p->sender = 0;
	p->protocol = 0;
	p->part = PART_WHOLE;
	p->parsed = 0;
	p->counted = 0;
	p->icmp = 0;
	p->tcp_flags = 0;
	p->rewritten = 0;
	p->by_receiver = 0;
	p->told_port = 0;
	p->verdict = VERDICT_ALLOW;
	p->reason = REASON_NONE;
	p->delivery = DELIVER_NOWHERE;
	p->to = 0;
	p->to_stack = 0;
	p->fragments_open = 0;
	p->asked.direction = NEITHER_DIRECTION;
	p->asked.judged = 0;
	p->chosen.named = 0;
	p->chosen.front_word = 0;
	p->chosen.backend = 0;
	p->chosen.hairpin = 0;
	p->live = 0;
}

#define LAST_BYTE (0xffull << 56)

INLINE __u64 hash_step(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * HASH_MULTIPLIER;
	return hash ^ hash >> 32;
}

INLINE __u64 block_hash(__u32 network, const __u64 *address)
{
	return hash_step(hash_step(network, address[0]), address[1] & ~LAST_BYTE);
}

/* The entry of addresses of p->address, or NULL. */
INLINE struct address *find_address(struct packet *p)
{
	__u64 hash = block_hash(p->address.network, (const void *)p->address.address), *word;
	__u32 bit = hash >> (64 - ADDRESS_BLOCK_BITS), index = bit / 64;

	word = bpf_map_lookup_elem(&address_blocks, &index);
	if (!word || !(READ_ONCE(*word) >> bit % 64 & 1))
		return 0;
	return bpf_map_lookup_elem(&addresses, &p->address);
}

/* What addresses says of an end, and the endpoint's incarnation where it is one of this host. */
INLINE void look_up(struct packet *p, struct end *end)
{
	struct address *found;
	struct endpoint *endpoint;
	__u32 number = 0;

	p->address.network = p->network;
	copy16(p->address.address, end->address);
	end->endpoint = 0;
	end->incarnation = 0;
	end->class_ = 0;
	end->flags = 0;
	end->looked_up = 1;
	found = find_address(p);
	if (!found)
		return;
	end->class_ = at_generation(READ_ONCE(found->class_), p->generation);
	end->flags = found->flags;
	number = found->endpoint;
	if (!number)
		return;
	endpoint = bpf_map_lookup_elem(&endpoints, &number);
	if (!endpoint)
		return;
	end->endpoint = number;
	end->incarnation = endpoint->incarnation;
}

/* The reserved address stands for the endpoint at the other end. */
INLINE void stand_for(struct end *reserved, const struct end *other)
{
	if (reserved->flags & ADDRESS_HAIRPIN && !reserved->endpoint)
		reserved->incarnation = other->incarnation;
}

/* What addresses says of a service's address. */
INLINE void be_service(struct end *end)
{
	end->endpoint = 0;
	end->incarnation = 0;
	end->class_ = 0;
	end->flags = ADDRESS_SERVICE;
	end->looked_up = 1;
}

/* True for a service's address that is no endpoint's and not the host's own. */
INLINE int is_service(const struct end *end)
{
	return !end->endpoint && (end->flags & (ADDRESS_HOST | ADDRESS_SERVICE)) == ADDRESS_SERVICE;
}

#endif

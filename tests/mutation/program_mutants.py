"""Wrong programs in C: what each of the datapath's stages could get wrong."""

from __future__ import annotations

from mutant import Mutant

FUZZ = ("tests/fuzz/test_packets.py",)
ENTRANCE = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_entrance.py")
FLOWS = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_flows.py")
POLICY = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_policy.py")
SERVICES = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_services.py")
FRONTS = ("tests/kernel/test_program_fronts.py",)
FRAGMENTS = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_fragments.py")
ERRORS = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_icmp.py")
SLOTS = ("tests/kernel/test_program_slots.py",)
CHECKSUMS = ("tests/fuzz/test_packets.py", "tests/kernel/test_program_checksums.py")
BLOCKS = ("tests/kernel/test_datapath_prefixes.py", "tests/kernel/test_datapath_nearby.py")
SHORT_WAY = ("tests/kernel/test_program_quick.py",)
EVENTS = ("tests/kernel/test_program_events.py",)

ENTRANCES = (
    ("an IPv4 option may end one byte past the header", "bpf/parse.h", "size < 2 || at + size > length",
     "size < 2 || at + size > length + 1"),
    ("strict source routes pass", "bpf/parse.h", "kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE",
     "kind == OPTION_LOOSE_ROUTE"),
    ("IPv6 source routes pass", "bpf/parse.h", "header == EXTENSION_ROUTING && p->bytes[3]",
     "header == EXTENSION_ROUTING && p->bytes[3] > 1"),
    ("one extension header fewer is followed", "bpf/parse.h", "i < EXTENSIONS_FOLLOWED;",
     "i + 1 < EXTENSIONS_FOLLOWED;"),
    ("a second fragment header is fine", "bpf/parse.h", "if (fragments++)", "if (fragments++ > 1)"),
    ("class E begins one later", "bpf/parse.h", "if (first >= 240)", "if (first > 240)"),
    ("IPv4 inside IPv6 is an address like any", "bpf/parse.h", "return KIND_MAPPED;", "return KIND_UNICAST;"),
    ("half of link-local is not", "bpf/parse.h", "(address[1] & 0xc0) == 0x80", "(address[1] & 0xe0) == 0x80"),
    ("an IPv6 length may be one too long", "bpf/parse.h",
     "if (p->bytes[0] >> 4 != 6 || length + sizeof(*ip) + ETHERNET_LENGTH > skb->len)",
     "if (p->bytes[0] >> 4 != 6 || length + sizeof(*ip) + ETHERNET_LENGTH > skb->len + 1)"),
    ("a TCP header may be cut short", "bpf/parse.h", "if (p->l4_length < need ||", "if (p->l4_length < need - 4 ||"),
    ("the MAC checked is the destination's", "bpf/cloche.bpf.c", "!same6(ethernet->h_source, sender->mac)",
     "!same6(ethernet->h_dest, sender->gateway_mac)"),
    ("any source address passes", "bpf/cloche.bpf.c", "if (unlikely(!is_senders(p, sender, p->wire.source)))",
     "if (unlikely(!is_senders(p, sender, p->wire.source) && !p->source.port))"),
    ("DHCP servers of the other family are looked for", "bpf/cloche.bpf.c", "(p->ipv6 ? 547 : 67)",
     "(p->ipv6 ? 67 : 547)"),
    ("the reserved address may come through the stack", "bpf/cloche.bpf.c",
     "if (unlikely(p->source.flags & ADDRESS_HAIRPIN))", "if (unlikely(p->source.flags & ADDRESS_GATEWAY))"),
    ("an uplink may speak as an address nobody has", "bpf/cloche.bpf.c",
     "return p->source.endpoint || is_ours(p, p->source.address);", "return p->source.endpoint;"),
    ("what has no socket counts as the host's", "bpf/cloche.bpf.c", "\tif (skb->sk) {\n", "\tif (!skb->sk) {\n"),
    ("one's own address is answered for", "bpf/neighbours.h", "return found->endpoint != p->sender;", "return 1;"),
    ("ARP may be asked with another's MAC", "bpf/neighbours.h", "if (!same6(arp->sender_mac, sender->mac) ||",
     "if ("),
    ("ND passes with any hop limit", "bpf/neighbours.h", "p->hop_limit != 255", "!p->hop_limit"),
)  # fmt: skip
FOUND = (
    ("a block is found whatever was skipped", "bpf/prefixes.h",
     "if ((bits >> 1) >> (63 - skip * STEP_BITS) != SLOT_PATTERN(found))",
     "if (skip > 3 && (bits >> 1) >> (63 - skip * STEP_BITS) != SLOT_PATTERN(found))"),
    ("the first block found is the longest", "bpf/prefixes.h", "number = block | (number & none);",
     "number = number ? number : block | (number & none);"),
    ("blocks end after half an address", "bpf/prefixes.h", "return node ? descend(low, &node, number) : number;",
     "return node && low >> 63 ? descend(low, &node, number) : number;"),
    ("the second half begins without what the first found", "bpf/prefixes.h", "descend(low, &node, number)",
     "descend(low, &node, 0)"),
    ("addresses are looked up where none is", "bpf/context.h", "if (!word || !(READ_ONCE(*word) >> bit % 64 & 1))",
     "if (!word || (READ_ONCE(*word) >> bit % 64 & 1))"),
    ("blocks of addresses have one bit too few", "bpf/context.h", "__u32 bit = hash >> (64 - ADDRESS_BLOCK_BITS)",
     "__u32 bit = hash >> (65 - ADDRESS_BLOCK_BITS)"),
    ("IPv4 begins four bits later", "bpf/prefixes.h", "low << 32, 0,", "low << 36, 0,"),
)  # fmt: skip
JUDGED = (
    ("a head speaks for the next group too", "bpf/policy.h", "READ_ONCE(head->groups) >> group & 1",
     "READ_ONCE(head->groups) >> group >> 1 & 1"),
    ("the receiver's egress set judges what it gets", "bpf/policy.h", "READ_ONCE(endpoint->ingress)",
     "READ_ONCE(endpoint->egress)"),
    ("what the host forwards counts as the host's", "bpf/policy.h", "class_of(p, &asked->source, asked->from_host)",
     "class_of(p, &asked->source, 1)"),
    ("a deny rule and isolation are confused", "bpf/policy.h", "return CELL_RULE(cell) ? denied : not_allowed;",
     "return CELL_RULE(cell) ? not_allowed : denied;"),
    ("what the tables do not know passes", "bpf/policy.h", "return REASON_UNKNOWN_CLASS;", "return REASON_NONE;"),
    ("ports from 32768 on are other ports", "bpf/policy.h", "icmp & 0xffff : port & 0xffff",
     "icmp & 0xffff : port & 0x7fff"),
    ("ICMP's code is ignored", "bpf/parse.h", "p->icmp = p->bytes[0] << 8 | p->bytes[1];",
     "p->icmp = p->bytes[0] << 8;"),
    ("names never expire", "bpf/policy.h", "found->expires_ns <= p->now ||", ""),
    ("a generation's words count one generation late", "bpf/context.h",
     "(__u16)generation - (__u16)(word >> 48)", "(__u16)generation - 1 - (__u16)(word >> 48)"),
)  # fmt: skip
TRACKED = (
    ("age is ignored", "bpf/slots.h",
     "age < AGE_COUNT && (__s64)(now - flow->seen_ns) < (__s64)settings->ages[age]", "age < AGE_COUNT"),
    ("a flow lives one nanosecond too long", "bpf/slots.h",
     "(__s64)(now - flow->seen_ns) < (__s64)settings->ages[age]",
     "(__s64)(now - flow->seen_ns) <= (__s64)settings->ages[age]"),
    ("a reply is not matched", "bpf/states.h", "return one_port <= other_port;", "return 1;"),
    ("the key forgets who had the address", "bpf/states.h", "key->high_incarnation = other->incarnation;",
     "key->high_incarnation = 0;"),
    ("a SYN with ACK opens anew", "bpf/states.h", "(tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN",
     "(tcp_flags & (TCP_SYN | TCP_RST | TCP_FIN)) == TCP_SYN"),
    ("the opener's own packets count as replies", "bpf/states.h", "*after = by_opener ? flags : flags | FLOW_REPLIED;",
     "*after = by_opener ? flags | FLOW_REPLIED : flags;"),
    ("a closing flow is kept alive", "bpf/states.h", "if (age != AGE_TCP_CLOSING && flow->seen_ns != now)",
     "if (flow->seen_ns != now)"),
    ("a flow is judged again the wrong way round", "bpf/flows.h", "else if (sent_by_opener(p, flow))\n\t\task(",
     "else if (!sent_by_opener(p, flow))\n\t\task("),
    ("live flows are never judged again", "bpf/flows.h", "unlikely(READ_ONCE(flow->generation) != p->generation)",
     "unlikely(READ_ONCE(flow->generation) > p->generation)"),
    ("TCP in mid-connection is its sender's alone", "bpf/flows.h", "if (!tcp_without_syn(p))\n\t\treturn OPENED",
     "if (p->parsed)\n\t\treturn OPENED"),
    ("a reset opens a flow", "bpf/flows.h", "if (!(p->protocol == PROTOCOL_TCP && p->tcp_flags & TCP_RST))",
     "if (p->protocol)"),
    ("open connections are evicted first", "bpf/slots.h",
     "if (flow->age == AGE_TCP_OPEN)\n\t\treturn OCCUPANT_OPEN;",
     "if (flow->age != AGE_TCP_OPEN)\n\t\treturn OCCUPANT_OPEN;"),
    ("a closed endpoint gets packets", "bpf/flows.h", "READ_ONCE(endpoint->state) != ENDPOINT_OPEN",
     "READ_ONCE(endpoint->state) == ENDPOINT_ABSENT"),
    ("addresses of ours that nobody has are outside", "bpf/flows.h", " && !is_ours(p, to->address)", ""),
    ("one FIN closes", "bpf/states.h",
     "(*after & (FLOW_FIN_LOW | FLOW_FIN_HIGH)) == (FLOW_FIN_LOW | FLOW_FIN_HIGH)",
     "*after & (FLOW_FIN_LOW | FLOW_FIN_HIGH)"),
    ("every event has a token", "bpf/events.h", "if (tokens < 1 << TOKEN_BITS)", "if (0)"),
)  # fmt: skip
PLACES = (
    ("a flow of just now makes room for one on another processor", "bpf/slots.h",
     "(__s64)(now - flow->opened_ns) < FRESH_NS", "0"),
    ("an older flow stays and one of just now goes", "bpf/slots.h",
     "(search->fresh && occupant == OCCUPANT_GIVES_WAY)", "0"),
)  # fmt: skip
SHORT = (
    ("a hint is taken for the truth", "bpf/quick.h", "key->high_incarnation = receiver->incarnation;",
     "key->high_incarnation = sender->incarnation + 1;"),
    ("the short way leads to closed endpoints", "bpf/hints.h", "READ_ONCE(endpoint->state) == ENDPOINT_OPEN",
     "READ_ONCE(endpoint->state) != ENDPOINT_ABSENT"),
    ("the short way takes any source", "bpf/quick.h",
     "!same16(seen->source, seen->ipv6 ? sender->address6 : sender->address4)", "!seen->source[1]"),
    ("the short way takes the last hop", "bpf/quick.h", "seen.hops <= 1", "seen.hops < 1"),
    ("the short way never judges again", "bpf/quick.h", "if (READ_ONCE(flow->generation) != READ_ONCE(settings->generation))",
     "if (READ_ONCE(flow->generation) > READ_ONCE(settings->generation))"),
    ("the short way keeps an old list's backend", "bpf/quick_services.h",
     " || known->epoch != p->chosen.epoch", ""),
    ("the short way's replies come from the backend", "bpf/quick.h",
     "copy16(p->out.source, flow->service_address);", ";"),
    ("the short way takes who goes to a backend for its service's client", "bpf/quick.h",
     "(flow->flags & FLOW_FRONT_HIGH ? 0 : 1) != seen.by.low", "0"),
    ("the short way is for DHCP servers too", "bpf/quick.h", "(seen->ipv6 ? swap16(547) : swap16(67))",
     "(seen->ipv6 ? swap16(67) : swap16(547))"),
)  # fmt: skip
SERVED = (
    ("a reply keeps the backend's port", "bpf/flows.h", "p->out.source_port = flow->service_port;",
     "p->out.source_port = p->wire.source_port;"),
    ("the choice forgets the source port", "bpf/services.h", "p->wire.source_port | (__u64)p->wire.destination_port << 16",
     "(__u64)p->wire.destination_port << 16"),
    ("a backend that is gone is kept", "bpf/services.h", "return tcp_without_syn(p) ? KEPT_GONE : NOT_KEPT;",
     "return turn_to_backend(p, settings), KEPT;"),
    ("affinity never ends", "bpf/services.h",
     "(__s64)(p->now - last->seen_ns) >= (__s64)(p->chosen.affinity_seconds * 1000000000ull)", "0"),
    ("two services share a translated flow", "bpf/services.h", "return deny(p, REASON_TRANSLATION_CLASH);", ";"),
    ("a new connection keeps a closed one's backend", "bpf/services.h",
     "return is_opening(p) && is_over(p, settings) ? NOT_KEPT : KEPT;", "return KEPT;"),
)  # fmt: skip
FRONTED = (
    ("a front that is being written is believed", "bpf/fronts.h", "FRONT_STATE(word) == FRONT_OPEN &&",
     "(FRONT_STATE(word) == FRONT_OPEN || FRONT_STATE(word) == FRONT_BUSY) &&"),
    ("hidden fronts are looked at", "bpf/fronts.h", "FRONT_STATE(word) == FRONT_OPEN &&",
     "(FRONT_STATE(word) == FRONT_OPEN || FRONT_STATE(word) == FRONT_HIDDEN) &&"),
    ("a front is any protocol's", "bpf/fronts.h", " && front->protocol == p->protocol", ""),
    ("a front's fifth backend is its first", "bpf/fronts.h",
     "if (!p->chosen.front_word || choice >= FRONT_BACKENDS)", "if (!p->chosen.front_word)"),
)  # fmt: skip
IN_PARTS = (
    ("overlapping parts pass", "bpf/fragments.h", "\t\tif (clash)\n", "\t\tif (clash > ~0ull - 1)\n"),
    ("parts of odd length pass", "bpf/fragments.h", "(p->more && p->fragment_length & 7)",
     "(p->more && p->fragment_length & 3)"),
    ("a first part may be cut short", "bpf/fragments.h", "if (p->cut_short || (entry", "if ((entry"),
    ("a datagram never expires", "bpf/fragments.h",
     "entry->verdict == VERDICT_UNSET ||\n\t    !fragment_live(entry, p->now, settings->ages[AGE_FRAGMENT])",
     "entry->verdict == VERDICT_UNSET"),
    ("later parts reach whoever has the number now", "bpf/fragments.h", "if (p->destination.endpoint != entry->endpoint)",
     "if (!p->destination.endpoint)"),
    ("a part may end past 65535", "bpf/fragments.h", "#define LONGEST_DATAGRAM 65535", "#define LONGEST_DATAGRAM 65536"),
)  # fmt: skip
QUOTING = (
    ("an error may quote a third party's packet", "bpf/icmp.h",
     "!same16(p->quote.wire.source, p->wire.destination)", "0"),
    ("an endpoint may complain of others' packets", "bpf/icmp.h", "if (p->sender && sender != p->sender)",
     "if (p->sender && !sender)"),
    ("an error about a cut flow passes", "bpf/icmp.h", "return flow->action == VERDICT_ALLOW;", "return 1;"),
    ("redirects pass", "bpf/icmp.h", "(!p->ipv6 && p->icmp >> 8 == ICMP_REDIRECT) ||", ""),
)  # fmt: skip
SUMMED = (
    ("a UDP checksum of zero is filled in", "bpf/forward.h",
     "p->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0", "0"),
    ("SCTP's checksum is repaired for one byte less", "bpf/forward.h", "ports[0] ^ ports[1], p->l4_length)",
     "ports[0] ^ ports[1], p->l4_length - 1)"),
)  # fmt: skip
GROUPS = (
    (ENTRANCES, ENTRANCE),
    (FOUND, BLOCKS),
    (JUDGED, POLICY),
    (PLACES, SLOTS),
    (TRACKED, (*FLOWS, *EVENTS, "tests/kernel/test_program_entrance.py")),
    (SHORT, SHORT_WAY),
    (SERVED, SERVICES),
    (FRONTED, FRONTS),
    (IN_PARTS, FRAGMENTS),
    (QUOTING, ERRORS),
    (SUMMED, CHECKSUMS),
)
MUTANTS = tuple(Mutant(*row, tests) for rows, tests in GROUPS for row in rows)

"""Packets, verdicts, and what a flow is: the words that oracle, tables and program share."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

from cloche.model.address import Address, is_ipv4
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.model.topology import DEFAULT_NETWORK, ICMP, ICMPV6, Backend

SECOND = 1_000_000_000


class Verdict(IntEnum):
    """Numbers as in ``bpf/types.h``."""

    UNSET = 0
    ALLOW = 1
    DENY = 2
    NEXT = 3


class Entry(IntEnum):
    """Where a packet comes in."""

    ENDPOINT = 0
    """Sent by an endpoint of this host, on its link."""
    HOST = 1
    """Sent by a process of this host itself."""
    STACK = 2
    """Came through the host's stack: from outside, or forwarded by it."""


class TcpFlag(IntFlag):
    """The TCP header's flags that state depends on."""

    FIN = 1
    SYN = 2
    RST = 4
    ACK = 16


class Age(IntEnum):
    """A flow's state, by the limit on its age; numbers as ``enum age`` in ``bpf/types.h``."""

    TCP_OPENING = 0
    TCP_OPEN = 1
    TCP_CLOSING = 2
    UDP = 3
    UDP_REPLIED = 4
    ICMP = 5
    OTHER = 6
    CUT = 7
    FRAGMENT = 8


AGES_NS: dict[Age, int] = {
    Age.TCP_OPENING: 60 * SECOND,
    Age.TCP_OPEN: 8 * 3600 * SECOND,
    Age.TCP_CLOSING: 30 * SECOND,
    Age.UDP: 30 * SECOND,
    Age.UDP_REPLIED: 180 * SECOND,
    Age.ICMP: 30 * SECOND,
    Age.OTHER: 600 * SECOND,
    Age.CUT: 600 * SECOND,
    Age.FRAGMENT: 30 * SECOND,
}
"""THE table of age limits, in ns: an entry this long unseen is no entry. The program gets it in its
configuration entry."""


ANSWER_NS, ANSWERS_AT_ONCE = SECOND // 100, 50
"""How many packets of one endpoint are answered with time exceeded or too big: so many at once, and one more
for each of these spans. As in ``bpf/types.h``."""

ICMP_ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMPV6: (1, 2, 3, 4)}
"""The types that are errors, IPv4's redirect with them."""


FRAGMENTS_EACH = 16
"""How many fragmented packets of one endpoint, or of all that comes from the stack, are followed at a time.
As in ``bpf/types.h``."""


class Fragment(msgspec.Struct, frozen=True):
    """The fragment part of a packet: ``offset`` and ``length`` of its payload in bytes."""

    id: int
    offset: int
    length: int
    more: bool


class Packet(msgspec.Struct, frozen=True):
    """One packet as it comes in. ``sender`` is the endpoint's key for ``Entry.ENDPOINT``.

    ICMP: echo has ``source_port`` = ``destination_port`` = identifier for the flow; ``icmp`` is
    ``type << 8 | code``. ``quoted`` is the packet that an ICMP error is about, as quoted.
    Later fragments (offset > 0) carry no ports.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    entry: Entry = Entry.ENDPOINT
    sender: str = ""
    tcp_flags: int = 0
    icmp: int = 0
    quoted: Packet | None = None
    fragment: Fragment | None = None
    network: int = DEFAULT_NETWORK
    ttl: int = 64
    """TTL or hop limit."""
    length: int = 0
    """Bytes from the IP header on; where the kernel will cut it into segments, of the longest one."""
    target: Address | None = None
    """What a neighbour solicitation (ICMPv6 135, hop limit 255, code 0) asks for; else None."""
    for_many: bool = False
    """Came as the link's broadcast or multicast."""

    @property
    def is_icmp(self) -> bool:
        """True for ICMP in IPv4 and ICMPv6 in IPv6; in the other family they are protocols like any other."""
        return self.protocol == (ICMP if is_ipv4(self.source) else ICMPV6)

    @property
    def is_error(self) -> bool:
        """True for ICMP errors and IPv4 redirects."""
        return self.is_icmp and self.icmp >> 8 in ICMP_ERRORS[self.protocol]


class Delivery(IntEnum):
    """Where a packet goes; numbers as ``enum delivery`` in ``bpf/types.h``."""

    NOWHERE = 0
    ENDPOINT = 1
    STACK = 2
    BACK = 3
    PASS = 4


class Decision(msgspec.Struct, frozen=True):
    """The answer about one packet. ``deciding`` is the direction that denied, None when neither did.

    ``source``/``destination`` are after translation, the ports too. The judges of policy alone leave
    ``delivery``, ``endpoint`` (the key of the endpoint delivered to) and ``backend`` (what a service's
    packet was translated to) as they are; the tracker fills them. ``ttl`` is what it leaves with.
    """

    verdict: Verdict
    reason: Reason = Reason.NONE
    deciding: Direction | None = None
    source: Address | None = None
    destination: Address | None = None
    destination_port: int = 0
    egress_rule: RuleName | None = None
    ingress_rule: RuleName | None = None
    source_port: int = 0
    delivery: Delivery = Delivery.NOWHERE
    endpoint: str = ""
    backend: Backend | None = None
    ttl: int = 0


class RuleName(msgspec.Struct, frozen=True, order=True):
    """A rule by its policy's key, direction and index in it."""

    policy: str
    direction: Direction
    index: int

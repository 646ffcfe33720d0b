"""What agent and responder say to each other: typed values, and how they are framed on the socket.

A frame is a length (4 bytes, big-endian) and that many bytes of MessagePack: a ``Request`` towards the
responder, a ``Reply`` with the same ``id`` back. Replies may come in any order.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cloche.model.address import Address

PROTOCOL_VERSION = 1
"""Grows when an older peer could not understand; an agent does not adopt a responder of another version."""

MAX_FRAME = 64 * 1024 * 1024
"""Bytes in a frame; a longer one is not read."""

DEFAULT_TIMEOUT = 0.3
"""Seconds until one try of a probe counts as silent."""

DEFAULT_TRIES = 2


class Listener(msgspec.Struct, frozen=True, order=True):
    """A port to answer on: IP protocol number (TCP, UDP or SCTP) and port."""

    protocol: int
    port: int


class Served(msgspec.Struct, frozen=True):
    """One endpoint to answer for: ``name`` is ``namespace/name``, ``netns`` the path of its namespace.

    Every listener is opened on every address. ``dns``: it also answers DNS, port 53 over UDP and TCP.
    """

    name: str
    netns: str
    addresses: tuple[Address, ...] = ()
    listeners: tuple[Listener, ...] = ()
    dns: bool = False


class ZonePort(msgspec.Struct, frozen=True):
    """A port of a service; without a name it has no SRV record."""

    name: str
    protocol: int
    port: int


class ZoneBackend(msgspec.Struct, frozen=True):
    """One address behind a service; ``hostname`` empty: a name is made from the address.

    ``ports`` are the backend's own, by the service port's name; where absent the service's counts.
    """

    address: Address
    hostname: str = ""
    ports: tuple[ZonePort, ...] = ()


class ZoneService(msgspec.Struct, frozen=True):
    """A service as DNS sees it; without addresses it is headless and stands for its backends."""

    namespace: str
    name: str
    addresses: tuple[Address, ...] = ()
    ports: tuple[ZonePort, ...] = ()
    backends: tuple[ZoneBackend, ...] = ()


class ZonePod(msgspec.Struct, frozen=True):
    """A pod that has names of the form ``a-b-c-d.namespace.pod.<domain>``."""

    namespace: str
    addresses: tuple[Address, ...]


class Zone(msgspec.Struct, frozen=True):
    """Everything that DNS knows; ``nameservers`` are the addresses of the DNS service itself."""

    services: tuple[ZoneService, ...] = ()
    pods: tuple[ZonePod, ...] = ()
    namespaces: tuple[str, ...] = ()
    nameservers: tuple[Address, ...] = ()
    domain: str = "cluster.local"


class Probe(msgspec.Struct, frozen=True):
    """One question put to the network from inside ``netns`` ("": the responder's own namespace).

    The first of ``sources`` that has the destination's family is bound ((): the kernel chooses). ``port`` is
    the destination's; for ICMP and ICMPv6 ``type << 8 | code``, and only echo requests (or 0) can be asked.
    ``timeout`` is seconds for each try.
    """

    netns: str
    sources: tuple[Address, ...]
    destination: Address
    port: int
    protocol: int
    timeout: float = DEFAULT_TIMEOUT
    tries: int = DEFAULT_TRIES


class Outcome(StrEnum):
    """What became of a probe."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """A reset or "port unreachable": reached, unless the datapath's own events say ``no-backend``."""
    SILENT = "silent"
    UNPROBED = "unprobed"
    """It could not be asked at all; ``detail`` says why. This says nothing about policy."""


class ProbeResult(msgspec.Struct, frozen=True):
    """The answer to one probe. ``answered_by`` is ``namespace/name``, "" where it did not say.

    ``rtt`` is seconds from the deciding try's first packet to its answer, 0 without one; ``source`` and
    ``source_port`` are that try's (ICMP: the identifier), to find its packets among events.
    """

    outcome: Outcome
    answered_by: str = ""
    rtt: float = 0.0
    source: Address | None = None
    source_port: int = 0
    detail: str = ""


class Problem(msgspec.Struct, frozen=True, order=True):
    """A listener that could not be opened, and why; the rest is served."""

    name: str
    protocol: int
    port: int
    message: str


class Listed(msgspec.Struct, frozen=True):
    """One endpoint being served: how many sockets listen, how many connections are open."""

    name: str
    netns: str
    listening: int
    connections: int


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Who are you?"""


class Serve(msgspec.Struct, frozen=True, tag=True):
    """Answer for exactly these endpoints; what is already open and still wanted stays open."""

    endpoints: tuple[Served, ...]


class SetZone(msgspec.Struct, frozen=True, tag=True):
    """From now on DNS knows exactly this."""

    zone: Zone


class RunProbes(msgspec.Struct, frozen=True, tag=True):
    """Ask these, many at once; the answer keeps their order."""

    probes: tuple[Probe, ...]


class ListServed(msgspec.Struct, frozen=True, tag=True):
    """What is being served?"""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Close everything and end."""


RequestBody = Hello | Serve | SetZone | RunProbes | ListServed | Stop


class Greeting(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Hello``."""

    instance: str
    version: int
    pid: int


class ServedReply(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Serve``."""

    problems: tuple[Problem, ...]


class Done(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``SetZone`` and ``Stop``."""


class ProbeReply(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``RunProbes``, one result for each probe, in order."""

    results: tuple[ProbeResult, ...]


class ListReply(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``ListServed``, by name."""

    served: tuple[Listed, ...]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The request was not understood or failed; nothing else is affected."""

    message: str


ReplyBody = Greeting | ServedReply | Done | ProbeReply | ListReply | Refused


class Request(msgspec.Struct, frozen=True):
    """A question; ``id`` comes back with its answer."""

    id: int
    body: RequestBody


class Reply(msgspec.Struct, frozen=True):
    """The answer to the request of the same ``id``; 0 when the request could not be read."""

    id: int
    body: ReplyBody


_encoder = msgspec.msgpack.Encoder()
request_decoder = msgspec.msgpack.Decoder(Request)
reply_decoder = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """The message with its length in front. Raises ValueError when it is longer than a frame may be."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message of {len(body)} bytes; {MAX_FRAME} is the most")
    return len(body).to_bytes(4, "big") + body


def frame_length(head: bytes) -> int:
    """How many bytes follow these 4. Raises ValueError when that is more than a frame may have."""
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes; {MAX_FRAME} is the most")
    return length

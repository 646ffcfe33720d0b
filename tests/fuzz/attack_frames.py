"""What is thrown at the program: ordinary traffic, answers and errors to it, attacks on it, mutations of all.

Ordinary traffic is needed for the attacks to have flows to meddle with.
"""

from __future__ import annotations

from collections import deque
from random import Random

from attack_crafted import CRAFTED
from attack_ends import FLAGS, framed, ordinary, someone
from attack_site import KEYS

from cloche.model.address import Address, is_ipv4
from frames import ICMP, ICMPV6, SCTP, TCP, UDP, Flow, IpOptions, echo, ip, sctp, split, tcp, udp, unreachable

EDGES = (0, 1, 2, 3, 4, 6, 7, 8, 16, 17, 20, 40, 43, 44, 58, 60, 64, 127, 128, 132, 191, 254, 255)
LONGEST = 1600
KEPT = 24


class Attacker:
    """Frames that follow from a seed and from what passed before."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self._passed: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._sent: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._begun: deque[tuple[str, Address, Address, int, int]] = deque(maxlen=KEPT // 4)

    def forget(self) -> None:
        """Nothing has been sent yet."""
        self._passed.clear()
        self._sent.clear()
        self._begun.clear()

    def passed(self, receiver: str, packet: bytes) -> None:
        """An IP packet was delivered: to an endpoint, the host (``host``) or beyond (``stack``)."""
        self._passed.append((receiver, packet))

    def next(self) -> tuple[str, bytes]:
        """Who sends what."""
        by, frame = self._draw()
        self._sent.append((by, frame))
        return by, frame

    def _draw(self) -> tuple[str, bytes]:
        kind = self.draw.random()
        if kind < 0.2 or not self._passed:
            return framed(*ordinary(self.draw))
        if kind < 0.4:
            return self._answer()
        if kind < 0.5:
            return self._complaint()
        if kind < 0.56:
            return self._part()
        if kind < 0.75:
            return self.draw.choice(CRAFTED)(self.draw)
        if kind < 0.97:
            return self._mutation()
        return self._noise()

    def _answer(self) -> tuple[str, bytes]:
        """What the receiver may say to it, or its sender once more."""
        receiver, packet = self.draw.choice(self._passed)
        source, destination, protocol, upper = split(packet)
        if len(upper) < 8:
            return framed(receiver, ip(destination, source, protocol, upper))
        ports = int.from_bytes(upper[2:4], "big"), int.from_bytes(upper[:2], "big")
        back = Flow(destination, source, *ports)
        if protocol == TCP:
            return framed(receiver, tcp(back, self.draw.choice(FLAGS)))
        if protocol == UDP:
            return framed(receiver, udp(back))
        if protocol == SCTP:
            return framed(receiver, sctp(back))
        if protocol in (ICMP, ICMPV6) and (protocol == ICMP) == is_ipv4(source):
            return framed(receiver, echo(back, int.from_bytes(upper[4:6], "big"), reply=True))
        return framed(receiver, ip(destination, source, protocol, bytes(24)))

    def _complaint(self) -> tuple[str, bytes]:
        """An ICMP error about what passed: of its receiver or of somebody else, to its sender or not."""
        receiver, packet = self.draw.choice(self._passed)
        source, destination = split(packet)[:2]
        six = not is_ipv4(source)
        if self.draw.random() < 0.15:
            receiver = self.draw.choice((*KEYS, "stack"))
        if self.draw.random() < 0.15:
            destination = someone(self.draw, six)
        if self.draw.random() < 0.1:
            source = someone(self.draw, six)
        quoted = packet[: self.draw.choice((1500, 1500, 100, 68, 48, 47, 28, 27, 20, 12))]
        kind = self.draw.choice((1, 2, 3, 4) if six else (3, 4, 5, 11, 12))
        return framed(
            receiver, unreachable(Flow(destination, source), quoted, kind, self.draw.choice((0, 1, 3, 4)))
        )

    def _part(self) -> tuple[str, bytes]:
        """One part of an ordinary packet; mostly a further one of a packet that was begun."""
        if self._begun and self.draw.random() < 0.7:
            by, source, destination, protocol, number = self.draw.choice(self._begun)
            at = self.draw.choice((0, 8, 24, 24, 32, 48, 72))
            extra = IpOptions(id=number, offset=at, more=self.draw.random() < 0.6)
            return framed(by, ip(source, destination, protocol, bytes(self.draw.choice((8, 16, 24))), extra))
        by, packet = ordinary(self.draw)
        source, destination, protocol, upper = split(packet)
        upper += bytes(48)
        number = self.draw.randrange(1 << 16)
        self._begun.append((by, source, destination, protocol, number))
        extra = IpOptions(id=number, more=True)
        size = self.draw.choice((16, 24, 24, 32, 48))
        return framed(by, ip(source, destination, protocol, upper[:size], extra))

    # --- mutations ---

    def _mutation(self) -> tuple[str, bytes]:
        """A frame sent lately, spoilt in one to three places, seldom on another's link."""
        by, frame = self.draw.choice(self._sent)
        spoilt = bytearray(frame)
        for _ in range(self.draw.choice((1, 1, 1, 2, 3))):
            self._spoil(spoilt)
        if self.draw.random() < 0.05:
            by = self.draw.choice((*KEYS, "stack", "host"))
        return by, bytes(spoilt[:LONGEST]).ljust(14, b"\0")

    def _spoil(self, frame: bytearray) -> None:
        kind, at = self.draw.random(), self._place(len(frame))
        if kind < 0.3:
            frame[at] ^= 1 << self.draw.randrange(8)
        elif kind < 0.55:
            frame[at] = self.draw.choice(EDGES)
        elif kind < 0.65:
            frame[at] = (frame[at] + self.draw.choice((1, -1))) & 255
        elif kind < 0.72:
            del frame[max(at, 14) :]
        elif kind < 0.79:
            frame += bytes(self.draw.choice((1, 4, 8, 100)))
        elif kind < 0.86:
            frame[at:at] = bytes(self.draw.choice(EDGES) for _ in range(self.draw.choice((1, 4, 8))))
        elif kind < 0.92:
            other = self.draw.choice(self._sent)[1]
            frame[at:] = other[at:]
        else:
            count = self.draw.choice((2, 4, 16))
            source = self._place(len(frame))
            frame[at : at + count] = frame[source : source + count]
        if len(frame) < 14:
            frame += bytes(14 - len(frame))

    def _place(self, length: int) -> int:
        """Mostly in the headers, seldom in the MACs."""
        if self.draw.random() < 0.05:
            return self.draw.randrange(14)
        return 12 + self.draw.randrange(max(min(length, 100) - 12, 1))

    def _noise(self) -> tuple[str, bytes]:
        """Random bytes behind good MACs, or nothing good at all."""
        by = self.draw.choice((*KEYS[:3], "stack"))
        body = self.draw.randbytes(self.draw.choice((0, 1, 19, 20, 28, 40, 60, 200)))
        if self.draw.random() < 0.1:
            return by, self.draw.randbytes(14) + body
        if body and self.draw.random() < 0.7:
            body = bytes([self.draw.choice((0x45, 0x46, 0x60))]) + body[1:]
        return framed(by, body)

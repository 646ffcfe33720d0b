"""Traffic that is counted packet by packet.

One loop owns every socket. Each packet has a number; what was sent and has not arrived when all is over is
lost, and what arrives from where nothing may come is told at once. A flow's answers are packets too. TCP
says itself what it had to send twice: a packet that was lost.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import selectors
import socket
import time
from collections.abc import Callable

from torture.flows import Line, Question, family, opened, sent_again
from torture.passing import FIRST_PASSER, Coming
from torture.wire import ANSWERS, ASKS, MARK, PACKET, PORT, Open, Tally, Totals, Way

FORBIDDEN_SECONDS = 0.3
NAMED = 20
FIRST_PORT, EPHEMERAL = 7001, 32768
"""The ways' own ports begin with the one and end before the other, from which the kernel takes the ports of
connections that go on: one of these may not have the port of one by a service to the same backend."""
Key = tuple[int, int, int]


class Traffic:
    """Senders, receivers and their counts."""

    def __init__(self, asked: Open) -> None:
        self.asked = asked
        self.selector = selectors.DefaultSelector()
        self.rounds = [Tally()]
        self.wrong: list[str] = []
        self.under_way: dict[Key, tuple[int, float]] = {}
        """Packets that have not arrived: their round and when they were sent."""
        self.numbers = itertools.count()
        self.started = time.monotonic()
        self.ending = False
        self._due: list[tuple[float, int, Callable[[], float]]] = []
        self._order = itertools.count()
        self._longest_gap = 0.0
        self._receivers: set[tuple[str, int]] = set()
        self._twice: dict[socket.socket, int] = {}
        self._range = (EPHEMERAL - FIRST_PORT) // max(1, len(asked.ways))
        """How many ports each way has."""
        first = int(time.monotonic() / asked.anew_every)  # none that the traffic before this may still have
        self._ports = [itertools.count(first) for _ in asked.ways]
        for index, way in enumerate(asked.ways):
            self._begin(index, way)
        self.coming = [Coming(self, passers, number) for number, passers in enumerate(asked.passers)]

    @property
    def tally(self) -> Tally:
        """The round that is going on."""
        return self.rounds[-1]

    def say(self, what: str) -> None:
        """Something went wrong."""
        if len(self.wrong) < NAMED:
            self.wrong.append(
                f"round {len(self.rounds) - 1}, {time.monotonic() - self.started:.3f} s: {what}"
            )

    def again(self, job: Callable[[], float], after: float = 0.0) -> None:
        """Call a job, and again as many seconds later as it returns; negative: no more."""
        heapq.heappush(self._due, (time.monotonic() + after, next(self._order), job))

    def repeat(self, job: Callable[[], float]) -> None:
        """The same, until all is over."""
        self.again(lambda: -1.0 if self.ending else job())

    def watch(
        self, one: socket.socket, ready: Callable[[], None], events: int = selectors.EVENT_READ
    ) -> None:
        """Call when the socket is ready."""
        self.selector.register(one, events, ready)

    def drop(self, one: socket.socket) -> None:
        """Close a socket that is watched."""
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(one)
        one.close()

    def _begin(self, index: int, way: Way) -> None:
        self.receive(way.target, family(way.address))
        if way.steady:
            self._steady(index, way)
            if way.allowed:
                Line(self, index, way)
        if way.anew:
            self.repeat(lambda: self._anew(index, way))

    def receive(self, netns: str, kind: socket.AddressFamily) -> None:
        """Listen in a namespace, once for each family."""
        if (netns, kind) in self._receivers:
            return
        self._receivers.add((netns, kind))
        asking = opened(netns, kind, socket.SOCK_DGRAM)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener = opened(netns, kind, socket.SOCK_STREAM)
        for one in (asking, listener):
            if kind == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("", PORT))
        listener.listen(1024)
        self.watch(asking, lambda: self._asked(asking))
        self.watch(listener, lambda: self._called(listener))

    def packet(self, index: int, kind: int = ASKS, number: int | None = None) -> bytes:
        """A packet of a way, noted as under way."""
        number = next(self.numbers) if number is None else number
        self.tally.sent += 1
        self.under_way[index, kind, number] = len(self.rounds) - 1, time.monotonic()
        return PACKET.pack(MARK, kind, index, len(self.rounds) - 1, number)

    def forbidden(self, index: int) -> bytes:
        """A packet that may not arrive."""
        self.tally.forbidden += 1
        return PACKET.pack(MARK, ASKS, index, len(self.rounds) - 1, next(self.numbers))

    def came(self, raw: bytes, kind: int) -> tuple[int, int] | None:
        """A packet has arrived: its way and number, None when it is none of ours or may not be here."""
        if len(raw) != PACKET.size or raw[:4] != MARK:
            return None
        _mark, of, index, round_, number = PACKET.unpack(raw)
        if index >= FIRST_PASSER and self.asked.passers[index - FIRST_PASSER].allowed:
            self.coming[index - FIRST_PASSER].heard.add(number)
            return None
        if index >= FIRST_PASSER or not self.asked.ways[index].allowed:
            self.rounds[round_].arrived += 1
            self.say(f"arrived: packet {number} of {self.named(index)}")
            return None
        if of != kind:
            return None
        self.under_way.pop((index, kind, number), None)
        return index, number

    def named(self, index: int) -> str:
        """A way in words."""
        if index >= FIRST_PASSER:
            return f"{self.asked.passers[index - FIRST_PASSER].prefix}..."
        way = self.asked.ways[index]
        return f"{way.source} to {way.address}"

    def _asked(self, receiver: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, sender = receiver.recvfrom(2048)
                came = self.came(raw, ASKS)
                if came is not None:
                    self.send(receiver, self.packet(came[0], ANSWERS, came[1]), sender)

    def send(self, one: socket.socket, raw: bytes, to: object = None) -> None:
        """Send a datagram; one that the kernel refuses is said, and stays under way: it is lost."""
        try:
            one.send(raw) if to is None else one.sendto(raw, to)
        except OSError as error:
            self.say(f"not sent: {error}")

    def _called(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _peer = listener.accept()
                line.setblocking(False)
                self._twice[line] = 0
                self.watch(line, lambda line=line: self._echo(line))

    def _echo(self, line: socket.socket) -> None:
        try:
            raw = line.recv(2048)
            if raw:
                for at in range(0, len(raw), PACKET.size):
                    self.came(raw[at : at + PACKET.size], ASKS)
                line.send(raw)
                self._twice[line] = self.resent(line, self._twice[line], "a listener")
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        del self._twice[line]
        self.drop(line)

    def resent(self, line: socket.socket, before: int, whose: str) -> int:
        """How many packets a connection has sent again by now; what is new since ``before`` was lost."""
        twice = sent_again(line)
        if twice != before:
            self.tally.lost += twice - before
            self.say(f"TCP sent {twice - before} again: {whose}")
        return twice

    def _steady(self, index: int, way: Way) -> None:
        port = FIRST_PORT + self._range * (index + 1) - 1
        one = opened(way.source, family(way.address), socket.SOCK_DGRAM, port)
        one.connect((way.address, PORT))

        def job() -> float:
            self._ask(index, way, one)
            return self.asked.every if way.allowed else 5 * self.asked.every

        self.repeat(job)
        self.watch(one, lambda: self._answered(one))

    def _ask(self, index: int, way: Way, one: socket.socket) -> None:
        if way.allowed:
            self.send(one, self.packet(index))
        else:
            with contextlib.suppress(OSError):
                one.send(self.forbidden(index))

    def _answered(self, one: socket.socket) -> None:
        try:
            while True:
                self.came(one.recv(2048), ANSWERS)
        except BlockingIOError:
            return
        except OSError as error:
            self.say(f"a flow ended: {error}")

    def _anew(self, index: int, way: Way) -> float:
        try:
            self._begin_flow(index, way)
        except OSError as error:  # its namespace or device is gone: a flow that cannot begin is lost
            if way.allowed:
                self.tally.tried += 1
                self.tally.lost += 1
                self.say(f"not begun: {error}: {self.named(index)}")
        return self.asked.anew_every

    def _begin_flow(self, index: int, way: Way) -> None:
        port = self._port(index)
        one = opened(way.source, family(way.address), socket.SOCK_DGRAM, port)
        one.connect((way.address, PORT))
        if way.allowed:
            Question(self, index, one)
            Line(self, index, way, port)
        else:
            self._ask(index, way, one)
            one.close()
            self._knock(index, way)

    def _port(self, index: int) -> int:
        """The next of a way's own ports, of which its steady flow has the last: a flow by a service has none
        of one that goes to its backend."""
        return FIRST_PORT + self._range * index + next(self._ports[index]) % (self._range - 1)

    def _knock(self, index: int, way: Way) -> None:
        """A SYN that may not arrive; whoever connects says who he is."""
        one = opened(way.source, family(way.address), socket.SOCK_STREAM)
        if one.connect_ex((way.address, PORT)) not in (0, errno.EINPROGRESS):  # nothing leads there
            one.close()
            return
        raw = self.forbidden(index)

        def connected() -> None:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                self.tally.arrived += 1
                self.say(f"connected: {self.named(index)}")
                with contextlib.suppress(OSError):
                    one.send(raw)
            self.selector.unregister(one)

        def leave() -> float:
            self.drop(one)
            return -1.0

        self.watch(one, connected, selectors.EVENT_WRITE)
        self.again(leave, FORBIDDEN_SECONDS)

    def step(self, until: float) -> None:
        """Do what is due until then."""
        while (now := time.monotonic()) < until:
            due = self._due[0][0] if self._due else until
            for key, _events in self.selector.select(max(0.0, min(due, until) - now)):
                key.data()
            while self._due and self._due[0][0] <= time.monotonic():
                self._do(heapq.heappop(self._due))

    def _do(self, due: tuple[float, int, Callable[[], float]]) -> None:
        at, _order, job = due
        now = time.monotonic()
        self._longest_gap = max(self._longest_gap, now - at)
        after = job()
        if after >= 0:
            heapq.heappush(self._due, (max(at + after, now), next(self._order), job))

    def end(self, late: float) -> Totals:
        """Wait so many seconds for what is under way, and count what is lost."""
        self.ending = True
        deadline = time.monotonic() + late
        self.step(time.monotonic() + 0.2)
        while time.monotonic() < deadline and (self.under_way or Line.waiting or Question.waiting):
            self.step(time.monotonic() + 0.05)
        for (index, kind, number), (round_, when) in self.under_way.items():
            self.rounds[round_].lost += 1
            what = "an answer" if kind == ANSWERS else "a packet"
            self.say(f"lost: {what} ({number}) of {self.named(index)}, sent at {when - self.started:.3f} s")
        sent_from = [len(one.met) for one in self.coming]
        heard = [len(one.heard) for one in self.coming]
        return Totals(self.rounds, self.wrong, round(self._longest_gap * 1000, 1), sent_from, heard)

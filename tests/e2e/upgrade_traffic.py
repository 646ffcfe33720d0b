"""Traffic that is counted packet by packet while something is done to the datapath."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.agent_lab import Instance

ANSWER_SECONDS = 4.0
"""Late is not lost: on a busy machine an answer may take long, one that does not come is lost."""
_TOTAL_RETRANS_AT = 100
"""``tcpi_total_retrans`` in ``struct tcp_info`` (linux/tcp.h)."""


@dataclass
class Count:
    """What one kind of traffic came to; ``lost`` names each thing that was not answered."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)


class Traffic:
    """Allowed and forbidden traffic between pods, by threads."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.counts: dict[str, Count] = {}
        self.started = time.monotonic()

    def _run(
        self, name: str, pod: str, once: Callable[[], str], pause: float, close: Callable[[], None]
    ) -> None:
        count = self.counts[name] = Count()

        def loop() -> None:
            while not self._ending.is_set():
                wrong = once()
                if wrong:
                    count.lost.append(f"{name} at {time.monotonic() - self.started:.3f} s: {wrong}")
                else:
                    count.answered += 1
                time.sleep(pause)
            close()

        self._threads.append(threading.Thread(target=lambda: self._instance.inside(pod, loop)))

    def datagrams(self, name: str, pod: str, address: str, port: int, wait: float = ANSWER_SECONDS) -> None:
        """One UDP flow, each datagram waiting for its echo."""
        asking = self._instance.inside(pod, lambda: socket.socket(_family(address), socket.SOCK_DGRAM))
        asking.settimeout(wait)
        asking.connect((address, port))
        self._run(name, pod, lambda: _echoed(asking), 0.002, asking.close)

    def stream(self, name: str, pod: str, address: str, port: int = 80) -> None:
        """One TCP connection, each line waiting for its echo."""
        line = self._instance.dial(pod, address, port)
        self._run(name, pod, lambda: "" if line.answers(ANSWER_SECONDS) else "cut", 0.005, line.close)

    def connections(self, name: str, pod: str, address: str, port: int, own_port: int) -> None:
        """A new TCP connection each time, from ports of its own beginning with ``own_port``."""
        ports = itertools.cycle(range(own_port, own_port + 8000))
        self._run(name, pod, lambda: _connects(address, port, next(ports)), 0.03, lambda: None)

    def flows(self, name: str, pod: str, address: str, port: int, wait: float = ANSWER_SECONDS) -> None:
        """A new UDP flow each time."""
        self._run(name, pod, lambda: _asks_anew(address, port, wait), 0.03, lambda: None)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """All of it runs, also for a moment before and after."""
        for thread in self._threads:
            thread.start()
        time.sleep(0.3)
        try:
            yield
        finally:
            time.sleep(0.3)
            self._ending.set()
            for thread in self._threads:
                thread.join()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _echoed(asking: socket.socket) -> str:
    """Empty when a datagram came back, else what happened."""
    word = time.monotonic_ns().to_bytes(8, "big").hex().encode() + b"\n"
    try:
        asking.send(word)
        while word not in asking.recv(4096):
            pass
    except OSError as error:
        return str(error)
    return ""


def _asks_anew(address: str, port: int, wait: float) -> str:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as asking:
        asking.settimeout(wait)
        asking.connect((address, port))
        return _echoed(asking)


def _connects(address: str, port: int, own_port: int) -> str:
    """Empty when a connection was made and echoed without any packet sent twice."""
    try:
        with socket.create_connection((address, port), ANSWER_SECONDS, ("", own_port)) as line:
            line.sendall(b"hello\n")
            line.settimeout(ANSWER_SECONDS)
            heard = line.recv(100)
            twice = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)[_TOTAL_RETRANS_AT]
            return "" if heard and not twice else f"heard {heard!r}, {twice} sent again"
    except OSError as error:
        return str(error)

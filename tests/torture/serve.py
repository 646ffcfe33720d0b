"""The process that makes the traffic: ``python -m torture.serve FD``, asked over a socket pair."""

from __future__ import annotations

import contextlib
import socket
import sys
import time

from cloche.agent.pipe import EndedError, Pipe
from torture.traffic import Traffic
from torture.wire import End, Mark, Open, Tally


def main() -> None:
    """Serve the test that started this process."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    pipe = Pipe(connection)
    asked = pipe.receive()
    assert isinstance(asked, Open)
    traffic = Traffic(asked)
    messages: list[object] = []
    traffic.watch(connection, lambda: messages.append(pipe.receive()))
    pipe.send(0)
    with contextlib.suppress(EndedError):
        while True:
            traffic.step(time.monotonic() + 0.02)
            while messages:
                match messages.pop(0):
                    case Mark():
                        traffic.rounds.append(Tally())
                        pipe.send(len(traffic.rounds) - 1)
                    case End(late):
                        pipe.send(traffic.end(late))
                        return


if __name__ == "__main__":
    main()

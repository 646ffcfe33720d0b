"""One packet of each kind, made ready so that the next run of the program is exactly that packet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.rounds import PORT
from benchmarks.site import (
    ACK,
    HOST_ADDRESS,
    OUTSIDE,
    OUTSIDE_PORT,
    SERVICE_PORT,
    SYN,
    Ends,
    Site,
)
from cloche.datapath.testrun import Result
from cloche.model.flow import Verdict

FORBIDDEN_PORT = 6
Send = Callable[[], Result]


class Kind(NamedTuple):
    """A kind of packet: by which hook it comes, and what makes a sender of the next such packet."""

    hook: str
    name: str
    ready: Callable[[Site], Send]
    passes: bool = True


def _to_server(site: Site, port: int = PORT) -> Ends:
    return Ends(site.client, site.fresh(), site.servers[0], port)


def _first(site: Site) -> Send:
    ends = _to_server(site)
    return lambda: site.from_client(ends, SYN)


def _open(site: Site) -> Ends:
    """An open flow from the client to the first server."""
    ends = _to_server(site)
    site.from_client(ends, SYN)
    site.from_server(0, ends.back(), SYN | ACK)
    site.from_client(ends, ACK)
    return ends


def _established(site: Site) -> Send:
    ends = _open(site)
    return lambda: site.from_client(ends, ACK)


def _reply(site: Site) -> Send:
    ends = _open(site)
    return lambda: site.from_server(0, ends.back(), ACK)


def _dropped(site: Site) -> Send:
    ends = _to_server(site, FORBIDDEN_PORT)
    return lambda: site.from_client(ends, SYN)


def _to_service(site: Site) -> Ends:
    return Ends(site.client, site.fresh(), site.services[0], SERVICE_PORT)


def _service_first(site: Site) -> Send:
    ends = _to_service(site)
    return lambda: site.from_client(ends, SYN)


def _service_open(site: Site) -> tuple[Ends, int]:
    """An open flow from the client to a service, and the server that it goes to."""
    ends = _to_service(site)
    server = site.server_of(site.from_client(ends, SYN))
    site.from_server(server, _answer(site, ends, server), SYN | ACK)
    site.from_client(ends, ACK)
    return ends, server


def _answer(site: Site, ends: Ends, server: int) -> Ends:
    return Ends(site.servers[server], PORT, ends.source, ends.source_port)


def _service_established(site: Site) -> Send:
    ends, _ = _service_open(site)
    return lambda: site.from_client(ends, ACK)


def _service_reply(site: Site) -> Send:
    ends, server = _service_open(site)
    back = _answer(site, ends, server)
    return lambda: site.from_server(server, back, ACK)


def _outside_first(site: Site) -> Send:
    ends = Ends(OUTSIDE, site.fresh(), site.servers[0], OUTSIDE_PORT)
    return lambda: site.from_stack(ends, SYN)


def _outside_established(site: Site) -> Send:
    ends = Ends(OUTSIDE, site.fresh(), site.servers[0], OUTSIDE_PORT)
    site.from_stack(ends, SYN)
    site.from_server(0, ends.back(), SYN | ACK)
    site.from_stack(ends, ACK)
    return lambda: site.from_stack(ends, ACK)


def _outside_reply(site: Site) -> Send:
    ends = Ends(site.client, site.fresh(), OUTSIDE, OUTSIDE_PORT)
    site.from_client(ends, SYN)
    site.from_stack(ends.back(), SYN | ACK)
    site.from_client(ends, ACK)
    return lambda: site.from_stack(ends.back(), ACK)


def _outside_dropped(site: Site) -> Send:
    ends = Ends(OUTSIDE, site.fresh(), site.servers[0], FORBIDDEN_PORT)
    return lambda: site.from_stack(ends, SYN)


def _host_service_first(site: Site) -> Send:
    ends = Ends(HOST_ADDRESS, site.fresh(), site.services[0], SERVICE_PORT)
    return lambda: site.from_stack(ends, SYN, host=True)


def _host_service_established(site: Site) -> Send:
    ends = Ends(HOST_ADDRESS, site.fresh(), site.services[0], SERVICE_PORT)
    server = site.server_of(site.from_stack(ends, SYN, host=True))
    site.from_server(server, _answer(site, ends, server), SYN | ACK)
    site.from_stack(ends, ACK, host=True)
    return lambda: site.from_stack(ends, ACK, host=True)


KINDS = (
    Kind("from_endpoint", "first", _first),
    Kind("from_endpoint", "established", _established),
    Kind("from_endpoint", "reply", _reply),
    Kind("from_endpoint", "service, first", _service_first),
    Kind("from_endpoint", "service, established", _service_established),
    Kind("from_endpoint", "service, reply", _service_reply),
    Kind("from_endpoint", "dropped", _dropped, passes=False),
    Kind("from_stack", "first", _outside_first),
    Kind("from_stack", "established", _outside_established),
    Kind("from_stack", "reply", _outside_reply),
    Kind("from_stack", "service, first", _host_service_first),
    Kind("from_stack", "service, established", _host_service_established),
    Kind("from_stack", "dropped", _outside_dropped, passes=False),
)


def checked(kind: Kind, done: Result) -> Result:
    """The result. Raises RuntimeError when the packet is not of the kind that it is to be."""
    if (done.verdict is Verdict.ALLOW) != kind.passes:
        raise RuntimeError(f"{kind.hook}, {kind.name}: {done.verdict.name}, {done.reason.name}")
    return done

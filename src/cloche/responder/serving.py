"""Which endpoints are answered for: makes the differences between what is open and what is wanted.

What stays is not touched, so its connections live on. A namespace that is gone, or that another took the
place of, has its sockets closed: they would keep it alive for ever.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import NamedTuple

from cloche.model.address import Address, format_address, is_ipv4
from cloche.model.topology import SCTP, TCP, UDP
from cloche.responder.dns_answer import respond
from cloche.responder.dns_zone import EMPTY_ZONE, ZoneIndex
from cloche.responder.listening import (
    Listening,
    dns_datagrams,
    dns_stream,
    echo_datagrams,
    echo_stream,
)
from cloche.responder.messages import Listed, Listener, Problem, Served
from cloche.responder.namespaces import Identity, Namespaces, identify

DNS_PORT = 53
BACKLOG = 1024
WATCH_SECONDS = 1.0
IP_FREEBIND, IPV6_FREEBIND = 15, 78


class _Place(NamedTuple):
    """Where something listens; ``dns`` tells what answers there."""

    protocol: int
    address: Address
    port: int
    dns: bool


class _Pod:
    """What is open for one endpoint."""

    def __init__(self, name: str, netns: str, identity: Identity) -> None:
        self.name, self.netns, self.identity = name, netns, identity
        self.open: dict[_Place, Listening] = {}

    def close(self) -> None:
        for listening in self.open.values():
            listening.close()
        self.open.clear()


def _places(endpoint: Served) -> list[_Place]:
    dns = [Listener(UDP, DNS_PORT), Listener(TCP, DNS_PORT)] if endpoint.dns else []
    echo = [listener for listener in endpoint.listeners if listener not in dns]
    return [
        _Place(listener.protocol, address, listener.port, listener in dns)
        for address in dict.fromkeys(endpoint.addresses)
        for listener in dict.fromkeys([*dns, *echo])
    ]


def _open(place: _Place) -> socket.socket:
    """A bound, non-blocking socket; call it inside the namespace. Raises OSError."""
    family = socket.AF_INET if is_ipv4(place.address) else socket.AF_INET6
    kind = socket.SOCK_DGRAM if place.protocol == UDP else socket.SOCK_STREAM
    opened = socket.socket(family, kind, place.protocol)
    try:
        opened.setblocking(False)
        # The address may be given to the namespace after we listen, or be taken away for a moment.
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        if place.protocol != UDP:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((format_address(place.address), place.port))
        if place.protocol != UDP:
            opened.listen(BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def _open_all(places: list[_Place]) -> list[socket.socket | OSError]:
    opened: list[socket.socket | OSError] = []
    for place in places:
        if place.protocol not in (TCP, UDP, SCTP):
            opened.append(OSError(0, f"protocol {place.protocol} has no ports to listen on"))
            continue
        try:
            opened.append(_open(place))
        except OSError as error:
            opened.append(error)
    return opened


class Serving:
    """The endpoints being answered for, and the zone that their DNS answers from."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._pods: dict[str, _Pod] = {}
        self._changing = asyncio.Lock()
        self.zone: ZoneIndex = EMPTY_ZONE

    async def serve(self, endpoints: Iterable[Served]) -> tuple[Problem, ...]:
        """Answer for exactly these; returns what could not be opened. Raises ValueError on a name twice."""
        wanted: dict[str, Served] = {}
        for endpoint in endpoints:
            if wanted.setdefault(endpoint.name, endpoint) != endpoint:
                raise ValueError(f"endpoint {endpoint.name} is named twice")
        async with self._changing:
            for name in [name for name in self._pods if name not in wanted]:
                self._pods.pop(name).close()
            problems: list[Problem] = []
            for endpoint in wanted.values():
                problems += await self._serve_one(endpoint)
            return tuple(sorted(set(problems)))

    async def _serve_one(self, endpoint: Served) -> list[Problem]:
        places = _places(endpoint)
        pod = self._pods.get(endpoint.name)
        identity = identify(endpoint.netns)
        if pod is not None and (pod.identity != identity or pod.netns != endpoint.netns):
            self._pods.pop(endpoint.name).close()
            pod = None
        if identity is None:
            message = f"no network namespace at {endpoint.netns}"
            return [Problem(endpoint.name, place.protocol, place.port, message) for place in places]
        if pod is None:
            pod = self._pods[endpoint.name] = _Pod(endpoint.name, endpoint.netns, identity)
        for place in pod.open.keys() - set(places):
            pod.open.pop(place).close()
        missing = [place for place in places if place not in pod.open]
        return await self._open_missing(pod, missing) if missing else []

    async def _open_missing(self, pod: _Pod, missing: list[_Place]) -> list[Problem]:
        try:
            opened = await self._namespaces.run(pod.netns, lambda: _open_all(missing))
        except OSError as error:
            opened = [error] * len(missing)
        problems = []
        for place, result in zip(missing, opened, strict=True):
            if isinstance(result, OSError):
                message = f"{format_address(place.address)}: {result.strerror}"
                problems.append(Problem(pod.name, place.protocol, place.port, message))
            else:
                pod.open[place] = self._listen(place, result, pod.name)
        return problems

    def _listen(self, place: _Place, opened: socket.socket, name: str) -> Listening:
        if place.dns and place.protocol == UDP:
            return dns_datagrams(opened, lambda wire: respond(wire, self.zone, name, udp=True))
        if place.dns:
            return dns_stream(opened, lambda wire: respond(wire, self.zone, name, udp=False))
        return echo_datagrams(opened, name) if place.protocol == UDP else echo_stream(opened, name)

    async def watch(self) -> None:
        """Close what listens in namespaces that are gone. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            async with self._changing:
                for name, pod in list(self._pods.items()):
                    if identify(pod.netns) != pod.identity:
                        self._pods.pop(name).close()

    def listed(self) -> tuple[Listed, ...]:
        """What is being served, by name."""
        return tuple(
            Listed(pod.name, pod.netns, len(pod.open), sum(o.connections for o in pod.open.values()))
            for pod in sorted(self._pods.values(), key=lambda pod: pod.name)
        )

    def close(self) -> None:
        """Close everything."""
        for pod in self._pods.values():
            pod.close()
        self._pods.clear()

"""What DNS knows, as names and records: Kubernetes DNS-Based Service Discovery, version 1.1.0. Pure.

Everything is worked out when a zone is taken in, so that an answer is one look-up. A name that exists
only because longer ones do (RFC 8020) is known too: it has no data, but it is not non-existent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from ipaddress import ip_address
from typing import NamedTuple

from cloche.model.address import format_address, is_ipv4
from cloche.model.topology import PROTOCOL_NAMES
from cloche.responder.messages import Zone, ZoneBackend, ZoneService

SCHEMA_VERSION = "1.1.0"
REVERSE = (".in-addr.arpa", ".ip6.arpa")


class RecordType(IntEnum):
    """The types of record that the zone holds; numbers as in the DNS parameters registry."""

    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33


class Record(NamedTuple):
    """One record's type and data in presentation form (names absolute)."""

    type: RecordType
    data: str


class Existence(IntEnum):
    """What is known of a name."""

    OUTSIDE = 0
    """Not a name of this zone, nor a reverse one."""
    ABSENT = 1
    """A name of this zone that does not exist."""
    PRESENT = 2


def dashed(address: bytes) -> str:
    """The address as one DNS label: ``10-244-0-5``, ``fd00-244--5``."""
    text = format_address(address)
    return text.replace(".", "-") if is_ipv4(address) else text.replace(":", "-")


def _address_record(address: bytes) -> Record:
    return Record(RecordType.A if is_ipv4(address) else RecordType.AAAA, format_address(address))


def _reverse(address: bytes) -> str:
    return ip_address(format_address(address)).reverse_pointer


class ZoneIndex:
    """A zone, ready to be asked. Immutable once made: a new zone is a new index."""

    def __init__(self, zone: Zone) -> None:
        self.domain = zone.domain.lower().strip(".")
        self._records: dict[str, dict[Record, None]] = {}
        self._names: set[str] = {self.domain}
        for name, record in self._all(zone):
            self._records.setdefault(name, {})[record] = None
        for pod in zone.pods:
            for address in pod.addresses:
                name = f"{dashed(address)}.{pod.namespace}.pod.{self.domain}".lower()
                self._records.setdefault(_reverse(address), {Record(RecordType.PTR, f"{name}."): None})
        existing = [*self._records, *map(self._service_name, zone.services)]
        existing += [f"{name}.{kind}.{self.domain}" for name in zone.namespaces for kind in ("svc", "pod")]
        for name in existing:
            self._exists(name.lower())

    def _exists(self, name: str) -> None:
        while name and name not in self._names:
            self._names.add(name)
            name = name.partition(".")[2]

    def _all(self, zone: Zone) -> Iterator[tuple[str, Record]]:
        yield self.domain, Record(RecordType.SOA, self.authority)
        yield f"dns-version.{self.domain}", Record(RecordType.TXT, f'"{SCHEMA_VERSION}"')
        for address in zone.nameservers:
            yield self.domain, Record(RecordType.NS, f"ns.dns.{self.domain}.")
            yield f"ns.dns.{self.domain}", _address_record(address)
        for pod in zone.pods:
            for address in pod.addresses:
                yield f"{dashed(address)}.{pod.namespace}.pod.{self.domain}".lower(), _address_record(address)
        for service in zone.services:
            yield from self._of_service(service) if service.addresses else self._of_headless(service)

    @property
    def authority(self) -> str:
        """The data of the zone's SOA record; its last number is how long a negative answer may be kept."""
        return f"ns.dns.{self.domain}. hostmaster.{self.domain}. 1 7200 1800 86400 5"

    def _service_name(self, service: ZoneService) -> str:
        return f"{service.name}.{service.namespace}.svc.{self.domain}".lower()

    def _of_service(self, service: ZoneService) -> Iterator[tuple[str, Record]]:
        name = self._service_name(service)
        for address in service.addresses:
            yield name, _address_record(address)
            yield _reverse(address), Record(RecordType.PTR, f"{name}.")
        for port in service.ports:
            if port.name and port.protocol in PROTOCOL_NAMES:
                yield _srv(name, port.name, port.protocol, port.port, name)

    def _of_headless(self, service: ZoneService) -> Iterator[tuple[str, Record]]:
        name = self._service_name(service)
        for backend in service.backends:
            own = f"{backend.hostname or dashed(backend.address)}.{name}".lower()
            yield name, _address_record(backend.address)
            yield own, _address_record(backend.address)
            yield _reverse(backend.address), Record(RecordType.PTR, f"{own}.")
            for port in service.ports:
                if port.name and port.protocol in PROTOCOL_NAMES:
                    yield _srv(
                        name, port.name, port.protocol, _backend_port(backend, port.name, port.port), own
                    )

    def existence(self, name: str) -> Existence:
        """What is known of ``name`` (lower case, no dot at the end)."""
        if name in self._names:
            return Existence.PRESENT
        inside = name.endswith(f".{self.domain}") or f".{name}".endswith(REVERSE)
        return Existence.ABSENT if inside else Existence.OUTSIDE

    def records(self, name: str) -> Iterable[Record]:
        """The records of ``name`` (lower case, no dot at the end), in the zone's order."""
        return self._records.get(name, {})


def _srv(service: str, port_name: str, protocol: int, port: int, target: str) -> tuple[str, Record]:
    owner = f"_{port_name}._{PROTOCOL_NAMES[protocol]}.{service}".lower()
    return owner, Record(RecordType.SRV, f"0 100 {port} {target}.")


def _backend_port(backend: ZoneBackend, name: str, default: int) -> int:
    return next((port.port for port in backend.ports if port.name == name), default)


EMPTY_ZONE = ZoneIndex(Zone())

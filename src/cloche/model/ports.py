"""Ports as people write them: ``80/tcp``, ``8/icmp``, ``http/tcp``."""

from __future__ import annotations

from typing import NamedTuple

from cloche.model.topology import ICMP, ICMPV6, PROTOCOL_NAMES, PROTOCOL_NUMBERS, NamedPort


class Port(NamedTuple):
    """What a flow is asked about: IP protocol, and a number or a name. ICMP: ``type << 8 | code``.

    A name is each destination's own; its number is then 0.
    """

    protocol: int
    number: int = 0
    name: str = ""

    @property
    def is_icmp(self) -> bool:
        """True for ICMP and ICMPv6, whose number is a type and code."""
        return self.protocol in (ICMP, ICMPV6)

    def __str__(self) -> str:
        value = self.name or str(self.number >> 8 if self.is_icmp else self.number)
        return f"{value}/{PROTOCOL_NAMES.get(self.protocol, self.protocol)}"


def parse_port(text: str) -> Port:
    """The port written ``text``. Raises ValueError, with what it should be like, when it is none."""
    value, slash, protocol_name = text.partition("/")
    protocol = PROTOCOL_NUMBERS.get(protocol_name.lower())
    if not slash or not value or protocol is None:
        raise ValueError(
            f"{text!r} is no port (like 80/tcp, http/tcp or 8/icmp; protocols: {', '.join(PROTOCOL_NUMBERS)})"
        )
    icmp = protocol in (ICMP, ICMPV6)
    if not (value.isascii() and value.isdecimal()):
        if icmp:
            raise ValueError(f"{text!r}: an ICMP type is a number (like 8/icmp)")
        return Port(protocol, name=value)
    lowest, highest = (0, 255) if icmp else (1, 65535)
    if not lowest <= int(value) <= highest:
        raise ValueError(f"{text!r} is not in {lowest}..{highest}")
    return Port(protocol, int(value) << 8 if icmp else int(value))


def declared_port(declared: NamedPort) -> Port:
    """A declared port by its number."""
    return Port(declared.protocol, declared.port)

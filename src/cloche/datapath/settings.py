"""The configuration entry: what is set once per instance, beside the generation and the clock."""

from __future__ import annotations

import msgspec

from cloche.datapath.layout import CONFIG_EVENTS_OFF, Age, Config
from cloche.model.address import Address
from cloche.model.flow import AGES_NS
from cloche.model.topology import GATEWAY4, GATEWAY6, HAIRPIN4, HAIRPIN6

HOST_MARK = 1 << 27
"""The bit of a packet's mark by which the pair's two programs speak to each other."""


class Settings(msgspec.Struct, frozen=True):
    """What an operator may choose. ``event_rate``: events per second and endpoint, ``event_burst`` at
    once; ``hash_key``: two 64-bit numbers of the backend choice, None: random, kept over restarts."""

    gateway4: Address = GATEWAY4
    gateway6: Address = GATEWAY6
    hairpin4: Address = HAIRPIN4
    hairpin6: Address = HAIRPIN6
    event_rate: int = 1000
    event_burst: int = 2000
    events: bool = True
    hash_key: tuple[int, int] | None = None


class StackDevice(msgspec.Struct, frozen=True):
    """The instance's device in the host: where what endpoints send to the host's stack is received."""

    ifindex: int
    mac: bytes


NO_DEVICE = StackDevice(0, bytes(6))


def make_config(
    settings: Settings, stack: StackDevice, hash_key: tuple[int, ...], generation: int = 0, clock_ns: int = 0
) -> Config:
    """The entry as the program reads it; ages are ``model.flow.AGES_NS``."""
    ages = {int(age): limit for age, limit in AGES_NS.items()}
    return Config(
        generation=generation,
        clock_ns=clock_ns,
        hash_key=settings.hash_key or hash_key,
        ages=tuple(ages.get(index, 0) for index in range(Age.COUNT)),
        gateway4=settings.gateway4,
        gateway6=settings.gateway6,
        hairpin4=settings.hairpin4,
        hairpin6=settings.hairpin6,
        stack_ifindex=stack.ifindex,
        host_mark=HOST_MARK,
        stack_mac=stack.mac,
        flags=0 if settings.events else CONFIG_EVENTS_OFF,
        event_rate=settings.event_rate,
        event_burst=settings.event_burst,
    )

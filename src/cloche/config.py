"""One instance of Cloche: its name, its paths, its address ranges and how much its maps hold."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import msgspec

from cloche.errors import Finding, InputError
from cloche.model.address import Address, Block, parse_block
from cloche.model.reserved import range_problem
from cloche.tables.schema import Capacity

DEFAULT_INSTANCE = "cloche0"
DEVICE_NAME = re.compile(r"[^\s/:]{1,15}")
INSTANCE_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
DEFAULT_POD_RANGES = (parse_block("10.244.0.0/16"), parse_block("fd00:244::/64"))
DEFAULT_SERVICE_RANGES = (parse_block("10.96.0.0/16"), parse_block("fd00:96::/112"))
DEFAULT_REPLAY_MS = 10.0
LONGEST_REPLAY_MS = 60_000.0
DNS_OFFSET = 10
"""The resolver's service has the tenth address of each service range, as in Kubernetes' own installers."""


class Loader(StrEnum):
    """How programs get on devices: TCX links, filters on the clsact qdisc, or what the kernel has."""

    AUTO = "auto"
    TCX = "tcx"
    CLSACT = "clsact"


class Config(msgspec.Struct, frozen=True):
    """What an instance is made with; kept on disk, so that a restart finds the same.

    ``devices`` are the uplinks by name; none: those that hold the host's addresses or default routes.
    ``look_seconds`` is how long the agent rests between two comparisons of the kernel's state with what it
    should be; 0: it never compares. ``replay_ms``: how long a generation is replayed against the oracle
    before it is active; 0: never, neither before nor after. ``root`` is the folder below which all its files
    are.
    """

    instance: str = DEFAULT_INSTANCE
    pod_ranges: tuple[Block, ...] = DEFAULT_POD_RANGES
    service_ranges: tuple[Block, ...] = DEFAULT_SERVICE_RANGES
    capacity: Capacity = Capacity()
    flow_history: int = 4096
    loader: Loader = Loader.AUTO
    devices: tuple[str, ...] = ()
    look_seconds: float = 5.0
    replay_ms: float = DEFAULT_REPLAY_MS
    root: str = "/"

    @property
    def run(self) -> Path:
        """Sockets and process numbers; gone after a reboot."""
        return Path(self.root, "run/cloche") / self.instance

    @property
    def state(self) -> Path:
        """What a restart needs: manifests, attachments, counters."""
        return Path(self.root, "var/lib/cloche") / self.instance

    @property
    def log(self) -> Path:
        """The agent's log."""
        return Path(self.root, "var/log/cloche") / f"{self.instance}.log"

    @property
    def socket(self) -> Path:
        """Where the agent answers, root only."""
        return self.run / "agent.sock"

    @property
    def pid_file(self) -> Path:
        """The agent's process number."""
        return self.run / "agent.pid"

    @property
    def responder_socket(self) -> Path:
        """Where the responder answers."""
        return self.run / "responder.sock"

    @property
    def dns_addresses(self) -> tuple[Address, ...]:
        """The addresses of the resolver's service, one of each service range."""
        return tuple(offset(block, DNS_OFFSET) for block in self.service_ranges)


def offset(block: Block, count: int) -> Address:
    """The address ``count`` after the block's first one."""
    return Address((int.from_bytes(block.first(), "big") + count).to_bytes(16, "big"))


def check(config: Config) -> None:
    """Refuse an instance that cannot be: raises InputError with what is wrong and what to do."""
    findings = []
    if not INSTANCE_NAME.fullmatch(config.instance):
        message = f"{config.instance!r} is no instance name"
        hint = "a lower-case letter, then at most seven lower-case letters and digits: links are named by it"
        findings.append(Finding("", 0, "instance", message, hint))
    for name in config.devices:
        if not DEVICE_NAME.fullmatch(name) or name in ("lo", ".", "..", config.instance):
            hint = "name devices by which packets come in from other machines"
            findings.append(Finding("", 0, "device", f"{name!r} cannot be an uplink", hint))
    for field, ranges in (("pod range", config.pod_ranges), ("service range", config.service_ranges)):
        for ipv4 in (True, False):
            count = sum(block.ipv4 == ipv4 for block in ranges)
            if count != 1:
                family = "IPv4" if ipv4 else "IPv6"
                findings.append(Finding("", 0, field, f"{count} {family} ranges", "one of each family"))
        for block in ranges:
            problem = range_problem(block)
            if problem:
                findings.append(Finding("", 0, field, f"{block} {problem}", "choose a private range"))
    for block in config.service_ranges:
        if not block.contains(offset(block, DNS_OFFSET)):
            hint = "the tenth address is the resolver's; take one of 16 addresses or more"
            findings.append(Finding("", 0, "service range", f"{block} is too small", hint))
    for pods in config.pod_ranges:
        for services in config.service_ranges:
            if pods.covers(services) or services.covers(pods):
                message = f"{pods} overlaps the service range {services}"
                hint = "choose ranges that share nothing, with --pod-cidr and --service-cidr"
                findings.append(Finding("", 0, "pod range", message, hint))
    if not 0 <= config.replay_ms <= LONGEST_REPLAY_MS:
        message = f"{config.replay_ms} ms is no time to replay for"
        findings.append(Finding("", 0, "replay", message, f"0 (off) to {LONGEST_REPLAY_MS:.0f}"))
    if findings:
        raise InputError(findings)

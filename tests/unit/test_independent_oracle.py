"""The oracle against an independent reading of NetworkPolicy (network-config-analyzer), on made manifests.

Compared where both mean the same: pod to pod by selectors and ports, and pods to and from addresses
outside. The other tool does not match ipBlock against pods, so pods here have addresses that no block holds.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from nca.nca_cli import nca_main

import manifest_worlds
from cloche.model.address import parse_address, parse_block
from cloche.model.evaluate import evaluate
from cloche.model.flow import Entry, Packet, Verdict
from cloche.model.state import Put, State
from cloche.model.topology import Endpoint
from cloche.orchestrators.sandbox import build, read
from worlds import TIMES

POD_CIDRS = (parse_block(manifest_worlds.PODS_BLOCK), parse_block("fd00:244::/64"))
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PORTS = (1, 2, 78, 79, 80, 81, 82, 99, 100, 101, 8079, 8080, 8081, 65534, 65535)
OUTSIDE = (
    "9.255.255.255", "10.0.0.0", "10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0", "10.127.255.255",
    "10.128.0.0", "10.255.255.255", "11.0.0.0", "172.15.255.255", "172.16.3.8", "172.16.3.9", "172.16.3.10",
    "172.31.255.255", "172.32.0.0", "192.168.3.255", "192.168.4.0", "192.168.4.6", "192.168.4.7",
    "192.168.4.8", "192.168.4.127", "192.168.4.128", "192.168.4.255", "192.168.5.0", "8.8.8.8",
)  # fmt: skip


class Allowed(msgspec.Struct, frozen=True):
    """One line of the other tool's connectivity map: who may reach whom by what."""

    source: str
    destination: str
    connections: str

    def permits(self, protocol: str, port: int) -> bool:
        """True when the line's connections hold this protocol and port."""
        if self.connections == "All connections":
            return True
        found = re.findall(r"\{protocols:([A-Z,\- ]+?)(?:,dst_ports:([\d,\-]+))?\}", self.connections)
        assert found, f"not understood: {self.connections!r}"
        return any(protocol in names and holds(ranges, port) for names, ranges in found)


def holds(ranges: str, port: int) -> bool:
    """True when ``1,5-9``-like ranges hold the port; no ranges hold every port."""
    if not ranges:
        return True
    bounds = [[int(end) for end in part.split("-")] for part in ranges.split(",")]
    return any(bound[0] <= port <= bound[-1] for bound in bounds)


def matches(peer: str, pod: str, address: str) -> bool:
    """True when the other tool's peer is this pod, or a range that holds this address outside."""
    if peer.endswith("[Pod]"):
        return peer.removesuffix("[Pod]") == pod
    first, _, last = peer.partition("-")
    if not address or ":" in peer:
        return False
    low, high = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last or first)
    return low <= ipaddress.IPv4Address(address) <= high


def other_reading(path: str) -> list[Allowed]:
    """The other tool's connectivity map of the manifests at ``path``."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["--connectivity", path, "-n", path, "-p", path, "-o", "txt_no_fw_rules"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = nca_main(arguments)
    assert status == 0, out.getvalue() + err.getvalue()
    lines = [re.fullmatch(r"(\S+) => (\S+) : (.*)", line) for line in out.getvalue().splitlines()]
    return [Allowed(*line.groups()) for line in lines if line]


def pairs(state: State) -> Iterator[tuple[str, str, str, str]]:
    """(source pod, destination pod, source address, destination address); '' for no pod."""
    pods = {key: ipv4(endpoint) for key, endpoint in state.endpoints.items()}
    for source, source_address in pods.items():
        for destination, destination_address in pods.items():
            if source != destination:
                yield source, destination, source_address, destination_address
        for address in OUTSIDE:
            yield source, "", source_address, address
            yield "", source, address, source_address


def ipv4(endpoint: Endpoint) -> str:
    """The endpoint's IPv4 address."""
    return next(str(ipaddress.IPv4Address(a[12:])) for a in endpoint.addresses if a.startswith(bytes(10)))


def differences(state: State, lines: list[Allowed]) -> Iterator[str]:
    """Every question on which oracle and other tool disagree."""
    for source, destination, source_address, destination_address in pairs(state):
        here = [
            line
            for line in lines
            if matches(line.source, source, "" if source else source_address)
            and matches(line.destination, destination, "" if destination else destination_address)
        ]
        for protocol, number in PROTOCOLS.items():
            for port in PORTS:
                packet = Packet(
                    source=parse_address(source_address),
                    destination=parse_address(destination_address),
                    protocol=number,
                    source_port=40000,
                    destination_port=port,
                    entry=Entry.ENDPOINT if source else Entry.STACK,
                    sender=source,
                )
                theirs = any(line.permits(protocol, port) for line in here)
                ours = evaluate(state, packet).verdict is Verdict.ALLOW
                if theirs != ours:
                    ends = f"{source or source_address} -> {destination or destination_address}"
                    yield f"{ends} {port}/{protocol}: {ours}"


@pytest.fixture(scope="session")
def manifest_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example writes anew."""
    return tmp_path_factory.mktemp("nca") / "world.yaml"


@settings(max_examples=25 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents=manifest_worlds.worlds())
def test_oracle_agrees_with_another_reading(
    documents: list[manifest_worlds.Manifest], manifest_path: Path
) -> None:
    """Oracle and network-config-analyzer answer every boundary question about generated policies alike."""
    manifest_path.write_text(yaml.safe_dump_all(documents))
    state = State(Put(value) for value in build(read([str(manifest_path)]), POD_CIDRS).objects)
    assert list(differences(state, other_reading(str(manifest_path)))) == []

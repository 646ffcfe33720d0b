"""Ranges and addresses that cannot work are refused where they are written, with what to do about it."""

from __future__ import annotations

import pytest

from cloche.agent.clashes import host_clashes, kept_addresses
from cloche.config import Config, check
from cloche.errors import InputError
from cloche.model.address import parse_address, parse_block
from cloche.model.reserved import NEVER_CARRIED, OURS, address_problem, range_problem
from cloche.orchestrators.sandbox import build, read

FINE = ("10.0.0.0/8", "100.64.0.0/10", "192.168.0.0/16", "fd00:1::/64", "2001:db8::/32", "fc00::/8")
IMPOSSIBLE = (
    *("0.0.0.0/0", "0.1.0.0/16", "127.5.0.0/16", "169.254.0.0/16", "224.0.0.0/16", "240.0.0.0/16"),
    *("128.0.0.0/1", "192.0.0.0/24", "192.0.0.8/32"),
    *("::/0", "::1/128", "fe80::/64", "ff02::/64", "fd00::/8", "fd00:ffff::/112"),
)
WORLD = """
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec: {{containers: [{{name: c, image: c}}]}}
status: {{podIPs: [{{ip: "{pod}"}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: s}}
spec: {{clusterIP: "{service}", ports: [{{port: 80}}]}}
"""


@pytest.mark.parametrize("option", ["pod", "service"])
@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_impossible_ranges_are_refused(text: str, option: str) -> None:
    """A range that packets cannot carry, or that holds an address of ours, is refused as either range."""
    block = parse_block(text)
    default = Config()
    ranges = default.pod_ranges if option == "pod" else default.service_ranges
    chosen = (block, *(other for other in ranges if other.ipv4 != block.ipv4))
    config = Config(pod_ranges=chosen) if option == "pod" else Config(service_ranges=chosen)
    with pytest.raises(InputError) as caught:
        check(config)
    findings = [f for f in caught.value.findings if f.field == f"{option} range" and str(block) in f.message]
    assert findings
    assert all(finding.hint for finding in findings)


def test_possible_ranges_are_taken() -> None:
    """Private and global ranges are as good as the default ones."""
    assert [range_problem(parse_block(text)) for text in FINE] == [""] * len(FINE)
    check(Config())


def test_a_service_range_holds_the_resolver() -> None:
    """A range without a tenth address has none for the resolver's service, and is refused."""
    for text, fits in (("10.96.0.0/30", False), ("10.96.0.0/29", False), ("10.96.0.0/28", True)):
        config = Config(service_ranges=(parse_block(text), Config().service_ranges[1]))
        if fits:
            check(config)
        else:
            with pytest.raises(InputError, match="too small"):
                check(config)


@pytest.mark.parametrize("address", OURS)
def test_our_own_addresses_are_nobodys(address: bytes) -> None:
    """The gateway's and the hairpin addresses are refused."""
    assert address_problem(address)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["192.0.0.8", "fd00:ffff::ca7e", "169.254.1.1", "fe80::1", "127.0.0.1"])
@pytest.mark.parametrize("where", ["pod", "service"])
def test_reserved_addresses_in_manifests_are_refused(text: str, where: str) -> None:
    """As a pod's or a service's, with the file, the line and the field."""
    words = {"pod": "10.9.9.9", "service": "10.96.0.77", where: text}
    with pytest.raises(InputError) as caught:
        build(read(["-"], stdin=WORLD.format(**words)))
    (finding,) = caught.value.findings
    assert finding.file == "<stdin>"
    assert finding.line == (6 if where == "pod" else 11)
    assert finding.field == ("status.podIPs[0].ip" if where == "pod" else "spec.clusterIP")
    assert text in finding.message


def test_addresses_of_the_machine_are_refused_where_they_are_written() -> None:
    """A pod or a service with an address of the host itself is named with its file and line."""
    world = build(read(["-"], stdin=WORLD.format(pod="192.0.2.1", service="2001:db8::1")))
    host = [parse_address("192.0.2.1"), parse_address("2001:db8::1")]
    found = {(f.field, f.line) for f in host_clashes(world.objects, host)}
    assert found == {("status.podIPs", 2), ("spec.clusterIP", 8)}
    assert list(host_clashes(world.objects, [parse_address("192.0.2.3")])) == []
    assert kept_addresses(world.objects, Config().pod_ranges) == [parse_address("192.0.2.1")]


def test_no_two_kinds_of_what_is_never_carried_overlap() -> None:
    """Each is named once."""
    blocks = list(NEVER_CARRIED)
    assert not any(a.covers(b) for a in blocks for b in blocks if a is not b)

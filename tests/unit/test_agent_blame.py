"""What the machine refuses is said of the pod that asks for it."""

from __future__ import annotations

from cloche.agent.blame import at_endpoints
from cloche.errors import Finding
from cloche.model.address import parse_address
from cloche.model.topology import Endpoint, Origin

POD = Endpoint(
    "shop", "db", (parse_address("192.0.2.7"), parse_address("fd00::7")), origin=Origin("dump.yaml", 12)
)


def test_a_refused_address_names_its_pod_file_line_and_field() -> None:
    """Of either family; what is about no single address of a pod stays the machine's."""
    refused = [
        Finding("machine", 0, block, "overlaps 192.0.2.0/24", "leave status.podIPs out")
        for block in ("192.0.2.7/32", "fd00::7/128", "10.244.0.0/16")
    ]
    four, six, other = map(str, at_endpoints(refused, [POD]))
    assert four == (
        "dump.yaml:12: status.podIPs: the address 192.0.2.7 of pod shop/db overlaps 192.0.2.0/24"
        " (leave status.podIPs out)"
    )
    assert "the address fd00::7 of pod shop/db" in six
    assert other == str(refused[2])

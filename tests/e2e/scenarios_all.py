"""All 48 scenarios: 42 about TCP, 3 about UDP, 3 about SCTP."""

from __future__ import annotations

from e2e import scenarios_egress, scenarios_ingress
from e2e.scenarios import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    scenarios_ingress.PEERS
    + scenarios_ingress.PORTS
    + scenarios_ingress.CHANGES
    + scenarios_egress.EGRESS
    + scenarios_egress.BOTH
    + scenarios_ingress.PROTOCOLS
)

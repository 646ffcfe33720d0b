"""Every error says where it is and what to do: file, line, field where there is one, and a hint."""

from __future__ import annotations

import pytest
from manifest_builders import documents, findings, pod_text, policy_text
from test_manifest_pods import BAD_ADDRESSES, BAD_PORTS
from test_manifest_policies import BAD_SPECS
from test_manifest_services import BAD_SERVICES, BAD_SLICES, service_text, slice_text
from test_manifest_text import BAD_TEXTS

WHOLE = [policy_text(spec) for spec, *_ in BAD_SPECS]
WHOLE += [service_text(spec) for spec, *_ in BAD_SERVICES]
WHOLE += [slice_text("s-1", body) for body, _ in BAD_SLICES]
WHOLE += [pod_text("a", ports=f"[{port}]") for port, _ in BAD_PORTS]
WHOLE += [pod_text("a", f"status: {{podIPs: [{{ip: '{address}'}}]}}") for address in BAD_ADDRESSES]
WHOLE += [documents(pod_text("a"), pod_text("a"))]
WHOLE += [documents(*(pod_text(name, "status: {podIP: 10.244.0.7}") for name in "ab"))]
TEXTS = [text for text, *_ in BAD_TEXTS]

PEER = "podSelector: {{}}\negress:\n- to: [ipBlock: {{cidr: {0}}}]"
PORT = "podSelector: {{}}\negress:\n- ports: [{{{0}}}]"
SAID = [
    ("kind: {a: 1", "", "close the { with }, with commas between its entries"),
    ("kind: [a", "", "close the [ with ], with commas between its entries"),
    ('kind: "Pod', "", "close the quotes"),
    ("a: b: c", "", "quote text that has a colon"),
    (policy_text(PEER.format("10.0.0.0/33")), "prefix length over 32", "how many bits of it are fixed"),
    (policy_text(PEER.format("300.0.0.0/8")), "is not an IP address", "like 10.0.0.0/8 or fd00::/64"),
    (policy_text(PEER.format("10.0.0.1")), "is not a CIDR", "add the prefix length"),
    (policy_text(PEER.format("10.0.0.0/8, except: ['fd00::/64']")), "same address family", "remove it"),
    (policy_text(PORT.format("port: 0")), "must be 1 to 65535, not 0", "leave port out for every port"),
    (policy_text(PORT.format("port: 70000")), "must be 1 to 65535, not 70000", "by port and endPort"),
    (policy_text(PORT.format("port: 80.5")), "must be a whole number, not 80.5", "without a fraction"),
    (policy_text(PORT.format("port: 9, endPort: 8")), "endPort 8 is below port 9", "port begins the range"),
]


@pytest.mark.parametrize("text", WHOLE)
def test_an_error_in_an_object_has_line_field_and_hint(text: str) -> None:
    """Each error of the tables of impossible objects."""
    errors = [finding for finding in findings(text) if finding.severity == "error"]
    assert errors
    for error in errors:
        assert (error.file, error.line > 0, bool(error.hint)) == ("<stdin>", True, True), error
        assert error.field or "is missing" in error.message, error


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_in_a_text_has_a_line_and_a_hint(text: str) -> None:
    """Each error of the table of texts that are no objects; where YAML ends there are no fields."""
    errors = [finding for finding in findings(text) if finding.severity == "error"]
    assert errors
    assert all(error.line and error.hint for error in errors), errors


@pytest.mark.parametrize(("text", "message", "hint"), SAID)
def test_the_hint_says_what_to_write_instead(text: str, message: str, hint: str) -> None:
    """For the mistakes that are made most."""
    errors = [finding for finding in findings(text) if finding.severity == "error"]
    assert any(message in error.message and hint in error.hint for error in errors), errors

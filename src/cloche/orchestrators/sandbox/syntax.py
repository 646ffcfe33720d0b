"""The API's syntax for names, labels, ports and addresses, each as a check that says what is wrong."""

from __future__ import annotations

import re

from cloche.model.address import Address, Block, parse_address, parse_block
from cloche.model.labels import Labels, make_labels
from cloche.model.reserved import address_problem
from cloche.model.topology import PROTOCOL_NUMBERS, SCTP, TCP, UDP
from cloche.orchestrators.sandbox.fields import Field, did_you_mean, shorten

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(rf"{_LABEL}\Z", re.ASCII)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z", re.ASCII)
_QUALIFIED = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z", re.ASCII)
_SERVICE_NAME = re.compile(r"[a-z0-9-]*[a-z][a-z0-9-]*\Z", re.ASCII)
_LEADING_ZERO = re.compile(r"(?:^|\.)0[0-9][0-9.]*(?:/|\Z)|/0[0-9]")
LABEL_HINT = "like app: web or example.com/tier: front-end"
CIDR_HINT = "a network and how many bits of it are fixed, like 10.0.0.0/8 or fd00::/64"
ADDRESS_HINT = "like 10.244.0.7 or fd00:244::7"
PORT_NAME_HINT = "like http or metrics-2"
_LABEL_CHARACTERS = "A-Z, a-z, 0-9, -, _ and ., and begins and ends with a letter or digit"

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}


def is_dns_label(text: str) -> bool:
    """RFC 1123 label, as namespaces have."""
    return len(text) <= 63 and bool(_DNS_LABEL.match(text))


def is_dns_subdomain(text: str) -> bool:
    """RFC 1123 subdomain, as most names are."""
    return len(text) <= 253 and bool(_DNS_SUBDOMAIN.match(text))


def port_name_hint(text: str) -> str:
    """What to write instead of a port's name that is none."""
    return "remove the quotes" if text.isdecimal() else PORT_NAME_HINT


def port_name_problem(text: str) -> str:
    """Why the text is no IANA service name (RFC 6335 5.1: at most 15 of a-z0-9-, a letter), or nothing."""
    if not 1 <= len(text) <= 15:
        return "a port name has 1 to 15 characters"
    if not _SERVICE_NAME.match(text):
        return "a port name has only a-z, 0-9 and -, and at least one letter"
    if text[0] == "-" or text[-1] == "-" or "--" in text:
        return "a port name neither begins nor ends with -, nor has two in a row"
    return ""


def label_key_problem(key: str) -> str:
    """Why the text is no label key, or nothing."""
    prefix, slash, name = key.rpartition("/")
    if slash and not is_dns_subdomain(prefix):
        return f"the prefix {shorten(prefix)!r} of a label's key must be a DNS name"
    if len(name) > 63 or not _QUALIFIED.match(name):
        return f"a label's key has 1 to 63 of {_LABEL_CHARACTERS}"
    return ""


def label_value_problem(value: str) -> str:
    """Why the text is no label value, or nothing."""
    if value and (len(value) > 63 or not _QUALIFIED.match(value)):
        return f"a label's value has at most 63 of {_LABEL_CHARACTERS}"
    return ""


def read_labels(field: Field | None) -> Labels:
    """A mapping of labels; what is no label is reported and left out."""
    if field is None:
        return ()
    labels: dict[str, str] = {}
    for key, value in field.entries():
        problem = label_key_problem(key)
        text = value.text()
        if text is not None:
            problem = problem or label_value_problem(text)
        if problem:
            value.error(problem, LABEL_HINT)
        elif text is not None:
            labels[key] = text
    return make_labels(labels)


def read_protocol(field: Field | None) -> int | None:
    """A protocol's number, TCP where the field is absent; None when it is none of the API's three."""
    if field is None:
        return TCP
    text = field.text()
    if text is None:
        return None
    if text not in PROTOCOLS:
        hint = did_you_mean(text, PROTOCOLS)
        if text.lower() in PROTOCOL_NUMBERS and text.upper() not in PROTOCOLS:
            hint = "a rule without ports allows every protocol, ICMP too"
        field.error(f"{shorten(text)!r} is no protocol here: TCP, UDP or SCTP", hint)
        return None
    return PROTOCOLS[text]


def read_block(field: Field) -> Block | None:
    """A CIDR; host bits are warned of and masked off, leading zeros refused."""
    text = field.text()
    if text is None:
        return None
    if _LEADING_ZERO.search(text):
        field.error(f"{shorten(text)!r} has leading zeros, which some read as octal", "leave them out")
        return None
    try:
        block = parse_block(text)
    except ValueError as problem:
        bare = "add the prefix length, /32 or /128 for one address"
        field.error(_shortened(problem), CIDR_HINT if "/" in text else bare)
        return None
    given = parse_address(text.partition("/")[0])
    if given != block.address:
        field.warn(f"{text} has bits set beyond its prefix length; it means {block}", f"write {block}")
    return block


def read_address(field: Field) -> Address | None:
    """A unicast address that an endpoint or service could have."""
    text = field.text()
    if text is None:
        return None
    try:
        address = parse_address(text)
    except ValueError as problem:
        field.error(_shortened(problem), ADDRESS_HINT)
        return None
    problem_with_it = address_problem(address)
    if problem_with_it:
        field.error(problem_with_it, "leave it out, so that one is given out here")
        return None
    return address


def _shortened(problem: ValueError) -> str:
    text = str(problem)
    return text if len(text) <= 160 else text[:157] + "..."

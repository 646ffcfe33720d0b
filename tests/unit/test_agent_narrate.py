"""Which kernel events are told, and with which names."""

from __future__ import annotations

import socket

import pytest

from cloche.agent.messages import FlowEvent
from cloche.agent.narrate import is_coming_or_going, link_text


@pytest.mark.parametrize(
    ("link", "reason", "quiet"),
    [
        ("t1-7", "unknown-link", True),
        ("t1-p", "no-generation", True),
        ("t1", "no-generation", True),
        ("#99", "unknown-link", True),
        ("eth0", "unknown-link", False),
        ("t12-7", "unknown-link", False),
        ("t1-7", "spoofed-mac", False),
        ("", "unknown-link", False),
    ],
)
def test_only_our_own_links_that_come_or_go_are_left_out(link: str, reason: str, quiet: bool) -> None:
    """What another link or another reason tells is told."""
    assert is_coming_or_going("t1", FlowEvent(0.0, "drop", reason=reason, link=link)) is quiet


def test_a_link_is_told_by_name_while_it_is_there() -> None:
    """Its number when it is gone, nothing where there is none."""
    number, name = socket.if_nameindex()[0]
    assert (link_text(number), link_text(0)) == (name, "")
    assert link_text(2**31 - 1) == f"#{2**31 - 1}"

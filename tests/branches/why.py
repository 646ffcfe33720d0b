"""Why an outcome of an ``if`` may never be: the kinds of those that nothing from outside can bring about."""

from __future__ import annotations

import re
from typing import NamedTuple

TRUE, FALSE = "never true", "never false"


class Kind(NamedTuple):
    """Outcomes of one kind. ``conditions``: patterns of a whole condition, with the outcome that never is."""

    title: str
    says: str
    conditions: tuple[tuple[str, str], ...]

    def holds(self, condition: str, outcome: str) -> bool:
        """True for an outcome of this kind."""
        plain = re.sub(r"^(?:un)?likely\((.*)\)$", r"\1", condition)
        return any(
            outcome == which and re.fullmatch(pattern, plain) is not None
            for pattern, which in self.conditions
        )


KINDS = (
    Kind(
        "A helper of the kernel fails",
        "On bytes that have been read or written before, or for want of memory. The packet is dropped.",
        (
            (r".*\bbpf_(skb|l3|l4)_\w+\(.*", TRUE),
            (r".*\bwrite_\w+\(.*", TRUE),
            (r"length < 1 \|\| length > .*", TRUE),
        ),
    ),
    Kind(
        "What is always there is missing",
        "An entry of an array whose index is in bounds, or one that has just been found. The verifier wants "
        "it asked; what was found may also go while another processor removes it.",
        (
            (r"!(p|settings)( \|\| !settings)?", TRUE),
            (r"!(owner|entry|place|word|hint|endpoint|flow|row|backend|counter|search->count)", TRUE),
            (r"word|count|flow && flow->slot == slot", FALSE),
            (r"!flow", TRUE),
        ),
    ),
    Kind(
        "Another processor comes in between",
        "Two packets of one flow, or of one sender, at the same instant.",
        (
            (r"!bpf_map_update_elem\(&flows, key, &p->fresh, UPDATE_OLD\)", FALSE),
            (r"!old && bpf_map_lookup_elem\(&flows, key\)", TRUE),
            (r"held", FALSE),
            (r"__sync_fetch_and_or\(&owner->claims, claim\) & claim", TRUE),
            (r"p->live && !keep_translation\(p, settings, known\) && next == GO_ON", TRUE),
        ),
    ),
    Kind(
        "Only while another layout of the maps takes over",
        "`tests/e2e/test_agent_upgrade.py` sends real packets through it: in the agent's own process, where "
        "nobody counts.",
        (
            (r"is_waiting\(\)", TRUE),
            (r"!has_gate", FALSE),
            (r"has_old_flows", TRUE),
            (r"!p|!old|bpf_map_lookup_elem\(&flows, key\)", FALSE),
            (r"!old|bpf_map_lookup_elem\(&flows, key\)", TRUE),
        ),
    ),
    Kind(
        "No test run brings it about",
        "Frames without a whole MAC or IP header, VLAN tags that the device took off, and segments of "
        "different sizes come from devices alone.",
        (
            (r"data \+ ETHERNET_LENGTH > end", TRUE),
            (r"skb->vlan_present", TRUE),
            (r"extent\.segment == SEGMENTS_DIFFER", TRUE),
            (r"data \+ (ETHERNET_LENGTH \+ sizeof\(struct iphdr\)|FRONT_LENGTH) (> end|<= end)", TRUE),
            (r"data \+ FRONT_LENGTH <= end", FALSE),
            (r"bpf_skb_load_bytes\(skb, 0, front\.frame, FRONT_LENGTH\)", FALSE),
            (r"\(void \*\)\(ip \+ 1\) > end \|\| ethernet->h_proto != swap16\(ETH_P_IPV6\)", TRUE),
        ),
    ),
)


def kind_of(condition: str, outcome: str) -> Kind | None:
    """The kind of an outcome that never was; None: it should have been."""
    return next((kind for kind in KINDS if kind.holds(condition, outcome)), None)

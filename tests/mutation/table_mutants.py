"""Wrong compilers: what cutting the world into classes and atoms, and writing it down, could get wrong."""

from __future__ import annotations

from mutant import Mutant

COMPILER = (
    "tests/unit/test_compiler_services.py",
    "tests/unit/test_partition_ports.py",
    "tests/unit/test_unknown_endpoints.py",
    "tests/unit/test_policy_order.py",
    "tests/unit/test_partition_blocks.py",
    "tests/unit/test_partition_population.py",
    "tests/unit/test_partition_peers.py",
    "tests/unit/test_compiler_oracle.py",
    "tests/unit/test_scenarios.py",
    "tests/unit/test_compiler_steps.py",
    "tests/unit/test_tracker_tables.py",
)
RANGES = (
    ("a range of ports ends one port late", "src/cloche/partition/ports.py",
     "toggles[last + 1] = toggles.get(last + 1, 0)", "toggles[last + 2] = toggles.get(last + 2, 0)"),
    ("of ranges that end together one does not end", "src/cloche/partition/ports.py", "toggles.get(last + 1, 0)", "0"),
    ("ranges two apart are made one", "src/cloche/partition/ports.py", "first <= out[-1][1] + 1", "first <= out[-1][1] + 2"),
    ("a range inside another shortens it", "src/cloche/partition/ports.py", "max(last, out[-1][1])", "last"),
    ("UDP's ports are TCP's", "src/cloche/partition/ports.py", "UDP: SLOT_UDP, SCTP", "UDP: SLOT_TCP, SCTP"),
    ("except is forgotten", "src/cloche/partition/blocks.py",
     "if piece.block not in left_out:", "if True:"),
    ("the shortest block counts", "src/cloche/partition/blocks.py", "for n in sorted(self.lengths, reverse=True)",
     "for n in sorted(self.lengths)"),
    ("a new block starts matched by nobody", "src/cloche/partition/blocks.py", "set(above.matched) if above else set()",
     "set()"),
)  # fmt: skip
SELECTED = (
    ("namespaceSelector is ignored for subjects and peers alike", "src/cloche/partition/population.py",
     "elif peer.namespaces.requirements and not peer.namespaces.matches(\n"
     "            dict(self.space_labels(endpoint.namespace))\n        ):\n            return False",
     "elif False:\n            return False"),
    ("podSelector beside namespaceSelector is ignored", "src/cloche/partition/population.py",
     "for key in self.in_space(space)}\n        return self._filtered(pool, peer.pods)",
     "for key in self.in_space(space)}\n        return pool"),
    ("a namespace without an object has no name", "src/cloche/partition/population.py",
     "return ((NAMESPACE_NAME_LABEL, name),) if labels is None else labels", "return labels or ()"),
    ("a relabelled endpoint keeps its old selectors", "src/cloche/partition/peers.py", "for use in old - new:",
     "for use in old & new:"),
    ("peers that differ by namespace are one", "src/cloche/partition/peers.py",
     "return PodPeer(peer.pods, \"\", peer.namespaces)", "return PodPeer(peer.pods, \"\", EVERYTHING)"),
)  # fmt: skip
DECIDED = (
    ("a pass stops the search", "src/cloche/partition/rules.py", "left |= passed\n        if self.isolated",
     "if self.isolated"),
    ("the host is isolated from like anyone", "src/cloche/partition/rules.py",
     "if self.isolated and signature.kind is not Kind.HOST:", "if self.isolated:"),
    ("an unknown endpoint might be allowed", "src/cloche/partition/rules.py",
     "kind is Kind.UNKNOWN and rule.action is not Action.ALLOW and rule.predicate.selects",
     "kind is Kind.UNKNOWN and rule.predicate.selects"),
    ("an unknown endpoint may pass by a selector", "src/cloche/partition/rules.py",
     "if signature.kind is not Kind.UNKNOWN:\n        return True", "if signature.kind is not Kind.HOST:\n        return True"),
    ("the later rule decides", "src/cloche/partition/rules.py",
     "hit = left & asked.ports(placed)\n            left &= ~hit\n            action", "hit = left & asked.ports(placed)\n            action"),
    ("a named port counts whatever its protocol", "src/cloche/partition/rules.py",
     "if (port.name, port.protocol) in rule.names", "if port.name in {name for name, _ in rule.names}"),
    ("priority does not matter", "src/cloche/partition/rules.py",
     "priority = 0 if policy.tier is Tier.DEFAULT else policy.priority", "priority = 0"),
    ("directions are swapped", "src/cloche/partition/rules.py",
     "return ReadyPolicy(policy, (side(Direction.EGRESS), side(Direction.INGRESS)))",
     "return ReadyPolicy(policy, (side(Direction.INGRESS), side(Direction.EGRESS)))"),
    ("both directions have the egress set", "src/cloche/compiler/endpoints.py", "        ingress=words[1],",
     "        ingress=words[0],"),
    ("IPv6 backends stand behind IPv4 addresses", "src/cloche/compiler/services.py",
     "if is_ipv4(b.address) == is_ipv4(address)}", "}"),
)  # fmt: skip
ADOPTED = (
    ("a link whose endpoint is gone stays", "src/cloche/compiler/endpoints.py", "    if held.first:\n", "    if False:\n"),
    ("a generation that never was active comes again", "src/cloche/compiler/compile.py",
     "max(generation, self._held.tables.generation)", "self._held.tables.generation"),
)  # fmt: skip
MUTANTS = tuple(Mutant(*row, COMPILER) for rows in (RANGES, SELECTED, DECIDED, ADOPTED) for row in rows)

"""Wrong oracles: what the evaluator and the reference tracker could get wrong."""

from __future__ import annotations

from mutant import Mutant

EVALUATE = (
    "tests/unit/test_evaluate.py",
    "tests/unit/test_scenarios.py",
    "tests/unit/test_compiler_oracle.py",
    "tests/unit/test_independent_oracle.py",
)
TRACKER = (
    "tests/unit/test_tracker_entrance.py",
    "tests/unit/test_tracker_flows.py",
    "tests/unit/test_tracker_services.py",
    "tests/fuzz/test_packets.py",
)
JUDGED = (
    ("endPort is not inclusive", "src/cloche/model/evaluate.py", "port.first <= packet.destination_port <= port.last",
     "port.first <= packet.destination_port < max(port.last, port.first + 1)"),
    ("directions are swapped", "src/cloche/model/evaluate.py", "if direction is Direction.EGRESS:\n        return Question",
     "if direction is Direction.INGRESS:\n        return Question"),
    ("except is forgotten", "src/cloche/model/policy.py", "not any(", "True or any("),
    ("namespaceSelector is ignored", "src/cloche/model/evaluate.py", "return peer.namespaces.matches(labels)", "return True"),
    ("podSelector beside namespaceSelector is ignored", "src/cloche/model/evaluate.py",
     "selects_namespace(state, peer, endpoint) and peer.pods.matches(dict(endpoint.labels))",
     "selects_namespace(state, peer, endpoint) and (peer.namespaces is not None or peer.pods.matches(dict(endpoint.labels)))"),
    ("a rule without ports means none", "src/cloche/model/evaluate.py", "ports = rule.ports is None or any(",
     "ports = rule.ports is not None and any("),
    ("an empty from means nobody", "src/cloche/model/evaluate.py", "peers = rule.peers is None or any(",
     "peers = rule.peers is not None and any("),
    ("NotIn asks for the key", "src/cloche/model/labels.py",
     "return self.key not in labels or labels[self.key] not in self.values",
     "return self.key in labels and labels[self.key] not in self.values"),
    ("selectors need one label of several", "src/cloche/model/labels.py", "return all(requirement.matches",
     "return not self.requirements or any(requirement.matches"),
    ("the baseline is judged for isolated endpoints too", "src/cloche/model/evaluate.py",
     "return Answer(Verdict.DENY, RuleName(isolating[0].key, asked.direction, ISOLATION))", "return Answer(Verdict.NEXT)"),
    ("one's own host is a stranger", "src/cloche/model/evaluate.py", "return own in asked.peer.hosts", "return False"),
    ("ports match whatever the protocol", "src/cloche/model/evaluate.py",
     "if port.protocol != packet.protocol:\n        return False", "if port.protocol == 0:\n        return False"),
)  # fmt: skip
TRACKED = (
    ("class E begins one later", "src/cloche/model/tracker/checks.py", "240.0.0.0/4", "248.0.0.0/5"),
    ("an endpoint may speak as another", "src/cloche/model/tracker/checks.py",
     "if place.kind is not PlaceKind.ENDPOINT or place.endpoint != sender.endpoint:", "if place.kind is not PlaceKind.ENDPOINT:"),
    ("age is ignored", "src/cloche/model/tracker/entries.py",
     "return flow if flow is not None and now_ns - flow.seen_ns < AGES_NS[flow.age] else None", "return flow"),
    ("a reply is not matched", "src/cloche/model/tracker/entries.py",
     "low, high = sorted((one, other), key=lambda side: (side.address, side.port))", "low, high = one, other"),
    ("a closing flow is kept alive", "src/cloche/model/tracker/flows.py",
     "seen = flow.seen_ns if flow.age is Age.TCP_CLOSING else now_ns", "seen = now_ns"),
    ("a reset opens a flow", "src/cloche/model/tracker/flows.py",
     "if decision.verdict is Verdict.DENY or packet.tcp_flags & TcpFlag.RST:", "if decision.verdict is Verdict.DENY:"),
    ("a cut flow stays open", "src/cloche/model/tracker/flows.py", "if flow.generation == world.generation:",
     "if flow.generation <= world.generation:"),
    ("overlapping parts pass", "src/cloche/model/tracker/fragments.py", "if entry.seen & bits(part):", "if not entry.seen:"),
    ("an error about anybody's packet passes", "src/cloche/model/tracker/errors.py",
     "if quoted.source != packet.destination:\n        return unrelated", ""),
    ("affinity is for all services", "src/cloche/model/tracker/services.py",
     "last if last in view.backends else world.choose(packet, view)", "last or world.choose(packet, view)"),
)  # fmt: skip
MUTANTS = (
    *(Mutant(*row, EVALUATE) for row in JUDGED),
    *(Mutant(*row, TRACKER) for row in TRACKED),
)

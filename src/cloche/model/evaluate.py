"""The oracle: what policy says of one packet, slowly and obviously, straight from the API's text.

Quotations are from the Kubernetes API reference, ``networking.k8s.io/v1`` NetworkPolicy. What it
leaves open (addresses of no known endpoint, a pod's own host, tiers) follows docs/design/packets.md.
Nothing here is indexed or cached; other parts are held to its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloche.model.address import Address
from cloche.model.flow import Decision, Entry, Packet, RuleName, Verdict
from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL
from cloche.model.policy import Action, BlockPeer, Direction, Peer, PodPeer, Policy, PortMatch, Rule, Tier
from cloche.model.reasons import Reason
from cloche.model.state import State
from cloche.model.topology import ICMP, ICMPV6, Endpoint

ISOLATION = -1
"""The index in a ``RuleName`` that stands for a policy's isolation itself."""


class Party(NamedTuple):
    """One end of a packet: its endpoint, or None; the hosts whose own address it is; ``unknown`` when
    it lies in a range of endpoints but is nobody's that we know."""

    address: Address
    endpoint: Endpoint | None = None
    hosts: tuple[str, ...] = ()
    unknown: bool = False


class Question(NamedTuple):
    """One direction of a packet, seen from its subject."""

    direction: Direction
    subject: Party
    peer: Party
    packet: Packet

    @property
    def destination(self) -> Party:
        """The end that receives, whose named ports count."""
        return self.peer if self.direction is Direction.EGRESS else self.subject


class Answer(NamedTuple):
    """A direction's verdict and what decided it: None when nothing did."""

    verdict: Verdict
    rule: RuleName | None = None


def evaluate(state: State, packet: Packet) -> Decision:
    """What policy says of a packet as it is after service translation. No flows, no forwarding.

    "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the
    source pod and the ingress policy on the destination pod need to allow the connection."
    """
    egress = judge(state, question(state, packet, Direction.EGRESS))
    ingress = judge(state, question(state, packet, Direction.INGRESS))
    return decide(packet, egress, ingress)


def decide(packet: Packet, egress: Answer, ingress: Answer) -> Decision:
    """The two directions together: egress first, the first deny decides."""
    deciding = None
    reason = Reason.NONE
    if egress.verdict is Verdict.DENY:
        deciding, isolated = Direction.EGRESS, _is_isolation(egress)
        reason = Reason.EGRESS_NOT_ALLOWED if isolated else Reason.EGRESS_DENIED
    elif ingress.verdict is Verdict.DENY:
        deciding, isolated = Direction.INGRESS, _is_isolation(ingress)
        reason = Reason.INGRESS_NOT_ALLOWED if isolated else Reason.INGRESS_DENIED
    return Decision(
        verdict=Verdict.ALLOW if deciding is None else Verdict.DENY,
        reason=reason,
        deciding=deciding,
        source=packet.source,
        destination=packet.destination,
        source_port=packet.source_port,
        destination_port=packet.destination_port,
        egress_rule=egress.rule,
        ingress_rule=ingress.rule,
    )


def _is_isolation(answer: Answer) -> bool:
    return answer.rule is not None and answer.rule.index == ISOLATION


def question(state: State, packet: Packet, direction: Direction) -> Question:
    """The question that one direction of a packet asks."""
    source = party(state, packet.network, packet.source)
    if packet.entry is not Entry.HOST:
        source = source._replace(hosts=())  # what the host only forwards is not the host's
    destination = party(state, packet.network, packet.destination)
    if direction is Direction.EGRESS:
        return Question(direction, source, destination, packet)
    return Question(direction, destination, source, packet)


def party(state: State, network: int, address: Address) -> Party:
    """Whose address it is. Endpoints on the host's network are their host, never endpoints here."""
    hosts = tuple(host.name for host in state.hosts.values() if address in host.addresses)
    owners = [e for e in state.endpoints.values() if e.network == network and address in e.addresses]
    owner = min((e for e in owners if not e.host_network), key=lambda e: e.key, default=None)
    home = state.networks.get(str(network))
    in_range = home is not None and any(block.contains(address) for block in home.ranges)
    return Party(address, owner, hosts, unknown=in_range and not owners and not hosts)


def judge(state: State, asked: Question) -> Answer:
    """One direction: admin tier, then default (isolation), then baseline, then allow."""
    if asked.subject.endpoint is None:
        return Answer(Verdict.ALLOW)
    answer = ordered_tier(state, asked, Tier.ADMIN)
    if answer.verdict is not Verdict.NEXT:
        return answer
    # ingress: "Traffic is allowed to a pod [...] if the traffic source is the pod's local node".
    if is_own_host(state, asked):
        return Answer(Verdict.ALLOW)
    answer = default_tier(state, asked)
    if answer.verdict is not Verdict.NEXT:
        return answer
    answer = ordered_tier(state, asked, Tier.BASELINE)
    return Answer(Verdict.ALLOW) if answer.verdict is Verdict.NEXT else answer


def is_own_host(state: State, asked: Question) -> bool:
    """True between an endpoint and the addresses of the host it is on (or of the only host)."""
    endpoint = asked.subject.endpoint
    if endpoint is None:
        return False
    own = endpoint.host or (next(iter(state.hosts)) if len(state.hosts) == 1 else None)
    return own in asked.peer.hosts


def ordered_tier(state: State, asked: Question, tier: Tier) -> Answer:
    """Admin or baseline: the first rule that matches decides, by (priority, namespace, name, index)."""
    for policy in applying(state, asked, tier):
        for rule in policy.rules(asked.direction) or ():
            if not rule_matches(state, asked, rule):
                continue
            name = RuleName(policy.key, asked.direction, rule.index)
            if rule.action is Action.ALLOW:
                return Answer(Verdict.ALLOW, name)
            if rule.action is Action.DENY or not rule_certain(state, asked, rule):
                return Answer(Verdict.DENY, name)
            return Answer(Verdict.NEXT)
    return Answer(Verdict.NEXT)


def default_tier(state: State, asked: Question) -> Answer:
    """NetworkPolicy: "If any policy or policies apply to a given pod for a given direction, the connections
    allowed in that direction from that pod is the union of what the applicable policies allow."

    An isolating policy without rules "does not allow any traffic (and serves solely to ensure that the pods
    it selects are isolated by default)".
    """
    isolating = list(applying(state, asked, Tier.DEFAULT))
    if not isolating:
        return Answer(Verdict.NEXT)
    for policy in isolating:
        for rule in policy.rules(asked.direction) or ():
            if rule.action is Action.ALLOW and rule_matches(state, asked, rule):
                return Answer(Verdict.ALLOW, RuleName(policy.key, asked.direction, rule.index))
    return Answer(Verdict.DENY, RuleName(isolating[0].key, asked.direction, ISOLATION))


def applying(state: State, asked: Question, tier: Tier) -> Iterator[Policy]:
    """The tier's policies that select the subject and speak of this direction, in their order.

    podSelector: "selects the pods to which this NetworkPolicy object applies". policyTypes: a policy that
    does not name a direction says nothing about it.
    """
    endpoint = asked.subject.endpoint
    assert endpoint is not None
    for policy in sorted(state.policies.values(), key=order):
        speaks = policy.tier is tier and policy.rules(asked.direction) is not None
        if speaks and selects(state, policy.subject, endpoint):
            yield policy


def order(policy: Policy) -> tuple[int, str, str, str]:
    """Where a policy stands in its tier; the default tier knows no priority."""
    priority = 0 if policy.tier is Tier.DEFAULT else policy.priority
    return priority, policy.namespace, policy.name, policy.kind


def rule_matches(state: State, asked: Question, rule: Rule) -> bool:
    """True when a peer and a port match.

    from/to: "If this field is empty or missing, this rule matches all sources" (None here). ports: "If this
    field is present and contains at least one item, then this rule allows traffic only if the traffic
    matches at least one port in the list", so other protocols are not matched.
    """
    peers = rule.peers is None or any(peer_matches(state, asked, rule.action, p) for p in rule.peers)
    ports = rule.ports is None or any(port_matches(asked, port) for port in rule.ports)
    return peers and ports


def rule_certain(state: State, asked: Question, rule: Rule) -> bool:
    """False when a rule matches only because an unknown endpoint might be one that it selects."""
    blocks = [p for p in rule.peers or () if isinstance(p, BlockPeer)]
    return not asked.peer.unknown or rule.peers is None or any(b.contains(asked.peer.address) for b in blocks)


def peer_matches(state: State, asked: Question, action: Action, peer: Peer) -> bool:
    """True when the peer is, or must be taken to be, the other side.

    ipBlock: "except is a slice of CIDRs that should not be included within an IPBlock"; endpoints have
    addresses like anyone. A selector matches an unknown endpoint, when it allows, only if every endpoint
    would match; when it denies or passes, always.
    """
    if isinstance(peer, BlockPeer):
        return peer.contains(asked.peer.address)
    if asked.peer.unknown:
        return action is not Action.ALLOW or (peer.pods == EVERYTHING and peer.namespaces == EVERYTHING)
    return asked.peer.endpoint is not None and selects(state, peer, asked.peer.endpoint)


def selects(state: State, peer: PodPeer, endpoint: Endpoint) -> bool:
    """True when the selector is the endpoint's.

    "If namespaceSelector is also set, then the NetworkPolicyPeer as a whole selects the pods matching
    podSelector in the namespaces selected by namespaceSelector. Otherwise it selects the pods matching
    podSelector in the policy's own namespace."
    """
    return selects_namespace(state, peer, endpoint) and peer.pods.matches(dict(endpoint.labels))


def selects_namespace(state: State, peer: PodPeer, endpoint: Endpoint) -> bool:
    """True when the endpoint's namespace is one that the peer speaks of."""
    if peer.namespaces is None:
        return endpoint.namespace == peer.namespace
    namespace = state.namespaces.get(endpoint.namespace)
    labels = dict(namespace.labels) if namespace else {NAMESPACE_NAME_LABEL: endpoint.namespace}
    return peer.namespaces.matches(labels)


def port_matches(asked: Question, port: PortMatch) -> bool:
    """True when protocol and destination port are the port's.

    port: "can either be a numerical or named port on a pod". endPort: "the range of ports from port to
    endPort if set, inclusive". A name is what the destination endpoint declares under it; an address that
    is no endpoint's declares nothing.
    """
    packet = asked.packet
    if port.protocol != packet.protocol:
        return False
    if port.name:
        declared = asked.destination.endpoint.ports if asked.destination.endpoint else ()
        return any(
            (d.name, d.protocol, d.port) == (port.name, packet.protocol, packet.destination_port)
            for d in declared
        )
    if packet.protocol in (ICMP, ICMPV6):
        return packet.is_icmp and port.first <= packet.icmp <= port.last
    return port.first <= packet.destination_port <= port.last

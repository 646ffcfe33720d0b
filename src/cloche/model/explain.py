"""Why the oracle decides as it does: who isolates, which rule decides, which came nearest to allowing."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from cloche.model.evaluate import (
    ISOLATION,
    Answer,
    Question,
    applying,
    decide,
    is_own_host,
    judge,
    peer_matches,
    port_matches,
    question,
    selects_namespace,
)
from cloche.model.flow import Decision, Packet, RuleName, Verdict
from cloche.model.policy import Action, BlockPeer, Direction, Peer, Policy, PortMatch, Rule, Tier
from cloche.model.state import State
from cloche.model.topology import NOWHERE, Origin


class Miss(StrEnum):
    """A field of a rule that kept it from matching."""

    PODS = "podSelector"
    NAMESPACES = "namespaceSelector"
    CIDR = "cidr"
    EXCEPT = "except"
    PORT = "port"
    PROTOCOL = "protocol"
    PEERS = "no peers"
    PORTS = "no ports"


class Isolation(msgspec.Struct, frozen=True):
    """A policy that isolates the subject: its key and where it is written."""

    policy: str
    origin: Origin


class Nearest(msgspec.Struct, frozen=True):
    """The allowing rule that fewest fields kept from matching, and which fields."""

    rule: RuleName
    origin: Origin
    misses: tuple[Miss, ...]


class Why(msgspec.Struct, frozen=True):
    """One direction. ``subject`` is the endpoint judged, empty when nobody's policy counts there.

    ``rule`` is what decided (index -1: the isolation itself) and ``origin`` where that is written.
    ``own_host``: the other side is the subject's own host, which only admin rules cut.
    """

    direction: Direction
    verdict: Verdict
    subject: str = ""
    isolated_by: tuple[Isolation, ...] = ()
    rule: RuleName | None = None
    origin: Origin = NOWHERE
    nearest: Nearest | None = None
    own_host: bool = False
    unknown_peer: bool = False


class Explanation(msgspec.Struct, frozen=True):
    """A packet's decision and why, for both directions."""

    decision: Decision
    egress: Why
    ingress: Why


def explain(state: State, packet: Packet) -> Explanation:
    """Why ``evaluate`` says what it says of a packet."""
    egress = question(state, packet, Direction.EGRESS)
    ingress = question(state, packet, Direction.INGRESS)
    out, into = judge(state, egress), judge(state, ingress)
    return Explanation(decide(packet, out, into), _why(state, egress, out), _why(state, ingress, into))


def _why(state: State, asked: Question, answer: Answer) -> Why:
    subject = asked.subject.endpoint
    if subject is None:
        return Why(asked.direction, answer.verdict)
    isolating = tuple(applying(state, asked, Tier.DEFAULT))
    return Why(
        asked.direction,
        answer.verdict,
        subject.key,
        tuple(Isolation(policy.key, policy.origin) for policy in isolating),
        answer.rule,
        origin_of(state, answer.rule),
        _nearest(state, asked, answer.rule) if answer.verdict is Verdict.DENY else None,
        is_own_host(state, asked),
        asked.peer.unknown,
    )


def origin_of(state: State, name: RuleName | None) -> Origin:
    """Where a rule is written, or the policy when it is the isolation itself."""
    policy = state.policies.get(name.policy) if name else None
    if name is None or policy is None:
        return NOWHERE
    if name.index == ISOLATION:
        return policy.origin
    rules = (rule for rule in policy.rules(name.direction) or () if rule.index == name.index)
    return next((rule.origin for rule in rules), policy.origin)


def _nearest(state: State, asked: Question, denying: RuleName | None) -> Nearest | None:
    """Among the allowing rules of the tier that denied: fewest misses, then the first in order."""
    policy = state.policies.get(denying.policy) if denying else None
    if policy is None:
        return None
    best: Nearest | None = None
    for candidate, rule in _allowing(applying(state, asked, policy.tier), asked.direction):
        misses = _misses(state, asked, rule)
        if misses and (best is None or len(misses) < len(best.misses)):
            best = Nearest(RuleName(candidate.key, asked.direction, rule.index), rule.origin, misses)
    return best


def _allowing(policies: Iterable[Policy], direction: Direction) -> Iterable[tuple[Policy, Rule]]:
    for policy in policies:
        for rule in policy.rules(direction) or ():
            if rule.action is Action.ALLOW:
                yield policy, rule


def _misses(state: State, asked: Question, rule: Rule) -> tuple[Miss, ...]:
    """What keeps a rule from matching, by its nearest peer and its nearest port."""
    peers: tuple[Miss, ...] = ()
    if rule.peers is not None:
        each = [_peer_misses(state, asked, peer) for peer in rule.peers]
        peers = min(each, key=len, default=(Miss.PEERS,))
    ports: tuple[Miss, ...] = ()
    if rule.ports is not None:
        ports = min((_port_misses(asked, port) for port in rule.ports), key=len, default=(Miss.PORTS,))
    return peers + ports


def _peer_misses(state: State, asked: Question, peer: Peer) -> tuple[Miss, ...]:
    if peer_matches(state, asked, Action.ALLOW, peer):
        return ()
    if isinstance(peer, BlockPeer):
        inside = peer.block.contains(asked.peer.address)
        return (Miss.EXCEPT,) if inside else (Miss.CIDR,)
    other = asked.peer.endpoint
    if other is None:  # no endpoint that we know: nothing a selector could say
        return (Miss.PODS, Miss.NAMESPACES)
    misses = []
    if not selects_namespace(state, peer, other):
        misses.append(Miss.NAMESPACES)
    if not peer.pods.matches(dict(other.labels)):
        misses.append(Miss.PODS)
    return tuple(misses)


def _port_misses(asked: Question, port: PortMatch) -> tuple[Miss, ...]:
    if port_matches(asked, port):
        return ()
    packet = asked.packet
    same = port.protocol == packet.protocol
    as_its_own = msgspec.structs.replace(packet, protocol=port.protocol)
    fits = port_matches(asked._replace(packet=as_its_own), port)
    return (*(() if same else (Miss.PROTOCOL,)), *(() if fits else (Miss.PORT,)))

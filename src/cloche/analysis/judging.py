"""The oracle over many pairs: each distinct question is asked once.

A direction's answer depends on the policies that select the subject, on which of their peers the other
side is, on named ports and hosts, and on the port; so answers are kept by those.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from cloche.model.address import ALL_IPV4, ALL_IPV6, Address, Block
from cloche.model.evaluate import Answer, Party, Question, judge, party, selects
from cloche.model.flow import Entry, Packet, Verdict
from cloche.model.policy import BlockPeer, Direction, Peer, Policy, Rule
from cloche.model.state import Put, State
from cloche.model.topology import NamedPort


class Member(NamedTuple):
    """One address as the oracle sees it: a bit for each peer that it is, and the port names that count."""

    party: Party
    network: int
    peers: int
    names: tuple[NamedPort, ...]
    entry: Entry

    @property
    def as_source(self) -> Party:
        """The party when it sends: only what comes from the host itself is the host's."""
        return self.party if self.entry is Entry.HOST else self.party._replace(hosts=())


class Subject(NamedTuple):
    """The policies that select an endpoint in one direction, and which peers they speak of."""

    number: int
    state: State
    peers: int
    named: bool


NOBODY = Answer(Verdict.ALLOW)


class Judge:
    """Answers questions about one state, which must not change meanwhile."""

    def __init__(self, state: State, assumed: Collection[str] = ()) -> None:
        """``assumed``: the keys of endpoints whose addresses were given out here and may be others."""
        self._state, self.assumed = state, frozenset(assumed)
        self._peers = {peer: n for n, peer in enumerate(_peers_of(state))}
        self._names = {
            port.name
            for policy in state.policies.values()
            for direction in Direction
            for rule in policy.rules(direction) or ()
            for port in rule.ports or ()
            if port.name
        }
        self._members: dict[tuple[int, Address], Member] = {}
        self._subjects: dict[tuple[str, Direction], Subject] = {}
        self._sets: dict[tuple[Direction, tuple[str, ...]], Subject] = {}
        self._answers: dict[tuple[object, ...], Answer] = {}
        self._hanging: dict[tuple[object, ...], bool] = {}
        self._partial = sum(1 << n for peer, n in self._peers.items() if self._in_doubt(peer))

    def _in_doubt(self, peer: Peer) -> bool:
        """True for a block that holds some addresses of a network's ranges, and others not."""
        if not isinstance(peer, BlockPeer):
            return False
        ranges = [block for network in self._state.networks.values() for block in network.ranges]
        return any(_splits(peer, block) for block in ranges)

    def member(self, network: int, address: Address) -> Member:
        """Whose address it is, and which peers it is."""
        known = self._members.get((network, address))
        if known is None:
            known = self._members[network, address] = self._member(network, address)
        return known

    def _member(self, network: int, address: Address) -> Member:
        who = party(self._state, network, address)
        endpoint = who.endpoint
        peers = 0
        for peer, number in self._peers.items():
            if isinstance(peer, BlockPeer):
                hit = peer.contains(address)
            else:
                hit = endpoint is not None and selects(self._state, peer, endpoint)
            peers |= hit << number
        names = tuple(p for p in endpoint.ports if p.name in self._names) if endpoint else ()
        entry = Entry.ENDPOINT if endpoint else Entry.HOST if who.hosts else Entry.STACK
        return Member(who, network, peers, names, entry)

    def answer(self, direction: Direction, source: Member, destination: Member, packet: Packet) -> Answer:
        """One direction of a packet between two members; the packet's port and protocol count."""
        out = direction is Direction.EGRESS
        subject, peer = (source, destination) if out else (destination, source)
        endpoint = subject.party.endpoint
        if endpoint is None:
            return NOBODY
        rules = self._subject(subject, direction)
        other = peer.party if out else peer.as_source
        names = destination.names if rules.named else ()
        port = (packet.protocol, packet.destination_port, packet.icmp, packet.is_icmp)
        key = (
            rules.number,
            peer.peers & rules.peers,
            names,
            other.hosts and (other.hosts, endpoint.host),
            (other.endpoint is None, other.unknown),
            port,
        )
        known = self._answers.get(key)
        if known is None:
            asked = Question(direction, subject.party, other, packet)
            known = self._answers[key] = judge(rules.state, asked)
        return known

    def hangs(self, direction: Direction, source: Member, destination: Member, packet: Packet) -> bool:
        """True when the other side is an endpoint whose address was given out here, and another address
        of the network's ranges might make the answer another one."""
        out = direction is Direction.EGRESS
        subject, peer = (source, destination) if out else (destination, source)
        other = peer.party.endpoint
        if subject.party.endpoint is None or other is None or other.key not in self.assumed:
            return False
        rules = self._subject(subject, direction)
        if not rules.peers & self._partial:
            return False
        key = (rules.number, peer.peers & rules.peers & ~self._partial, destination.names)
        asked = (*key, packet.protocol, packet.destination_port, packet.icmp, packet.is_icmp)
        if asked not in self._hanging:
            question = Question(direction, subject.party, peer.as_source if not out else peer.party, packet)
            verdicts = {judge(self._moved(rules, inside), question).verdict for inside in (False, True)}
            self._hanging[asked] = len(verdicts) > 1
        return self._hanging[asked]

    def _moved(self, rules: Subject, inside: bool) -> State:
        """The subject's policies as they are for an address in all, or none, of the blocks in doubt."""

        def moved(peer: Peer) -> tuple[Peer, ...]:
            if not self._partial >> self._peers[peer] & 1:
                return (peer,)
            return (BlockPeer(ALL_IPV4), BlockPeer(ALL_IPV6)) if inside else ()

        def each(found: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
            if found is None:
                return None
            return tuple(
                msgspec.structs.replace(
                    rule, peers=None if rule.peers is None else tuple(q for p in rule.peers for q in moved(p))
                )
                for rule in found
            )

        state = State(
            Put(msgspec.structs.replace(policy, egress=each(policy.egress), ingress=each(policy.ingress)))
            for policy in rules.state.policies.values()
        )
        state.namespaces, state.hosts = self._state.namespaces, self._state.hosts
        return state

    def _subject(self, subject: Member, direction: Direction) -> Subject:
        endpoint = subject.party.endpoint
        assert endpoint is not None
        found = self._subjects.get((endpoint.key, direction))
        if found is not None:
            return found
        applying = tuple(
            policy
            for policy in self._state.policies.values()
            if policy.rules(direction) is not None and selects(self._state, policy.subject, endpoint)
        )
        key = (direction, tuple(sorted(policy.key for policy in applying)))
        if key not in self._sets:
            self._sets[key] = self._set(direction, applying)
        self._subjects[endpoint.key, direction] = self._sets[key]
        return self._sets[key]

    def _set(self, direction: Direction, policies: tuple[Policy, ...]) -> Subject:
        """A state with these policies alone: the others say nothing about this subject."""
        alone = State(Put(policy) for policy in policies)
        alone.namespaces, alone.hosts = self._state.namespaces, self._state.hosts
        peers = 0
        named = False
        for policy in policies:
            for rule in policy.rules(direction) or ():
                for peer in rule.peers or ():
                    peers |= 1 << self._peers[peer]
                named = named or any(port.name for port in rule.ports or ())
        return Subject(len(self._sets), alone, peers, named)


def _splits(peer: BlockPeer, block: Block) -> bool:
    if not (peer.block.covers(block) or block.covers(peer.block)):
        return False
    if any(taken.covers(block) or taken.covers(peer.block) for taken in peer.excepts):
        return False
    return not peer.block.covers(block) or any(block.covers(taken) for taken in peer.excepts)


def _peers_of(state: State) -> list[Peer]:
    """The distinct peers of all rules."""
    return list(
        dict.fromkeys(
            peer
            for policy in state.policies.values()
            for direction in Direction
            for rule in policy.rules(direction) or ()
            for peer in rule.peers or ()
        )
    )

"""What is likely a mistake in a policy that is valid: selectors and port names that match nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from cloche.errors import Finding, Severity
from cloche.model.labels import EVERYTHING, NAMESPACE_NAME_LABEL, Selector
from cloche.model.policy import Direction, Peer, PodPeer, Policy, Rule
from cloche.model.topology import NOWHERE, PROTOCOL_NAMES, TCP, UDP, NamedPort, Namespace, Origin
from cloche.orchestrators.sandbox.fields import nearest_of
from cloche.orchestrators.sandbox.pods import Pod, PodIndex

_DNS_PORTS = (NamedPort("dns", UDP, 53), NamedPort("dns-tcp", TCP, 53))
_DNS = Pod("kube-system", "kube-dns", (("k8s-app", "kube-dns"),), _DNS_PORTS, NOWHERE)
"""Every world has it, also when no manifest names it, so policies that select it are no mistake."""
_KUBE_SYSTEM = Namespace("kube-system", ((NAMESPACE_NAME_LABEL, "kube-system"),))

MAX_COMPARISONS = 20_000
"""How many words are compared to find what may be meant, in one input."""


class Adviser:
    """What is known about a world's pods, asked policy by policy; answers are remembered by selector."""

    def __init__(self, pods: Sequence[Pod], namespaces: Sequence[Namespace]) -> None:
        self._pods, self._spaces = pods, namespaces
        everyone = [*pods, _DNS]
        self._namespaces = {found.name: dict(found.labels) for found in (*namespaces, _KUBE_SYSTEM)}
        self._index = PodIndex(pod for pod in everyone if not pod.host_network)
        self._known_labels = PodIndex(pod for pod in pods if not pod.host_network).values
        self._host_pods = PodIndex(pod for pod in pods if pod.host_network)
        self._by_port: dict[tuple[str, int], list[Pod]] = defaultdict(list)
        for pod in everyone:
            for port in pod.ports:
                if port.name and not pod.host_network:
                    self._by_port[port.name, port.protocol].append(pod)
        self._findings: list[Finding] = []
        self._comparisons = MAX_COMPARISONS
        self._chosen: dict[Selector, frozenset[str]] = {}
        self._some: dict[PodPeer, bool] = {}
        self._ports: dict[tuple[PodPeer | None, str, int], bool] = {}

    def knows(self, pods: Sequence[Pod], namespaces: Sequence[Namespace]) -> bool:
        """True when these are all there are."""
        return pods == self._pods and namespaces == self._spaces

    def advise(self, policies: Sequence[Policy], findings: list[Finding]) -> list[Policy]:
        """Add warnings and notes about the policies to ``findings``; those it has any about."""
        self._findings, self._comparisons = findings, MAX_COMPARISONS
        for memory in (self._chosen, self._some, self._ports):
            memory.clear()
        loud = []
        for policy in policies:
            before = len(findings)
            self.policy(policy)
            if len(findings) > before:
                loud.append(policy)
        return loud

    def policy(self, policy: Policy) -> None:
        """Look at one policy."""
        self._selection(policy.subject, policy.origin, "spec.podSelector", "no pod has its labels")
        self._host_network(policy.subject, policy.origin, "spec.podSelector", "is not isolated by it")
        for direction, side in ((Direction.INGRESS, "from"), (Direction.EGRESS, "to")):
            for rule in policy.rules(direction) or ():
                path = f"spec.{direction.name.lower()}[{rule.index}]"
                for number, peer in enumerate(rule.peers or ()):
                    if isinstance(peer, PodPeer):
                        place = f"{path}.{side}[{number}]"
                        self._selection(peer, rule.origin, place, "the peer matches nothing")
                        self._host_network(peer, rule.origin, place, "is not matched by it")
                self._named_ports(policy, rule, direction, path)

    def _selection(self, peer: PodPeer, origin: Origin, path: str, what: str) -> None:
        if self._any(peer, self._index, self._some):
            return
        if peer.namespaces is not None and not self._names(peer):
            message, hint = "no namespace has these labels", self._near_namespace(peer.namespaces)
        else:
            message, hint = what, self._near_pod(peer.pods)
        # A slip in whom to protect leaves somebody open; a peer that is not there opens nothing.
        slip = bool(hint) and path == "spec.podSelector"
        self._say(origin, path, message, hint, Severity.WARNING if slip else Severity.NOTE)

    def _host_network(self, peer: PodPeer, origin: Origin, path: str, what: str) -> None:
        if not self._host_pods.namespaces:
            return
        pod = next(self._matching(peer, self._host_pods), None)
        if pod is not None:
            message = f"pod {pod.key} is on the host network: it is its host, and {what}"
            mild = path != "spec.podSelector" and peer.pods == EVERYTHING
            self._say(origin, path, message, "", Severity.NOTE if mild else Severity.WARNING)

    def _named_ports(self, policy: Policy, rule: Rule, direction: Direction, path: str) -> None:
        """A port's name is resolved by the pod that receives: the subject, or an egress rule's peer."""
        for number, port in enumerate(rule.ports or ()):
            if not port.name:
                continue
            if direction is Direction.INGRESS:
                receivers: Iterable[Peer] | None = (policy.subject,)
                who = "selected pod"
            else:
                receivers, who = rule.peers, "pod of these peers"
            if not self._has_port(receivers, port.name, port.protocol):
                shown = f"{port.name}/{PROTOCOL_NAMES[port.protocol]}"
                near = self._nearest(port.name, {name for name, _ in self._by_port})
                hint = f"did you mean {near!r}?" if near and near != port.name else ""
                place = f"{path}.ports[{number}].port"
                self._say(rule.origin, place, f"no {who} has a port named {shown}", hint, Severity.WARNING)

    def _has_port(self, receivers: Iterable[Peer] | None, name: str, protocol: int) -> bool:
        pods = self._by_port.get((name, protocol), [])
        if receivers is None:
            return bool(pods)
        for peer in receivers:
            if not isinstance(peer, PodPeer):
                if any(peer.contains(address) for pod in pods for address in pod.addresses):
                    return True
                continue
            known = self._ports.get((peer, name, protocol))
            if known is None:
                names = self._names(peer)
                known = any(p.namespace in names and peer.pods.matches(dict(p.labels)) for p in pods)
                self._ports[peer, name, protocol] = known
            if known:
                return True
        return False

    def _any(self, peer: PodPeer, index: PodIndex, memory: dict[PodPeer, bool]) -> bool:
        known = memory.get(peer)
        if known is None:
            known = memory[peer] = next(self._matching(peer, index), None) is not None
        return known

    def _matching(self, peer: PodPeer, index: PodIndex) -> Iterator[Pod]:
        for name in self._names(peer):
            yield from index.select(name, peer.pods)

    def _names(self, peer: PodPeer) -> frozenset[str]:
        """The namespaces that a peer looks in."""
        if peer.namespaces is None:
            return frozenset((peer.namespace,))
        known = self._chosen.get(peer.namespaces)
        if known is None:
            matches = peer.namespaces.matches
            known = frozenset(name for name, labels in self._namespaces.items() if matches(labels))
            self._chosen[peer.namespaces] = known
        return known

    def _near_pod(self, selector: Selector) -> str:
        if any(requirement.key in dict(_DNS.labels) for requirement in selector.requirements):
            return ""
        return self._near(selector, self._known_labels)

    def _near_namespace(self, selector: Selector) -> str:
        values: dict[str, set[str]] = defaultdict(set)
        for labels in self._namespaces.values():
            for key, value in labels.items():
                values[key].add(value)
        return self._near(selector, values)

    def _near(self, selector: Selector, values: dict[str, set[str]]) -> str:
        """A hint at a label that exists and is written much like one that the selector asks for."""
        for requirement in selector.requirements:
            existing = values.get(requirement.key, set())
            if requirement.operator != "In" or set(requirement.values) & existing:
                continue
            if requirement.key not in values:
                near = self._nearest(requirement.key, values.keys())
                return f"did you mean {near}?" if near else ""
            for value in requirement.values:
                near = self._nearest(value, existing)
                if near:
                    return f"did you mean {requirement.key}: {near}?"
        return ""

    def _nearest(self, word: str, known: Collection[str]) -> str | None:
        """The word most like this one, while the comparisons that one input may cost last."""
        self._comparisons -= len(known)
        return nearest_of(word, known) if self._comparisons > 0 else None

    def _say(self, origin: Origin, path: str, message: str, hint: str, severity: Severity) -> None:
        self._findings.append(Finding(origin.file, origin.line, path, message, hint, severity))

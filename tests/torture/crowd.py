"""Very many pods, created and deleted as fast as it goes while policies change.

Half of them are isolated by a policy that comes with them. They send to a pod that hears everybody, from the
moment that their namespaces have a name, and are sent to: nothing may arrive. The other half are allowed, and
each must be heard once it is there, so that silence means something.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from cloche.agent.client import Client
from cloche.datapath.events import read_flows
from cloche.datapath.layout import FlowKey
from cloche.datapath.pins import opened_maps, pin_directory
from e2e.agent_lab import SMALL, Instance, addresses, ingress_from, objects, pod, policy, replace
from torture.census import left_over, settled
from torture.killing import SPLIT
from torture.outcome import Outcome
from torture.running import BASE, differences, ends, flowing, name_of, ways
from torture.wire import Open, Passers, Totals, Way

AT_ONCE = 10
"""Pods in one change."""
LIVING = 3
"""Changes after which they are deleted."""
RESOLVED_SECONDS = 1.5
"""Whoever sends while it is closed asks for its gateway again after a second (neighbours, arp(7))."""
SWEPT_SECONDS = 25.0
"""Twice the time from one sweep of the flow table to the next, and some."""
ANEW_SECONDS = 0.1
ENDPOINTS, QUOTA = 64, 16384
"""Room for all flows of the pods that stay: none of theirs is evicted for another."""
CROWDED = msgspec.structs.replace(
    SMALL,
    endpoints=ENDPOINTS,
    addresses=4096,
    sets=128,
    quota=QUOTA,
    flow_slots=QUOTA * ENDPOINTS,
    flows=131072,
)
WORLD = BASE + pod("sink")
COUNTED = ("addresses", "prefixes", "services", "members", "links")
"""Maps whose entries come and go with pods and policies."""


def shut_address(instance: Instance, number: int) -> str:
    """The address of an isolated pod; later ones get it again."""
    first = str(instance.config.pod_ranges[0]).removesuffix(".0.0/17")
    return f"{first}.{100 + number % 20}.{1 + number // 20 % 100}"


def batch(instance: Instance, number: int) -> str:
    """The pods of one change, and the policy that isolates half of them."""
    shut = "".join(
        pod(
            f"shut-{number}-{n}",
            labels=f"batch: b{number}",
            extra=f"status: {{podIPs: [{{ip: {shut_address(instance, number * AT_ONCE + n)}}}]}}",
        )
        for n in range(AT_ONCE // 2)
    )
    isolating = f"{{podSelector: {{matchLabels: {{batch: b{number}}}}}, policyTypes: [Ingress, Egress]}}"
    return (
        shut
        + "".join(pod(f"open-{number}-{n}") for n in range(AT_ONCE // 2))
        + policy(f"shut-{number}", isolating)
    )


class Crowd:
    """One instance and its crowd of ``count`` pods."""

    def __init__(self, instance: Instance, count: int) -> None:
        self._instance, self.count = instance, count
        self.outcome = Outcome("pods created and deleted")
        self.policy_changes = 0
        self._over = threading.Event()

    def run(self, tick: Callable[[], None]) -> Totals:
        """All come and go; what the traffic came to. ``tick`` is called after each change."""
        with self._instance.start() as client:
            replace(client, WORLD)
            before, entries = settled(self._instance), self._entries(client)
            with flowing(self._asked(client)) as traffic:
                changing = threading.Thread(target=self._change_policies)
                changing.start()
                try:
                    for _ in self._come_and_go(client):
                        tick()
                finally:
                    self._over.set()
                    changing.join()
                replace(client, WORLD)
                totals = traffic.end()
            self._compare(client, before, entries)
        for tally in totals.rounds:
            self.outcome.add(tally)
        if totals.sent_from != [self.count // 2, self.count // 2] or totals.heard != [0, self.count // 2]:
            self.outcome.say(f"sent from {totals.sent_from}, heard {totals.heard} of {self.count} pods")
        return totals

    def _asked(self, client: Client) -> Open:
        name, where = self._instance.config.instance, ends(client)
        sink, source = addresses(client, "sink"), name_of(self._instance, "stranger")
        own = {shut_address(self._instance, number) for number in range(self.count)}
        heard = Way(name_of(self._instance, "friend"), name_of(self._instance, "sink"), sink[0], True)
        heard6 = heard._replace(address=sink[1])
        return Open(
            (*ways(self._instance, where), heard, heard6),
            (
                Passers(f"{name}.default.shut-", source, sink, tuple(sorted(own))),
                Passers(f"{name}.default.open-", source, sink, allowed=True),
            ),
            anew_every=ANEW_SECONDS,
        )

    def _come_and_go(self, client: Client) -> Iterator[int]:
        batches = self.count // AT_ONCE
        for number in range(batches + LIVING):
            if number < batches:
                client.apply(objects(batch(self._instance, number)))
                self.outcome.rounds += AT_ONCE
            elif number == batches:
                time.sleep(RESOLVED_SECONDS)
            if number >= LIVING:
                client.delete(objects(batch(self._instance, number - LIVING)))
            yield number

    def _change_policies(self) -> None:
        """Other policies for the pods that stay, which come to the same."""
        texts = (
            ingress_from("lid", "web", "friend").replace(
                "{from: [{podSelector: {matchLabels: {name: friend}}}]}", SPLIT
            ),
            ingress_from("lid", "web", "friend") + ingress_from("other", "web", "nobody"),
        )
        with Client(self._instance.config) as client:
            while not self._over.is_set():
                client.apply(objects(texts[self.policy_changes % 2]))
                self.policy_changes += 1

    def _entries(self, client: Client) -> dict[str, int]:
        return {shown.map: shown.entries for shown in client.maps() if shown.map in COUNTED}

    def _compare(self, client: Client, before: Counter[str], entries: dict[str, int]) -> None:
        """What is left of them: nothing, in kernel, tables or files."""
        self.outcome.restarts += 1
        found = differences(self._instance, client)
        if found:
            self.outcome.say(f"tables differ from a fresh compile: {found}")
        else:
            self.outcome.same += 1
        left = left_over(self._instance, before)
        left |= {
            name: count - entries[name]
            for name, count in self._entries(client).items()
            if count != entries[name]
        }
        deadline = time.monotonic() + SWEPT_SECONDS
        while (flows := flows_of_the_gone(self._instance, client)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if flows:
            left["flows of pods that are gone"] = flows
        self.outcome.leaked += sum(map(abs, left.values()))
        if left:
            self.outcome.say(f"left over: {left}")


def flows_of_the_gone(instance: Instance, client: Client) -> int:
    """Entries of the flow table that have an end which is no endpoint any more."""
    there = {0, *(shown.incarnation for shown in client.endpoints())}
    maps = opened_maps(pin_directory(instance.config.instance))
    assert maps is not None
    try:
        return sum(1 for key, _ in read_flows(maps.flows) if not ends_of(key) <= there)
    finally:
        maps.close()


def ends_of(key: FlowKey) -> set[int]:
    """The incarnations of a flow's ends, 0 of one that is no endpoint."""
    return {key.low_incarnation, key.high_incarnation}

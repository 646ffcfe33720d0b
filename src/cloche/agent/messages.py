"""What the agent's socket speaks: the requests and replies, shared by its server and its client."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cloche.agent.wanted import Waiting
from cloche.errors import Cost, Finding
from cloche.orchestrators.sandbox import Manifest


class Mode(StrEnum):
    """How manifests that arrive meet those that are there."""

    MERGE = "merge"
    REPLACE = "replace"


class ApplyRequest(msgspec.Struct, frozen=True):
    """POST /v1/apply: put these; with ``REPLACE`` whatever is not among them goes."""

    manifests: tuple[Manifest, ...]
    mode: Mode = Mode.MERGE


class DeleteRequest(msgspec.Struct, frozen=True):
    """POST /v1/delete: these objects go; names that are not there are findings."""

    manifests: tuple[Manifest, ...]


class RollbackRequest(msgspec.Struct, frozen=True):
    """POST /v1/rollback: to the policies of that generation (0: before the last change of policy), or
    ``release`` what is rolled back."""

    generation: int = 0
    release: bool = False


class Applied(msgspec.Struct, frozen=True):
    """What a change came to, once it is active. ``timings_ms`` by stage, ``total`` among them: with replay
    on, the flip is the end of stage ``replay``.

    ``queued``: policies that the request changes and that a roll-back holds back until it is released.
    """

    generation: int
    digest: str
    namespaces: int
    endpoints: int
    policies: int
    services: int
    writes: int
    findings: tuple[Finding, ...]
    timings_ms: dict[str, float]
    queued: tuple[str, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """Why a request was refused (HTTP 4xx, 5xx); nothing was changed. ``costs`` when it was too big, and
    ``note`` says what holds instead."""

    message: str
    findings: tuple[Finding, ...] = ()
    costs: tuple[Cost, ...] = ()
    what: str = ""
    needed: int = 0
    capacity: int = 0
    note: str = ""


class ShownReplay(msgspec.Struct, frozen=True):
    """Replay since the agent started: generations that passed it, packets asked before they were active and
    after, the time of worker and kernel for that in ms. ``budget_ms`` 0: it is off. ``waiting``: more of the
    active generation is to be asked."""

    budget_ms: float = 0.0
    generations: int = 0
    asked_before: int = 0
    asked_after: int = 0
    ms_before: float = 0.0
    ms_after: float = 0.0
    differences: int = 0
    waiting: bool = False


class Status(msgspec.Struct, frozen=True):
    """GET /v1/status. Times in ms or s as named; ``problems`` is what an operator should know.

    ``held``: the generation rolled back to, 0: none; ``waiting``: the policies that its release changes.
    ``repairs``: how often something in the kernel was found altered from outside and put right.
    ``busy``: what takes long just now, empty for nothing; ``done`` of ``total`` steps of it are over.
    """

    instance: str
    version: str
    pid: int
    generation: int
    digest: str
    namespaces: int
    endpoints: int
    policies: int
    services: int
    pod_ranges: tuple[str, ...]
    service_ranges: tuple[str, ...]
    uptime_s: float
    adopted: bool
    loop_longest_block_ms: float
    compile_ms: float
    writes_last: int
    writes_total: int
    events_seen: int
    events_suppressed: int
    flows_expired: int
    worker_starts: int
    responder_pid: int
    problems: tuple[str, ...] = ()
    uplinks: tuple[str, ...] = ()
    held: int = 0
    waiting: tuple[Waiting, ...] = ()
    repairs: int = 0
    busy: str = ""
    done: int = 0
    total: int = 0
    replay: ShownReplay = ShownReplay()


class Show(StrEnum):
    """What GET /v1/show/KIND lists."""

    ENDPOINTS = "endpoints"
    POLICIES = "policies"
    CLASSES = "classes"
    GENERATIONS = "generations"
    SERVICES = "services"
    FLOWS = "flows"
    MAPS = "maps"
    DEVICES = "devices"


class ShownEndpoint(msgspec.Struct, frozen=True):
    """One endpoint; ``state`` is absent, closed, open, or host on the host network; sets are numbers, 0
    for no policy.

    ``problem``: why it is closed, where it is because something does not fit.
    """

    endpoint: str
    addresses: tuple[str, ...]
    state: str
    number: int
    incarnation: int
    link: str
    network_namespace: str
    egress_set: int
    ingress_set: int
    labels: dict[str, str]
    ports: tuple[str, ...]
    workload: str
    system: bool
    problem: str = ""


class ShownPolicy(msgspec.Struct, frozen=True):
    """One policy; ``subjects`` are the endpoints it protects; -1 rules: silent in that direction."""

    policy: str
    subjects: tuple[str, ...]
    egress_rules: int
    ingress_rules: int
    origin: str


class ShownClass(msgspec.Struct, frozen=True):
    """One class: how many addresses and prefixes have it, and the first few by name."""

    number: int
    addresses: int
    prefixes: int
    members: tuple[str, ...]


class ShownGeneration(msgspec.Struct, frozen=True):
    """One generation since the agent started, newest first; ``since`` in Unix seconds.

    ``held``: the generation whose policies it has by a roll-back, 0: none; ``kept``: one can roll back to it.
    """

    generation: int
    active: bool
    since: float
    digest: str
    writes: int
    compile_ms: float
    cause: str
    held: int = 0
    kept: bool = False


class ShownService(msgspec.Struct, frozen=True):
    """One port of a service."""

    service: str
    addresses: tuple[str, ...]
    port: str
    backends: tuple[str, ...]
    affinity_seconds: int
    system: bool


class ShownFlow(msgspec.Struct, frozen=True):
    """One live flow as opened; ``service`` is what the client wrote, empty without; ages in s."""

    source: str
    source_address: str
    source_port: int
    destination: str
    destination_address: str
    port: str
    state: str
    action: str
    reason: str
    generation: int
    service: str
    age_s: float
    idle_s: float


class ShownDevice(msgspec.Struct, frozen=True):
    """A device of the host with a program of ours: ``role`` is ``uplink``, or ``stack`` for our pair."""

    device: str
    role: str
    addresses: tuple[str, ...]


class ShownMap(msgspec.Struct, frozen=True):
    """One kernel map: entries used (-1: not counted) and how many it holds."""

    map: str
    entries: int
    capacity: int


class RuleReference(msgspec.Struct, frozen=True):
    """A rule for people: policy key, ``egress`` or ``ingress``, index (-1: the isolation), ``file:line``."""

    policy: str
    direction: str
    index: int
    origin: str


class FlowEvent(msgspec.Struct, frozen=True):
    """One line of GET /v1/flows. ``time`` in Unix seconds; names are empty for what is no endpoint.

    ``kind`` is new, drop, closed, cut, lost (the ring was full: ``suppressed`` says how many), repaired
    (something in the kernel was altered from outside: ``detail`` says what was found), or differs (replay
    found the program to answer so, and the oracle otherwise). ``rule`` is the one that decided: the denying
    one; of an allowed flow the receiver's, else the sender's. A packet that was not read has neither
    addresses nor port; ``link`` is where it came in, when that is why.
    """

    time: float
    kind: str
    source: str = ""
    source_address: str = ""
    source_port: int = 0
    destination: str = ""
    destination_address: str = ""
    port: str = ""
    verdict: str = ""
    reason: str = ""
    rule: RuleReference | None = None
    egress_rule: RuleReference | None = None
    ingress_rule: RuleReference | None = None
    service: str = ""
    generation: int = 0
    suppressed: int = 0
    detail: str = ""
    link: str = ""


class ProbePair(msgspec.Struct, frozen=True):
    """Send from the endpoint ``source`` to ``destination`` (an address as text) and ``port``."""

    source: str
    destination: str
    protocol: int
    port: int


class Outcome(StrEnum):
    """What a probe came to; ``UNPROBEABLE`` where this kernel or responder cannot send it."""

    ALLOW = "allow"
    DENY = "deny"
    UNPROBEABLE = "unprobeable"


class ProbeResult(msgspec.Struct, frozen=True):
    """The answer to one pair, in the order asked. ``answered_by`` is the endpoint that echoed."""

    pair: ProbePair
    outcome: Outcome
    answered_by: str = ""
    detail: str = ""
    ms: float = 0.0


class ProbeRequest(msgspec.Struct, frozen=True):
    """POST /v1/probe. ``timeout_s`` is for one attempt, ``attempts`` before silence counts as deny."""

    pairs: tuple[ProbePair, ...]
    timeout_s: float = 0.5
    attempts: int = 3

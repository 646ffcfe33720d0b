"""Asking a running agent, over its Unix socket; blocking, typed, one method for each thing it answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from cloche.agent.messages import (
    Applied,
    ApplyRequest,
    DeleteRequest,
    FlowEvent,
    Mode,
    ProbePair,
    ProbeRequest,
    ProbeResult,
    Refusal,
    RollbackRequest,
    Show,
    ShownClass,
    ShownDevice,
    ShownEndpoint,
    ShownFlow,
    ShownGeneration,
    ShownMap,
    ShownPolicy,
    ShownService,
    Status,
)
from cloche.agent.processes import has_ended
from cloche.agent.refusals import AgentError, as_error
from cloche.agent.statement import Attested
from cloche.config import DEFAULT_INSTANCE, Config
from cloche.errors import ClocheError, MachineError, NotRunningError
from cloche.model.state import Object
from cloche.orchestrators.sandbox import Manifest

APPLY_SECONDS = 600.0
ASK_SECONDS = 30.0
T = TypeVar("T")

__all__ = ["AgentError", "Client", "connect"]


class Client:
    """A connection to one instance's agent. A context manager.

    Every method raises NotRunningError when nobody answers, InputError or TooBigError when the agent
    refused and changed nothing, AgentError when it failed, MachineError to all but root.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        transport = httpx.HTTPTransport(uds=str(config.socket))
        self._http = httpx.Client(transport=transport, base_url="http://agent", timeout=ASK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the agent goes on."""
        self._http.close()

    def _ask(self, method: str, path: str, body: object = None, timeout: float = ASK_SECONDS) -> bytes:
        content = None if body is None else msgspec.msgpack.encode(body)
        try:
            reply = self._http.request(method, path, content=content, timeout=timeout)
        except httpx.TransportError as error:
            raise self._absent(error) from None
        if reply.is_success:
            return reply.content
        raise refused(reply.content, reply.status_code)

    def _absent(self, error: Exception) -> ClocheError:
        if isinstance(error, httpx.ReadTimeout):
            return AgentError(f"the agent of instance {self.config.instance} does not answer in time")
        if isinstance(root_cause(error), PermissionError):
            return MachineError(f"not root: only root may ask the agent of instance {self.config.instance}")
        return NotRunningError(f"nothing is running as instance {self.config.instance} ({error})")

    def apply(self, manifests: Sequence[Manifest], mode: Mode = Mode.MERGE) -> Applied:
        """Put these; returns once the change is active in the kernel and answered for."""
        request = ApplyRequest(tuple(manifests), mode)
        return msgspec.json.decode(self._ask("POST", "/v1/apply", request, APPLY_SECONDS), type=Applied)

    def delete(self, manifests: Sequence[Manifest]) -> Applied:
        """Take these objects out; returns once they are gone."""
        request = DeleteRequest(tuple(manifests))
        return msgspec.json.decode(self._ask("POST", "/v1/delete", request, APPLY_SECONDS), type=Applied)

    def rollback(self, generation: int = 0) -> Applied:
        """Put the policies of that generation in force (0: before the last change of policy), and hold
        every later change of policy back until released."""
        return self._rollback(RollbackRequest(generation))

    def release(self) -> Applied:
        """End a roll-back: what is wanted by now comes into force."""
        return self._rollback(RollbackRequest(release=True))

    def _rollback(self, request: RollbackRequest) -> Applied:
        return msgspec.json.decode(self._ask("POST", "/v1/rollback", request, APPLY_SECONDS), type=Applied)

    def attest(self) -> Attested:
        """Whether the kernel enforces exactly the active generation; reads and compiles anew."""
        return msgspec.json.decode(self._ask("GET", "/v1/attest", timeout=APPLY_SECONDS), type=Attested)

    def status(self) -> Status:
        """How the instance is."""
        return msgspec.json.decode(self._ask("GET", "/v1/status"), type=Status)

    def objects(self) -> list[Object]:
        """The whole model as it is active, attachments included: what questions are answered from."""
        return msgspec.msgpack.decode(self._ask("GET", "/v1/objects"), type=list[Object])

    def _show(self, what: Show, kind: type[T]) -> list[T]:
        return msgspec.json.decode(self._ask("GET", f"/v1/show/{what}"), type=list[kind])  # type: ignore[valid-type]

    def endpoints(self) -> list[ShownEndpoint]:
        """Every endpoint with its attachment and sets."""
        return self._show(Show.ENDPOINTS, ShownEndpoint)

    def policies(self) -> list[ShownPolicy]:
        """Every policy with its subjects."""
        return self._show(Show.POLICIES, ShownPolicy)

    def classes(self) -> list[ShownClass]:
        """Every class of the active generation."""
        return self._show(Show.CLASSES, ShownClass)

    def generations(self) -> list[ShownGeneration]:
        """The generations since the agent started, newest first."""
        return self._show(Show.GENERATIONS, ShownGeneration)

    def services(self) -> list[ShownService]:
        """Every service port with its backends."""
        return self._show(Show.SERVICES, ShownService)

    def live_flows(self) -> list[ShownFlow]:
        """The flows in the kernel's table now."""
        return self._show(Show.FLOWS, ShownFlow)

    def devices(self) -> list[ShownDevice]:
        """The host's devices that have a program of ours, endpoints' left out."""
        return self._show(Show.DEVICES, ShownDevice)

    def maps(self) -> list[ShownMap]:
        """The kernel maps and how full they are."""
        return self._show(Show.MAPS, ShownMap)

    def flows(self, *, follow: bool = False) -> Iterator[FlowEvent]:
        """The history of flow events, oldest first; with ``follow`` then each as it comes, without end."""
        parameters = {"follow": "1"} if follow else {}
        timeout = httpx.Timeout(ASK_SECONDS, read=None)
        try:
            with self._http.stream("GET", "/v1/flows", params=parameters, timeout=timeout) as reply:
                if not reply.is_success:
                    raise refused(reply.read(), reply.status_code)
                for line in reply.iter_lines():
                    if line:
                        yield msgspec.json.decode(line, type=FlowEvent)
        except httpx.TransportError as error:
            raise self._absent(error) from None

    def probe(self, request: Sequence[ProbePair] | ProbeRequest) -> list[ProbeResult]:
        """Send real packets; one result for each pair, in order."""
        asked = request if isinstance(request, ProbeRequest) else ProbeRequest(tuple(request))
        timeout = ASK_SECONDS + len(asked.pairs) * asked.timeout_s * asked.attempts
        return msgspec.json.decode(self._ask("POST", "/v1/probe", asked, timeout), type=list[ProbeResult])

    def down(self) -> None:
        """Stop the instance and remove everything of it; returns once its agent has ended.

        Raises AgentError when it has removed everything and goes on living.
        """
        pid = self.status().pid
        with contextlib.suppress(httpx.RemoteProtocolError):
            self._ask("POST", "/v1/down", timeout=APPLY_SECONDS)
        deadline = time.monotonic() + ASK_SECONDS
        while not has_ended(pid):
            if time.monotonic() > deadline:
                raise AgentError(f"process {pid}, the agent, does not end")
            time.sleep(0.01)


def root_cause(error: BaseException) -> BaseException:
    """What was raised first, of errors that were raised about one another."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def refused(content: bytes, status: int) -> ClocheError:
    """The error that a refusal's body stands for."""
    try:
        refusal = msgspec.json.decode(content, type=Refusal)
    except msgspec.DecodeError:
        return AgentError(f"the agent answered {status}: {content[:200]!r}")
    return as_error(refusal)


def connect(instance: str = DEFAULT_INSTANCE) -> Client:
    """A client of the agent that runs as ``instance``. Raises NotRunningError when none does, MachineError
    when this user may not ask it."""
    client = Client(Config(instance=instance))
    try:
        client.status()
    except BaseException:
        client.close()
        raise
    return client

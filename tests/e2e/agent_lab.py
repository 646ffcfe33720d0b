"""Machines for the agent's tests: a network namespace stands for the host, so the real one is left alone."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from cloche.agent import launch
from cloche.agent.client import Client
from cloche.agent.messages import Applied, Mode, ShownEndpoint
from cloche.agent.processes import agent_pid, has_ended
from cloche.agent.removal import clean
from cloche.config import Config
from cloche.datapath import devices, namespaces
from cloche.model.address import parse_block
from cloche.orchestrators.sandbox import Manifest, read
from cloche.tables.schema import Capacity

T = TypeVar("T")
SECONDS = 1.0
SMALL = Capacity(
    endpoints=64,
    addresses=1024,
    prefixes=1024,
    sets=64,
    classes=128,
    cells=64 * 1024,
    services=256,
    backends=1024,
    flows=8192,
    flow_slots=64 * 1024,
    affinity=256,
    counters=4096,
    names=64,
)
_numbers = itertools.count()


def objects(text: str) -> tuple[Manifest, ...]:
    """The manifests of a text."""
    return read(["-"], stdin=text)


def pod(
    name: str, *, labels: str = "", ports: str = "80/TCP", namespace: str = "default", extra: str = ""
) -> str:
    """A pod's manifest; ``ports`` like ``80/TCP 53/UDP``, ``labels`` like ``app: web``."""
    listed = ", ".join(
        f"{{containerPort: {number}, protocol: {protocol}}}"
        for number, protocol in (port.split("/") for port in ports.split())
    )
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{name: {name}, {labels}}}}}
spec: {{containers: [{{name: c, image: c, ports: [{listed}]}}]}}
{extra}
"""


def policy(name: str, spec: str, namespace: str = "default") -> str:
    """A NetworkPolicy's manifest."""
    return f"""---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def ingress_from(name: str, subject: str, peer: str) -> str:
    """A policy by which only pods named ``peer`` reach the pod named ``subject``, on any port."""
    spec = (
        f"{{podSelector: {{matchLabels: {{name: {subject}}}}}, policyTypes: [Ingress], "
        f"ingress: [{{from: [{{podSelector: {{matchLabels: {{name: {peer}}}}}}}]}}]}}"
    )
    return policy(name, spec)


def service(name: str, port: int) -> str:
    """A service of the pods with the label ``name``, by TCP and UDP."""
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{name: {name}}}
  ports: [{{name: t, port: {port}, protocol: TCP}}, {{name: u, port: {port}, protocol: UDP}}]
"""


class Line:
    """An open TCP connection to a pod, which echoes."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def answers(self, timeout: float = SECONDS) -> bool:
        """True when something sent now comes back in time."""
        word = os.urandom(8).hex().encode() + b"\n"
        self._socket.settimeout(timeout)
        heard = b""
        try:
            self._socket.sendall(word)
            while word not in heard:
                part = self._socket.recv(4096)
                if not part:
                    return False
                heard += part
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Instance:
    """One instance on a machine; its agent is started, killed and asked here."""

    def __init__(self, host: Path, config: Config) -> None:
        self.host, self.config = host, config

    def start(self) -> Client:
        """Start the agent on the machine, or find the one that runs."""
        return namespaces.call_in(self.host, lambda: launch.start(self.config))

    def pid(self) -> int:
        """The agent's process."""
        return agent_pid(self.config)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: has_ended(pid))

    def clean(self) -> list[str]:
        """Remove everything, agent or not."""
        return namespaces.call_in(self.host, lambda: clean(self.config))

    def netns(self, name: str) -> Path:
        """A pod's network namespace; ``name`` is in namespace default unless it has a slash."""
        key = name if "/" in name else f"default/{name}"
        return namespaces.netns_path(namespaces.netns_name(self.config.instance, key))

    def inside(self, name: str, function: Callable[[], T]) -> T:
        """A function's result, called in a pod's network."""
        return namespaces.call_in(self.netns(name), function)

    def dial(self, name: str, address: str, port: int = 80, timeout: float = SECONDS) -> Line:
        """A TCP connection from a pod. Raises OSError."""
        return Line(self.inside(name, lambda: socket.create_connection((address, port), timeout)))

    def reaches(self, name: str, address: str, port: int = 80, timeout: float = SECONDS) -> bool:
        """True when a pod can connect by TCP and gets an echo."""
        try:
            line = self.dial(name, address, port, timeout)
        except OSError:
            return False
        try:
            return line.answers(timeout)
        finally:
            line.close()

    def hears(self, name: str, address: str, port: int, timeout: float = SECONDS) -> bool:
        """True when a pod's UDP datagram is echoed."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(name, lambda: socket.socket(family, socket.SOCK_DGRAM)) as asking:
            asking.settimeout(timeout)
            try:
                asking.sendto(b"hello\n", (address, port))
                return b"hello" in asking.recv(4096)
            except OSError:
                return False


def endpoint(client: Client, name: str) -> ShownEndpoint:
    """What the agent shows of a pod."""
    key = name if "/" in name else f"default/{name}"
    return next(shown for shown in client.endpoints() if shown.endpoint == key)


def addresses(client: Client, name: str) -> tuple[str, str]:
    """A pod's IPv4 and IPv6 address."""
    ipv4, ipv6 = sorted(endpoint(client, name).addresses, key=lambda address: ":" in address)
    return ipv4, ipv6


def replace(client: Client, text: str) -> Applied:
    """Make this text the whole world."""
    return client.apply(objects(text), Mode.REPLACE)


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return once the condition holds. Fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


class Machine:
    """A host of its own: instances are made on it."""

    def __init__(self) -> None:
        self.name = f"clochehost-{os.getpid()}-{next(_numbers)}"
        self.path = namespaces.netns_path(self.name)
        self.instances: list[Instance] = []

    def instance(self, **changes: object) -> Instance:
        """A new instance with a name and ranges of its own; nothing of it is made yet."""
        number = next(_numbers) % 100
        config = Config(
            instance=f"e{os.getpid() % 100000}{number:02d}",
            pod_ranges=(parse_block(f"10.{number + 100}.0.0/17"), parse_block(f"fd00:{number + 100}::/64")),
            service_ranges=(
                parse_block(f"10.{number + 100}.128.0/17"),
                parse_block(f"fd01:{number + 100}::/112"),
            ),
            capacity=SMALL,
        )
        made = Instance(self.path, msgspec.structs.replace(config, **changes))
        self.instances.append(made)
        return made


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine, removed at the end with all that is on it."""
    made = Machine()
    namespaces.create(made.name)
    try:
        namespaces.call_in(made.path, lambda: devices.set_up("lo"))
        yield made
    finally:
        for instance in made.instances:
            instance.clean()
        namespaces.remove(made.name)


def leftovers(instance: Instance) -> list[str]:
    """Whatever carries the instance's name: links, namespaces, pins, nftables, files, processes."""
    name = instance.config.instance
    found = []
    commands = (
        ("ip", "-o", "link"),
        ("ip", "netns"),
        ("ip", "route"),
        ("ip", "-6", "route"),
        ("nft", "list", "tables"),
    )
    for command in commands:
        said = namespaces.call_in(
            instance.host,
            lambda command=command: subprocess.run(command, capture_output=True, text=True).stdout,
        )
        found += [line for line in said.splitlines() if name in line]
    for folder in ("/sys/fs/bpf/cloche", "/run/cloche", "/var/lib/cloche", "/var/log/cloche", "/etc/netns"):
        found += [str(path) for path in Path(folder).glob(f"{name}*")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command_line = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if name.encode() in command_line and not has_ended(int(process.name)):
            found.append(f"process {process.name}")
    return found

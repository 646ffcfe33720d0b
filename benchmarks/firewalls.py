"""The peers that judge: a host that routes between two endpoints, its netfilter rules as a user writes them.

All follow connections: what is established is accepted by the first rule, so only a connection's first packet
meets the others. The rule that allows the traffic is the last one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.paths import MTU, SkippedError, Way, ip, namespaces, run

CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
GATEWAYS = ("10.77.1.1", "10.77.2.1")
SET_ELEMENTS = 10_000
TRACKED = """table ip filter {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state invalid drop
  }
}
"""
FROM_SET = """table ip filter {
  set allowed {
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
    elements = { %s }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr . ip daddr . meta l4proto . th dport @allowed accept
  }
}
"""


def _load(space: str, command: Sequence[str], text: str) -> None:
    """Feed rules to a command inside a namespace. Raises SkippedError with its words when it refuses them."""
    if shutil.which(command[0]) is None:
        raise SkippedError(f"{command[0]} is not installed")
    entered = ["ip", "netns", "exec", space, *command]
    done = subprocess.run(entered, input=text, text=True, capture_output=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise SkippedError(f"{command[0]}: {words[0] if words else f'status {done.returncode}'}")


@contextmanager
def _routed(name: str, command: Sequence[str], text: str) -> Iterator[Way]:
    """A host's namespace with a veth pair to each end, forwarding between them, and rules of its own."""
    with namespaces("a", "b", "r") as (client, server, router):
        run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, (space, gateway) in enumerate(zip((client, server), GATEWAYS, strict=True), 1):
            pair = f"link add v{number} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {space}"
            ip(router, [pair, f"addr add {gateway}/24 dev v{number}", f"link set v{number} up"])
            address = (CLIENT, SERVER)[number - 1]
            ip(space, [f"addr add {address}/24 dev eth0", "link set eth0 up"])
            ip(space, [f"route add default via {gateway}"])
        _load(router, command, text)
        yield Way(name, client, server, SERVER)


@contextmanager
def routed() -> Iterator[Way]:
    """Routed by the host, connections tracked, nothing forbidden."""
    with _routed("routed + conntrack", ("nft", "-f", "-"), TRACKED) as way:
        yield way


def _iptables_rules(rules: int, port: int) -> str:
    """So many rules of one chain: by address, by CIDR, by a range of ports in turns, as the world's are."""
    lines = ["-m conntrack --ctstate ESTABLISHED,RELATED"]
    for number in range(rules - 3):
        first = 1024 + number % 400 * 7
        match number % 3:
            case 0:
                who, ports = f"10.244.{number // 250}.{number % 250 + 1}/32", f"{first}"
            case 1:
                who, ports = f"172.{16 + number // 250 % 16}.{number % 250}.0/24", f"{first}"
            case _:
                who, ports = f"10.244.{number // 250}.{number % 250 + 1}/32", f"{first}:{first + 100}"
        lines.append(f"-s {who} -d {SERVER}/32 -p tcp --dport {ports}")
    lines += [f"-s {CLIENT}/32 -d {SERVER}/32 -p {protocol} --dport {port}" for protocol in ("udp", "tcp")]
    accepted = "\n".join(f"-A FORWARD {line} -j ACCEPT" for line in lines)
    return f"*filter\n:FORWARD DROP [0:0]\n{accepted}\nCOMMIT\n"


@contextmanager
def iptables(backend: str, rules: int, port: int) -> Iterator[Way]:
    """One chain of ``rules`` iptables rules; ``backend``: nft or legacy.

    Raises SkippedError when the command or what it needs of the kernel is not there.
    """
    command = (f"iptables-{backend}-restore",)
    with _routed(f"iptables-{backend} {rules}", command, _iptables_rules(rules, port)) as way:
        yield way


def _elements(port: int) -> Iterator[str]:
    for number in range(SET_ELEMENTS - 2):
        host = f"10.244.{number // 250}.{number % 250 + 1}"
        yield f"{host} . {SERVER} . tcp . {1024 + number % 400 * 7}"
    for protocol in ("udp", "tcp"):
        yield f"{CLIENT} . {SERVER} . {protocol} . {port}"


@contextmanager
def nft_set(port: int) -> Iterator[Way]:
    """One rule that looks a packet's addresses, protocol and port up in a set of 10 000 such."""
    rules = FROM_SET % ", ".join(_elements(port))
    with _routed(f"nft set {SET_ELEMENTS}", ("nft", "-f", "-"), rules) as way:
        yield way

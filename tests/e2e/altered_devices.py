"""What somebody else may do to an instance's devices, programs, pins and routes; each says what the agent is
to find."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cloche.datapath import bpf, devices, links, namespaces
from cloche.datapath.machine import has_tcx
from e2e.agent_lab import endpoint
from e2e.altered_world import Running


def web_link(up: Running) -> Path:
    """Where the link of the program on the web pod's device is pinned."""
    return up.pin("links", f"endpoint-{endpoint(up.client, 'web').number:x}")


def detach_program(up: Running) -> str:
    """The program on the web pod's device is detached."""
    fd = bpf.get_pinned(str(web_link(up)))
    links.detach(fd)
    os.close(fd)
    return "default/web: the program was detached"


def remove_pin(up: Running) -> str:
    """The pin of the program's link goes, and the link with it."""
    web_link(up).unlink()
    return "default/web: the pin of the program's link was removed"


def exchange_program(up: Running) -> str:
    """The link runs the program of the uplinks."""
    fd = bpf.get_pinned(str(web_link(up)))
    other = bpf.get_pinned(str(up.pin("programs", "from_uplink")))
    links.replace_program(fd, other)
    os.close(fd)
    os.close(other)
    return "default/web: the link ran another program"


def remove_map_pin(up: Running) -> str:
    """A map's pin goes."""
    up.pin("maps", "cells").unlink()
    return "the pin of the map cells was removed"


def set_down(up: Running) -> str:
    """The web pod's device is down."""
    up.command("ip", "link", "set", endpoint(up.client, "web").link, "down")
    return "default/web: its device"


def remove_route(up: Running) -> str:
    """The route to the pods goes."""
    block = str(up.instance.config.pod_ranges[0])
    up.command("ip", "route", "del", block)
    return f"the route to {block} was removed"


def remove_table(up: Running) -> str:
    """The nftables table goes."""
    up.command("nft", "delete", "table", "inet", f"cloche-{up.instance.config.instance}")
    return "the nftables table"


def stop_forwarding(up: Running) -> str:
    """The machine does not forward."""
    up.on_host(lambda: devices.set_sysctl("net/ipv4/ip_forward", "0"))
    return "the sysctl net/ipv4/ip_forward was set to 0"


def remove_device(up: Running) -> str:
    """The web pod's device goes."""
    name = endpoint(up.client, "web").link
    up.on_host(lambda: devices.delete(name))
    return "default/web: its device"


def remove_namespace(up: Running) -> str:
    """The name of the web pod's namespace goes."""
    namespaces.remove(up.instance.netns("web").name)
    return "default/web: its network namespace"


def remove_pair(up: Running) -> str:
    """The instance's own pair goes."""
    up.on_host(lambda: devices.delete(up.instance.config.instance))
    return "the instance's pair"


def remove_filter(up: Running) -> str:
    """Where programs are filters, the qdisc under the web pod's goes."""
    link = endpoint(up.client, "web").link
    up.command("tc", "qdisc", "del", "dev", link, "clsact")
    return f"default/web: the program's filter was removed on {link}"


HAS_LINKS = has_tcx() is not False
"""Programs are on TCX links here unless another loader is asked for; else they are filters."""

HOOKS: tuple[Callable[[Running], str], ...] = (
    (detach_program, remove_pin, exchange_program) if HAS_LINKS else (remove_filter,)
)
DEVICES: tuple[Callable[[Running], str], ...] = (
    *HOOKS,
    remove_map_pin,
    set_down,
    remove_route,
    remove_table,
    stop_forwarding,
    remove_device,
    remove_namespace,
    remove_pair,
)

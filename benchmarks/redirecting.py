"""The least that any program on TCX costs: one that redirects each packet to the other end, unseen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.building import HERE, bpf_object
from benchmarks.paths import MTU, SkippedError, Way, ip, namespaces
from cloche.datapath.libbpf import ObjectFile
from cloche.datapath.links import Hook, attach
from cloche.datapath.namespaces import call_in

REDIRECT = "tcx redirect"
_ADDRESSES = ("10.77.0.1", "10.77.0.2")
_HOST_MAC = "02:00:00:00:00:01"
"""Of both host devices: frames are sent to it, so that they count as meant for whoever gets them."""


def _hook(device: int, to: int) -> int:
    """The program on a device of this namespace, handing on to ``to``'s peer; the link.

    Raises SkippedError where the kernel has no such hook, OSError when it refuses the program.
    """
    headers = [HERE.parent / "bpf" / "helpers.h"]
    with ObjectFile(bpf_object(HERE / "redirect.bpf.c", headers)) as opened:
        opened.set_constants({"to": to})
        opened.load()
        (fd,) = opened.programs(("redirect",)).values()
    try:
        return attach(fd, device, Hook.INGRESS)
    except OSError as error:
        raise SkippedError(str(error)) from None
    finally:
        os.close(fd)


def _hook_both() -> list[int]:
    first, second = (socket.if_nametoindex(f"v{number}") for number in (1, 2))
    return [_hook(first, second), _hook(second, first)]


@contextmanager
def redirect() -> Iterator[Way]:
    """Two veth pairs as Cloche has them, every packet redirected, nothing judged.

    Raises SkippedError where the kernel has no such hook.
    """
    with namespaces("a", "b", "h") as (client, server, host), ExitStack() as links:
        for number, space in enumerate((client, server), 1):
            pair = f"link add v{number} address {_HOST_MAC} mtu {MTU} type veth"
            ip(host, [f"{pair} peer name eth0 mtu {MTU} netns {space}", f"link set v{number} up"])
            other = _ADDRESSES[2 - number]
            up = [f"addr add {_ADDRESSES[number - 1]}/24 dev eth0", "link set eth0 up"]
            ip(space, [*up, f"neigh add {other} lladdr {_HOST_MAC} dev eth0"])
        for link in call_in(Path("/run/netns", host), _hook_both):
            links.callback(os.close, link)
        yield Way(REDIRECT, client, server, _ADDRESSES[1])

"""The one nftables table of an instance, and what other tables would do to our packets.

By the ``nft`` command (Debian: nftables), rulesets on its standard input.
"""

from __future__ import annotations

import subprocess

import msgspec

from cloche.errors import MachineError

_RULESET = """\
table inet {table}
delete table inet {table}
table inet {table} {{
    chain leaving {{
        type nat hook postrouting priority srcnat; policy accept;
        iifname "{device}" oifname != "{device}" masquerade
    }}
}}
"""


class _Chain(msgspec.Struct):
    family: str = ""
    table: str = ""
    name: str = ""
    hook: str = ""
    policy: str = ""


class _Item(msgspec.Struct):
    chain: _Chain | None = None


class _Listing(msgspec.Struct):
    nftables: list[_Item]


def table_name(instance: str) -> str:
    """``cloche-<instance>``."""
    return f"cloche-{instance}"


def _run(arguments: list[str], ruleset: str = "") -> str:
    try:
        done = subprocess.run(["nft", *arguments], input=ruleset, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MachineError("the command nft is not installed (Debian: nftables 0.9.3 or newer)") from None
    if done.returncode:
        raise MachineError(f"nft refused: {done.stderr.strip()}")
    return done.stdout


def masquerade(instance: str) -> None:
    """Give what comes out of the instance's device and leaves by another one that one's address.

    Replaces the table in one step. MachineError when nft is missing or the kernel refuses.
    """
    _run(["-f", "-"], _RULESET.format(table=table_name(instance), device=instance))


def listing(instance: str) -> str:
    """The instance's table as the kernel has it; empty when there is none. MachineError without nft."""
    if table_name(instance) not in _run(["list", "tables"]):
        return ""
    return _run(["list", "table", "inet", table_name(instance)])


def remove(instance: str) -> None:
    """Remove the instance's table; nothing when there is none."""
    name = table_name(instance)
    _run(["-f", "-"], f"table inet {name}\ndelete table inet {name}\n")


def forward_drops() -> list[str]:
    """The chains that drop forwarded packets unless told otherwise, as ``family table chain``.

    Where there is one, endpoints reach nothing outside until its owner lets them through.
    """
    listing = msgspec.json.decode(_run(["-j", "list", "chains"]), type=_Listing)
    chains = [item.chain for item in listing.nftables if item.chain is not None]
    return [f"{c.family} {c.table} {c.name}" for c in chains if c.hook == "forward" and c.policy == "drop"]

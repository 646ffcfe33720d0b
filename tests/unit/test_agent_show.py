"""What ``show`` lists of a model, and what offline worlds say of the sandbox's own pod."""

from __future__ import annotations

from pathlib import Path

from cloche.agent import show
from cloche.agent.system import DNS_KEY
from cloche.cli.worlds import written
from cloche.config import Config
from cloche.model.state import Put, State
from cloche.model.topology import Endpoint

ROOT = Path(__file__).resolve().parents[2]


class Nameless:
    """Stands for an instance whose kernel objects nobody asks for here."""

    def link(self, number: int) -> str:
        """None."""
        raise AssertionError(number)

    def namespace(self, endpoint: str) -> str:
        """None."""
        raise AssertionError(endpoint)


def test_a_pod_on_the_host_network_is_shown_as_its_host() -> None:
    """It is not absent: it has no link and no namespace of its own."""
    state = State([Put(Endpoint("x", "h", host_network=True)), Put(Endpoint("x", "p"))])
    shown = show.endpoints(state, {}, 1, Nameless())
    assert [(one.endpoint, one.state, one.link) for one in shown] == [
        ("x/h", "host", ""),
        ("x/p", "absent", ""),
    ]


def test_the_resolvers_address_is_assumed() -> None:
    """No manifest gave it, as with any other pod whose address is given out here."""
    state, assumed = written([str(ROOT / "examples/shop")], Config())
    assert DNS_KEY in assumed
    assert assumed == state.endpoints.keys()

"""The examples hold what they say: each has no mistakes and the matrix that lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from cloche.analysis import Matrix, explain_flow, matrix
from cloche.cli.options import configuration
from cloche.cli.worlds import written
from cloche.model.ports import parse_port
from cloche.model.state import Put, State
from cloche.orchestrators.sandbox import Manifest, build, check, merge, read

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORLDS = [*sorted(EXAMPLES.glob("recipes/*.yaml")), EXAMPLES / "shop"]
OUTSIDE = ("192.0.2.1", "2001:db8::1")


def expected(world: Path) -> Matrix:
    """The matrix that is written beside the example."""
    return msgspec.json.decode(world.with_name(f"{world.stem}.matrix.json").read_bytes(), type=Matrix)


def verdicts(manifests: Sequence[Manifest]) -> dict[tuple[str, str, str], str]:
    """The verdict of each pair and port."""
    state = State(Put(value) for value in build(manifests).objects)
    return {(pair.source, pair.destination, pair.port): pair.verdict for pair in matrix(state).pairs}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.stem)
def test_matrix_is_the_one_beside_it(world: Path) -> None:
    """The policy engine says of every pair what the example promises."""
    state, _ = written([str(world)], configuration())
    assert matrix(state) == expected(world)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.stem)
def test_has_no_mistakes(world: Path) -> None:
    """`check` has nothing to say about an example, not even a note."""
    assert check([str(world)]) == ()


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.stem)
def test_tells_allowed_from_denied(world: Path) -> None:
    """An example allows some pair and denies some pair, but for the one that is about addresses outside."""
    found = {pair.verdict for pair in expected(world).pairs}
    assert found == {"allow", "deny"} or world.stem == "15-egress-inside-only"


@pytest.mark.parametrize(
    ("recipe", "source", "verdict"),
    [
        ("15-egress-inside-only", "default/worker", "deny"),
        ("15-egress-inside-only", "default/client", "allow"),
        ("16-egress-to-the-internet", "default/crawler", "allow"),
        ("14-egress-for-names-only", "default/worker", "deny"),
    ],
)
def test_outside_is_as_told(recipe: str, source: str, verdict: str) -> None:
    """What the recipes say about addresses outside the cluster holds in both families."""
    state, _ = written([str(EXAMPLES / f"recipes/{recipe}.yaml")], configuration())
    for address in OUTSIDE:
        assert explain_flow(state, source, address, parse_port("443/tcp")).verdict == verdict


def test_names_may_be_resolved_where_a_policy_says_so() -> None:
    """A pod that may only resolve reaches the resolver on its ports, and on these alone."""
    state, _ = written([str(EXAMPLES / "recipes/14-egress-for-names-only.yaml")], configuration())
    answers = {
        port: explain_flow(state, "default/worker", "kube-system/kube-dns", parse_port(port)).verdict
        for port in ("53/udp", "53/tcp", "54/udp")
    }
    assert answers == {"53/udp": "allow", "53/tcp": "allow", "54/udp": "deny"}


def test_the_lockdown_closes_the_api_to_the_front_end() -> None:
    """The demonstration's change denies the one pair it is about, and nothing that it is not about."""
    shop, change = read([str(EXAMPLES / "shop")]), read([str(EXAMPLES / "shop-lockdown.yaml")])
    before, after = verdicts(shop), verdicts(merge(shop, change))
    changed = {pair for pair in before if before[pair] != after[pair]}
    fronts, apis = ("shop/front-0", "shop/front-1"), ("shop/api-0", "shop/api-1")
    assert changed == {(front, api, "9090/tcp") for front in fronts for api in apis}
